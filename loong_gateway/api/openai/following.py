"""Follows one run for one client: what it says, its end, and whether somebody is still there to hear it."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterator
from typing import Callable, Union

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.api.answers import BodyStream
from loong_gateway.api.router import Request
from loong_gateway.api.wire import PeerGone
from loong_gateway.base.timers import Timers
from loong_gateway.control.runs import RunRefused, RunRequest, RunResult, Runs

from .faults import ApiFault, refused_fault

__all__ = ["Following", "Told", "relay", "while_there"]

# How long a client may have left without its run being told.
LOOK_S = 0.2
# What a run may take beyond its own limit until it says so.
GRACE_S = 30.0
KEEPALIVE = b": waiting\n\n"

Told = Union[str, RunResult]


class Following:
    """One run. Used by the thread of the client's connection; the run's own thread only puts into a queue.

    A run whose client has left is aborted, and so is one that is closed before its end.
    """

    def __init__(self, runs: Runs, request: Request) -> None:
        self._runs = runs
        self._request = request
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._run_id = ""
        self._forget: Callable[[], None] | None = None
        self._ended = False
        self._deadline = Deadline(0)
        self._next_look = 0.0

    def start(self, asked: RunRequest, *, streams: bool) -> None:
        """Begin the run; only one that `streams` tells pieces. Raises ApiFault when it is not admitted."""
        try:
            self._runs.start(asked, self if streams else None)
        except RunRefused as refused:
            raise refused_fault(refused) from refused
        self._run_id = asked.run_id
        self._deadline = Deadline(asked.timeout_s + GRACE_S)
        self._next_look = time.monotonic() + LOOK_S
        if not streams:
            self._forget = self._runs.watch(asked.run_id, self._told.put)
            if self._forget is None:
                raise ApiFault(500, "internal", "internal error")

    def grown(self, piece: str) -> None:
        """See control.runs.RunWatcher."""
        self._told.put(piece)

    def ended(self, result: RunResult) -> None:
        """See control.runs.RunWatcher."""
        self._told.put(result)

    def step(self) -> Told | None:
        """What is told next; None when nothing was for a moment. Raises ApiFault and PeerGone."""
        if time.monotonic() >= self._next_look:
            self._look()
        try:
            told = self._told.get(timeout=LOOK_S)
        except queue.Empty:
            return None
        self._ended = isinstance(told, RunResult)
        return told

    def first(self, seconds: float) -> Told | None:
        """What is told first, None when that takes longer than `seconds`. Raises as `step`."""
        deadline = Deadline(seconds)
        told = self.step()
        while told is None and not deadline.expired:
            told = self.step()
        return told

    def result(self) -> RunResult:
        """Wait for the end. Raises as `step`."""
        while True:
            told = self.step()
            if isinstance(told, RunResult):
                return told

    def close(self) -> None:
        """Nobody follows any longer."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        if self._run_id and not self._ended:
            self._abort("client_gone")

    def _look(self) -> None:
        self._next_look = time.monotonic() + LOOK_S
        if self._request.stop.is_set():
            self._abort("shutdown")
            raise ApiFault(503, "stopping", "the gateway is stopping", retry_after_s=5.0)
        if self._request.gone():
            self._abort("client_gone")
            raise PeerGone
        if self._deadline.expired:
            self._abort("client_gone")
            raise ApiFault(504, "timed_out", "the answer did not come in time")

    def _abort(self, reason: str) -> None:
        self._ended = True
        self._runs.abort(run_id=self._run_id, reason=reason)


def relay(following: Following, first: Told | None, out: BodyStream, *, keepalive_s: float) -> Iterator[Told]:
    """Everything that is told, the result last, beginning with `first`. Raises as Following.step.

    While nothing is said a comment is written every `keepalive_s`, so that no proxy takes the connection for dead.
    https://html.spec.whatwg.org/multipage/server-sent-events.html#authoring-notes
    """
    told = first
    quiet = Deadline(keepalive_s)
    while True:
        if told is not None:
            yield told
            if isinstance(told, RunResult):
                return
            quiet = Deadline(keepalive_s)
        elif quiet.expired:
            out.write(KEEPALIVE)
            quiet = Deadline(keepalive_s)
        told = following.step()


@contextlib.contextmanager
def while_there(request: Request, timers: Timers) -> Iterator[StopToken]:
    """A token for a call that blocks this thread: set when the port ends or the client has left."""
    stop = StopToken()

    def look() -> None:
        if request.gone():
            stop.set("client_gone")

    with request.stop.watch(lambda: stop.set(request.stop.reason)):
        end = timers.every(LOOK_S, look)
        try:
            yield stop
        finally:
            end()
