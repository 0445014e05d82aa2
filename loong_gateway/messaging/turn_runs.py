"""The turns of channel conversations, as those see them who watch runs: named, told of, and ended on request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from loong_channels.waiting import StopToken
from loong_gateway.messaging.run_events import MakeEvents, RunEvents

__all__ = ["TurnRuns"]


@dataclass
class _Turn:
    session: str
    events: RunEvents
    stop: StopToken
    reason: str = ""


class TurnRuns:
    """Thread-safe; `_guard` protects the table of turns that were begun and not ended, by number of their message."""

    def __init__(self, events: MakeEvents) -> None:
        self._events = events
        self._guard = threading.Lock()
        self._turns: dict[int, _Turn] = {}

    def begun(self, seq: int, session: str, stop: StopToken) -> RunEvents:
        """A turn begins, or is tried again."""
        with self._guard:
            turn = self._turns.get(seq)
            if turn is None:
                turn = _Turn(session, self._events(_name(seq), session), stop)
                self._turns[seq] = turn
            turn.stop = stop
        turn.events.started()
        return turn.events

    def ended(self, seq: int, text: str, error: str = "") -> None:
        """The turn has its answer on disk, or `error` says as "kind: words" why it has none."""
        turn = self._leave(seq)
        if turn is None:
            return
        user = turn.stop.is_set() and turn.stop.reason == "user"
        if (error and turn.reason) or (not error and not text and user):
            turn.events.aborted(turn.reason or "user")
        elif error:
            kind, _, words = error.partition(": ")
            turn.events.failed(words or kind, kind)
        else:
            turn.events.finished(text)

    def given_back(self, seq: int) -> None:
        """The gateway stops, and the message waits for the next start, which begins the run of this name again."""
        self._leave(seq)

    def forget(self, seq: int) -> None:
        """The message was settled elsewhere: whatever was being said does not count."""
        turn = self._leave(seq)
        if turn is not None:
            turn.events.aborted("user")

    def abort(self, session: str | None, run_id: str | None, reason: str) -> Sequence[str]:
        """End the turns of a session, or the one of this name, as its user could; returns the names."""
        with self._guard:
            found = [
                (seq, turn) for seq, turn in self._turns.items() if _is_meant(seq, turn, session, run_id)
            ]
            for _, turn in found:
                turn.reason = turn.reason or reason
        for _, turn in found:
            turn.stop.set("user")
        return [_name(seq) for seq, _ in found]

    def active(self, session: str | None) -> Sequence[str]:
        """The names of the turns of one session, or of all."""
        with self._guard:
            return [_name(seq) for seq, turn in self._turns.items() if session in (None, turn.session)]

    def _leave(self, seq: int) -> _Turn | None:
        with self._guard:
            return self._turns.pop(seq, None)


def _name(seq: int) -> str:
    return f"reply-{seq}"


def _is_meant(seq: int, turn: _Turn, session: str | None, run_id: str | None) -> bool:
    return session in (None, turn.session) and run_id in (None, _name(seq))
