"""What the person who starts and stops a gateway is told, line by line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from loong_gateway.base.clock import Clock
from loong_gateway.base.wording import plural
from loong_gateway.messaging.slot_state import SlotState

__all__ = ["News"]

logger = logging.getLogger("loong.runtime")


class News:
    """Says each change once. Used by one thread; `say` prints a line, `stop_command` ends this gateway."""

    def __init__(self, say: Callable[[str], None], clock: Clock, *, stop_command: str) -> None:
        self._say = say
        self._stop_command = stop_command
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._stop_began_s = self._began_s
        self._said: dict[str, str] = {}
        self._width = len("provider")
        self._all_tried = False

    def part(self, name: str, text: str) -> None:
        """One part of the start: `store`, `port`, or a surface."""
        self._say(f"  {name.ljust(self._width)}  {text}")

    def surfaces(self, states: Sequence[SlotState]) -> None:
        """What changed about the surfaces since the last call; the line about being ready once, when all were tried."""
        self._width = max([self._width, *(len(_name(state)) for state in states)])
        for state in states:
            text = _about(state)
            if self._said.get(_name(state)) != text:
                self._said[_name(state)] = text
                self.part(_name(state), text)
        settled = all(state.trouble or state.phase in ("ready", "stopped") for state in states)
        if settled and not self._all_tried:
            self._all_tried = True
            ready = sum(1 for state in states if state.phase == "ready")
            found = f"{ready} of {plural(len(states), 'surface')}" if states else "no surface is enabled"
            # Whoever watches the log looks for this line; it may be the only one of a quiet day.
            logger.info("ready in %s: %s", self._took_s(), found)
            self._say(
                f"ready in {self._took_s()}: {found}. Stop with Ctrl-C; from another shell: {self._stop_command}"
            )

    def stopping(self, running: int, drain_s: float) -> None:
        """The stop begins."""
        self._stop_began_s = self._clock.monotonic_s()
        turns = f"{plural(running, 'turn')} running, at most {drain_s:.0f} s; " if running else ""
        self._say(f"stopping: {turns}Ctrl-C again ends now (unfinished turns run again at the next start)")

    def stopped(self, messages: int, replies: int) -> None:
        """The stop is over; the numbers are what stays on disk for the next start."""
        took_s = self._clock.monotonic_s() - self._stop_began_s
        left = [plural(messages, "message")] if messages else []
        left += [plural(replies, "reply", "replies")] if replies else []
        waiting = f"{' and '.join(left)} on disk for the next start" if left else "nothing is waiting"
        self._say(f"stopped after {took_s:.1f} s; {waiting}")

    def _took_s(self) -> str:
        return f"{self._clock.monotonic_s() - self._began_s:.1f} s"


def _about(state: SlotState) -> str:
    if state.phase == "ready":
        return f"ready as {state.identity}"
    if state.stopped_by is not None:
        return f"stopped by an {state.stopped_by}"
    return f"{state.phase}: {state.last_error}" if state.trouble else "connecting"


def _name(state: SlotState) -> str:
    return f"{state.channel}/{state.account}"
