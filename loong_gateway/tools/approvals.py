"""Calls of tools that wait for a person: told of, decided once, and refused when nobody does."""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loong_channels.remembered import Remembered
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.bus import Bus, Event
from loong_gateway.base.clock import Clock
from loong_gateway.base.wording import duration, one_line
from loong_gateway.config.snapshot import Config
from loong_gateway.control.approvals import WaitingCall
from loong_gateway.control.origin import Origin

__all__ = ["APPROVED", "BUSY", "EXPIRED", "REFUSED", "STOPPED", "ApprovalDesk", "Tell"]

APPROVED, REFUSED, EXPIRED, STOPPED, BUSY = "approved", "refused", "expired", "stopped", "busy"
SCOPE = "operator.approvals"
# No letters or digits that look alike.
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
ID_LETTERS = 6
MOST_WAITING = 32
# Calls that a client of the port makes by itself keep one of its few threads each.
MOST_DIRECT = 4
MOST_DECIDED = 256
# What a person is shown in a chat, and what an operator may look at. Nobody shall approve what was hidden from them.
TOLD = 1000
SHOWN = 16_384
MORE = " [and {more} characters more: loong approvals list shows them]"
ASKED = "May I run {tool}{summary}? Answer /approve {id} or /deny {id} within {time}."

# Tells the conversation of an origin a text under a name that is used once, until a wall clock time in ms. May block.
Tell = Callable[[Origin, str, str, int], None]


class Asked(Protocol):
    """A call that is to be made."""

    @property
    def origin(self) -> Origin:
        """For whom."""

    @property
    def deadline(self) -> Deadline:
        """Until when they wait."""

    @property
    def stop(self) -> StopToken:
        """Set when they do so no longer."""

    @property
    def is_direct(self) -> bool:
        """Whether it is made by a client of the port, by itself."""


@dataclass
class _Waiting:
    call: WaitingCall
    lane: str
    approvers: frozenset[str]
    is_direct: bool
    over: StopToken = field(default_factory=StopToken)


class ApprovalDesk:
    """Implements control.approvals.Approvals. Thread-safe; `_guard` protects what waits and what was decided."""

    def __init__(
        self, config: Callable[[], Config], bus: Bus, clock: Clock, tell: Tell = lambda *_: None
    ) -> None:
        self._config = config
        self._bus = bus
        self._clock = clock
        self._tell = tell
        self._guard = threading.Lock()
        self._waiting: dict[str, _Waiting] = {}
        # What was decided in which conversation, for the answer to who decided it: (lane, sender, id) -> decision.
        self._decided: Remembered[tuple[str, str, str], str] = Remembered(MOST_DECIDED)
        self._is_closed = False

    def ask(self, tool: str, arguments: Mapping[str, object], asked: Asked) -> str:
        """Wait until somebody decides; how it ended. Blocks until the deadline or the configured time are over."""
        settings = self._config().tools.approval
        origin, patience = asked.origin, asked.deadline.within(settings.timeout_s)
        waiting = self._enter(tool, arguments, origin, patience.remaining(), is_direct=asked.is_direct)
        if waiting is None:
            return STOPPED if self._is_closed else BUSY
        call = waiting.call
        try:
            self._publish("requested", call, {})
            if origin.address is not None:
                text = ASKED.format(
                    tool=tool,
                    summary=f" with {_told(call.summary)}" if call.summary else "",
                    id=call.id,
                    time=duration(math.ceil(patience.remaining())),
                )
                self._tell(origin, text, call.id, call.expires_ms)
            with asked.stop.watch(lambda: waiting.over.set(STOPPED)):
                waiting.over.wait(patience.remaining())
        finally:
            with self._guard:
                del self._waiting[call.id]
            outcome = waiting.over.reason if waiting.over.is_set() else EXPIRED
            self._publish("resolved", call, {"decision": outcome})
        return outcome

    def waiting(self) -> Sequence[WaitingCall]:
        """See control.approvals.Approvals."""
        with self._guard:
            return [one.call for one in self._waiting.values() if not one.over.is_set()]

    def resolve(self, id: str, *, approved: bool) -> bool:
        """See control.approvals.Approvals."""
        with self._guard:
            found = self._waiting.get(id)
            if found is None or found.over.is_set():
                return False
            found.over.set(APPROVED if approved else REFUSED)
            return True

    def resolve_in_chat(self, id: str, lane: str, sender: str | None, *, approved: bool) -> bool:
        """Decide as somebody in a conversation; False for a call that is not waiting there, or not for them."""
        with self._guard:
            found = self._waiting.get(id)
            if found is None or found.lane != lane or sender not in found.approvers or found.over.is_set():
                return False
            found.over.set(APPROVED if approved else REFUSED)
            self._decided.put((lane, sender, id), found.over.reason)
            return True

    def decided(self, id: str, lane: str, sender: str | None) -> str | None:
        """What this sender decided, APPROVED or REFUSED; None when they decided nothing under this id."""
        with self._guard:
            return self._decided.get((lane, sender or "", id))

    def close(self) -> None:
        """Whoever waits does so no longer: the gateway stops, and the next process asks again."""
        with self._guard:
            self._is_closed = True
            waiting = list(self._waiting.values())
        for one in waiting:
            one.over.set(STOPPED)

    def _enter(
        self, tool: str, arguments: Mapping[str, object], origin: Origin, seconds: float, *, is_direct: bool
    ) -> _Waiting | None:
        config = self._config()
        approvers = config.tools.approval.approvers or ((origin.sender,) if origin.sender else ())
        lane = "" if origin.address is None else origin.address.lane
        now_ms = self._clock.wall_ms()
        # Each waits in a worker, and the question needs one to leave.
        most = MOST_DIRECT if is_direct else min(MOST_WAITING, config.gateway.workers // 2)
        with self._guard:
            held = sum(one.is_direct == is_direct for one in self._waiting.values())
            if self._is_closed or held >= most:
                return None
            id = _new_id(self._waiting)
            call = WaitingCall(
                id,
                tool,
                _summary(arguments),
                origin.entry,
                origin.session,
                lane,
                now_ms,
                now_ms + int(seconds * 1000),
            )
            made = self._waiting[id] = _Waiting(call, lane, frozenset(approvers), is_direct)
            return made

    def _publish(self, what: str, call: WaitingCall, more: Mapping[str, object]) -> None:
        payload = {
            "id": call.id,
            "tool": call.tool,
            "summary": call.summary,
            "entry": call.entry,
            "createdAtMs": call.asked_ms,
            "expiresAtMs": call.expires_ms,
            # Where published clients look for what they show.
            "request": {"command": f"{call.tool} {call.summary}".strip()},
            **more,
        }
        if call.session is not None:
            payload["sessionKey"] = call.session
        self._bus.publish(Event(f"exec.approval.{what}", payload, scope=SCOPE, is_kept=False))


def _new_id(taken: Mapping[str, object]) -> str:
    while True:
        id = "".join(secrets.choice(LETTERS) for _ in range(ID_LETTERS))
        if id not in taken:
            return id


def _summary(arguments: Mapping[str, object]) -> str:
    """The arguments on one line, without anything that steers a terminal or looks like a command of ours."""
    return one_line(", ".join(f"{name}={one_line(value, SHOWN)}" for name, value in arguments.items()), SHOWN)


def _told(summary: str) -> str:
    more = len(summary) - TOLD
    return summary if more <= 0 else summary[:TOLD] + MORE.format(more=more)
