"""A run on its way through a lane."""

from __future__ import annotations

from collections.abc import Callable

from loong_channels.waiting import StopToken
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control.runs import RunResult
from loong_gateway.messaging.delivery import STORE_GATE
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.run import Run
from loong_gateway.messaging.run_answers import Answered, RunAnswers

__all__ = ["RunTask"]

STORE_WAIT_S = 5.0
SETTLE_LIMIT_S = 60.0

Ended = Callable[[Run, RunResult], None]


class RunTask:
    """A lane's handle on a run. `ended` is told how it ended, once it is kept."""

    user_may_stop = True

    def __init__(self, answers: RunAnswers, run: Run, ended: Ended) -> None:
        self._answers = answers
        self._ended = ended
        self.asked = run
        self.limit_s = run.request.timeout_s

    def run(self, stop: StopToken) -> Later | None:
        """Answer it, unless it has ended while it waited."""
        run = self.asked
        # An answer that could not be kept would be paid for again and again.
        if run.request.durable and not run.is_over and self._answers.unwritable():
            return Later(self, STORE_WAIT_S, STORE_GATE)
        with run.stop.watch(lambda: stop.set("aborted")):
            if not run.begin():
                return None
            answered = self._answers.answer(run, stop)
        if answered is None:
            run.suspend()
            return None
        return _KeepTask(self._answers, run, self._ended, answered).run(stop)

    def abandoned(self) -> _KeepTask:
        """Say so to those who wait."""
        error = "the turn did not end, or failed again and again"
        result = self._answers.ended(self.asked, "error", error=error, error_code="internal")
        return _KeepTask(self._answers, self.asked, self._ended, Answered(result))


class _KeepTask:
    """A lane's handle on an answer that is not on disk yet."""

    limit_s = SETTLE_LIMIT_S
    user_may_stop = False

    def __init__(self, answers: RunAnswers, run: Run, ended: Ended, answered: Answered) -> None:
        self._answers = answers
        self._run = run
        self._ended = ended
        self._answered = answered

    def run(self, stop: StopToken) -> Later | None:  # noqa: ARG002  storing is short
        """Store it, then tell everyone."""
        run = self._run
        if run.is_over:
            return None
        try:
            kept = self._answers.keep(run, self._answered)
        except StoreUnwritable as error:
            if run.request.durable:
                return Later(self, STORE_WAIT_S, STORE_GATE)
            how = {"error": str(error), "error_code": "store_unwritable"}
            kept = self._answers.ended(run, "error", **how)
        if kept is not None:
            self._ended(run, kept)
        return None

    def abandoned(self) -> None:
        """A durable run is begun again at the next start."""
