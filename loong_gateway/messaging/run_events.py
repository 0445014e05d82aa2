"""What clients are told while a run goes on: `agent` events, and for runs of a session `chat` events.

Shapes: https://docs.openclaw.ai/gateway/protocol and the schemas of npm @openclaw/gateway-protocol. `agent` events
carry `sessionKey` and `agentId` beside what that schema names, because clients need them.

Order: lifecycle start, assistant pieces, lifecycle end or error, then the one final `chat` event.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Callable, Optional

from loong_gateway.base.bus import Bus, Event
from loong_gateway.base.clock import Clock
from loong_gateway.messaging.tool_rounds import ToolStep

__all__ = ["AGENT_ID", "Later", "MakeEvents", "RunEvents", "injected"]

AGENT_ID = "main"
# Pieces that come faster than this are told together.
COALESCE_S = 0.075
# How much clients are shown of what a tool is given and gives.
MOST_TOLD = 4096
# Chat clients know a few words for why a run failed; the fault classes of providers are finer.
KINDS = {"timed_out": "timeout", "rate_limited": "rate_limit"}

# As base.timers.Timers.later.
Later = Callable[[float, Callable[[], None]], object]


class RunEvents:
    """The events of one run. Thread-safe; `_guard` keeps them in order and is held while one is published.

    Pieces that come within COALESCE_S after others were told wait for the rest of it; `later` sees to those after which
    the model pauses. While nobody listens, nothing is made of them; the first who does is told all at once.
    """

    def __init__(self, bus: Bus, clock: Clock, later: Later, run_id: str, session: str | None) -> None:
        self._bus = bus
        self._clock = clock
        self._later = later
        self._guard = threading.Lock()
        self._run_id = run_id
        self._session = session
        self._seq = 0
        self._started_ms = 0
        self._pieces: list[str] = []
        self._told = ""
        self._told_s = -COALESCE_S
        self._replaces = False
        self._waits = False
        self._look_due = False
        self._is_over = False

    @property
    def is_wanted(self) -> bool:
        """Whether somebody would be told of pieces now."""
        return self._bus.has_listeners

    def started(self) -> None:
        """The run begins, or begins again: then what was said so far does not count any more."""
        with self._guard:
            self._started_ms = self._clock.wall_ms()
            self._pieces = []
            self._waits = False
            self._replaces = bool(self._told)
            self._agent("lifecycle", {"phase": "start", "startedAt": self._started_ms})

    def grown(self, piece: str) -> None:
        """A piece of the answer."""
        with self._guard:
            if self._is_over:
                return
            self._pieces.append(piece)
            self._waits = True
            look_s = self._tell_due()
        self._look_after(look_s)

    def used_tool(self, step: ToolStep) -> None:
        """A tool is called, or was; what the model said before is told first."""
        if not self._bus.has_listeners:
            return
        data: dict[str, object] = {"phase": step.phase, "name": step.name, "toolCallId": step.call_id}
        if step.phase == "start":
            data["args"] = step.arguments[:MOST_TOLD]
        else:
            data.update(result=step.result[:MOST_TOLD], isError=step.is_error)
        with self._guard:
            if not self._is_over:
                self._all_told()
                self._agent("tool", data)

    def finished(self, text: str, usage: Mapping[str, int] | None = None) -> None:
        """The run has an answer, and it is stored."""
        with self._guard:
            self._waits = False
            if self._bus.has_listeners:
                self._tell(text)
            self._end({"phase": "end", "aborted": False, "stopReason": "stop"})
            self._chat(
                {
                    "state": "final",
                    **_message(text, self._clock),
                    "stopReason": "stop",
                    **({"usage": dict(usage)} if usage else {}),
                }
            )

    def aborted(self, reason: str) -> None:
        """The run was ended by somebody."""
        with self._guard:
            text = self._all_told()
            said = _message(text, self._clock) if text else {}
            self._end({"phase": "end", "aborted": True, "stopReason": reason})
            self._chat({"state": "aborted", **said, "stopReason": reason})

    def failed(self, error: str, code: str) -> None:
        """The run has no answer."""
        with self._guard:
            self._all_told()
            self._end({"phase": "error", "error": error})
            self._chat({"state": "error", "errorMessage": error, "errorKind": KINDS.get(code, "unknown")})

    def _look_after(self, seconds: float) -> None:
        if seconds <= 0:
            return
        try:
            self._later(seconds, self._look)
        except RuntimeError:
            # The system gives no thread: the next piece or the end tells what waits.
            with self._guard:
                self._look_due = False

    def _look(self) -> None:
        with self._guard:
            self._look_due = False
            look_s = self._tell_due()
        self._look_after(look_s)

    # The methods below are called with `_guard` held.

    def _tell_due(self) -> float:
        """Tell what waits if it is time; else in how many seconds to look again, 0 when somebody does already."""
        if not self._waits or not self._bus.has_listeners:
            return 0.0
        now_s = self._clock.monotonic_s()
        wait_s = self._told_s + COALESCE_S - now_s
        if wait_s <= 0:
            self._told_s = now_s
            self._waits = False
            self._tell("".join(self._pieces))
        elif not self._look_due:
            self._look_due = True
            return wait_s
        return 0.0

    def _all_told(self) -> str:
        """Tell what waits; all that was said."""
        self._waits = False
        text = "".join(self._pieces)
        if text and self._bus.has_listeners:
            self._tell(text)
        return text

    def _tell(self, text: str) -> None:
        extends = text.startswith(self._told) and not self._replaces
        delta = text[len(self._told) :] if extends else text
        if extends and not delta:
            return
        self._told = text
        self._replaces = False
        mark = {} if extends else {"replace": True}
        self._agent("assistant", {"text": text, "delta": delta, **mark})
        self._chat(
            {"state": "delta", "deltaText": delta, **_message(text, self._clock), **mark}, is_kept=False
        )

    def _end(self, data: dict[str, object]) -> None:
        # A run that ends before its turn has no start.
        started = {"startedAt": self._started_ms} if self._started_ms else {}
        self._agent("lifecycle", {**data, **started, "endedAt": self._clock.wall_ms()})
        # The run may be remembered for long, and nothing is told of it after this.
        self._is_over = True
        self._pieces, self._told = [], ""

    def _agent(self, stream: str, data: Mapping[str, object]) -> None:
        self._seq += 1
        payload: dict[str, object] = {
            "runId": self._run_id,
            "seq": self._seq,
            "stream": stream,
            "ts": self._clock.wall_ms(),
            "agentId": AGENT_ID,
            "data": data,
        }
        if self._session is not None:
            payload["sessionKey"] = self._session
        self._bus.publish(Event("agent", payload, is_kept=stream == "lifecycle"))

    def _chat(self, payload: Mapping[str, object], *, is_kept: bool = True) -> None:
        if self._session is None:
            return
        common = {
            "runId": self._run_id,
            "sessionKey": self._session,
            "agentId": AGENT_ID,
            "seq": self._seq,
        }
        self._bus.publish(Event("chat", {**common, **payload}, is_kept=is_kept))


# The events of a run by its id and session.
MakeEvents = Callable[[str, Optional[str]], RunEvents]


def injected(clock: Clock, session: str, number: int, text: str) -> Event:
    """What is told of a message that was added to a session and answers nothing."""
    return Event(
        "chat",
        {
            "runId": f"inject-{number}",
            "sessionKey": session,
            "agentId": AGENT_ID,
            "seq": 0,
            "state": "final",
            **_message(text, clock),
        },
    )


def _message(text: str, clock: Clock) -> dict[str, object]:
    content = [{"type": "text", "text": text}]
    return {"message": {"role": "assistant", "content": content, "timestamp": clock.wall_ms()}}
