"""A question from the port on its way through a lane, and the place where its asker waits."""

from __future__ import annotations

import threading
from typing import Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.control import TurnRequest, TurnResult

__all__ = ["NOBODY_WAITS", "Answers", "RequestTask"]

NOBODY_WAITS = TurnResult("", error="the turn did not end in time", error_code="timed_out")


class Answers(Protocol):
    """Whoever answers questions of the port."""

    def run_request(self, request: TurnRequest, deadline: Deadline, stop: StopToken) -> TurnResult:
        """Answer a question. Blocks; a failure is a result as well."""


class RequestTask:
    """A lane's handle on a question from the port."""

    user_may_stop = True

    def __init__(self, answers: Answers, request: TurnRequest) -> None:
        self._answers = answers
        self._request = request
        self._deadline = Deadline(request.timeout_s)
        self._left = StopToken()
        self._done = threading.Event()
        self._result = NOBODY_WAITS
        self.limit_s = request.timeout_s

    def run(self, stop: StopToken) -> None:
        """Answer the question, unless the asker has left."""
        try:
            if not self._left.is_set():
                with self._left.watch(lambda: stop.set("the asker left")):
                    self._result = self._answers.run_request(self._request, self._deadline, stop)
        finally:
            self._done.set()

    def abandoned(self) -> None:
        """Tell the asker."""
        self._done.set()

    def refuse(self, reason: str) -> None:
        """Tell the asker that there will be no answer."""
        self._result = TurnResult("", error=reason, error_code="stopping")
        self._done.set()

    def wait(self) -> TurnResult:
        """Block until there is a result or the request's time is over; then nothing more is done for it."""
        if not self._done.wait(self._deadline.remaining()):
            self._left.set("the asker left")
            return NOBODY_WAITS
        return self._result
