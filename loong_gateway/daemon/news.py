"""Turns changes of surfaces into lines for the person who started the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loong_gateway.base.clock import Clock
from loong_gateway.messaging.slot_state import SlotState

__all__ = ["News"]


class News:
    """Remembers what was said, so that each change is said once. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._said: dict[tuple[str, str], str] = {}
        self._ready_said = False

    def of(self, states: Sequence[SlotState]) -> Iterable[str]:
        """The lines about what changed since the last call."""
        for state in states:
            line = self._about(state)
            if line and self._said.get((state.channel, state.account)) != line:
                self._said[(state.channel, state.account)] = line
                yield f"  {state.channel}/{state.account}  {line}"
        if not self._ready_said and all(
            state.started and (state.trouble or state.phase == "ready") for state in states
        ):
            self._ready_said = True
            ready = sum(1 for state in states if state.phase == "ready")
            took_s = self._clock.monotonic_s() - self._began_s
            surfaces = f"{ready} of {len(states)} surfaces" if states else "no surface is enabled"
            yield f"ready in {took_s:.1f} s: {surfaces}. Stop with Ctrl-C; from another shell: loong gateway stop"

    def _about(self, state: SlotState) -> str:
        if state.phase == "ready":
            return f"ready as {state.identity}"
        if state.trouble:
            return f"{state.phase}: {state.last_error}"
        return ""
