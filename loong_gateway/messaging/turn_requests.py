"""A question from the port whose asker waits for the answer: a run, and the wait for its end."""

from __future__ import annotations

import queue

from loong_gateway.base.ids import new_id
from loong_gateway.control import TurnRequest, TurnResult
from loong_gateway.control.runs import RunRefused, RunRequest, RunResult, Runs
from loong_gateway.messaging.sessions import session_key

__all__ = ["turn"]

NOBODY_WAITS = TurnResult("", error="the turn did not end in time", error_code="timed_out")


def turn(runs: Runs, request: TurnRequest) -> TurnResult:
    """See control.ControlPlane.turn. Blocks up to `timeout_s`."""
    results: queue.SimpleQueue[RunResult] = queue.SimpleQueue()
    run = RunRequest(
        new_id("turn"),
        request.text,
        session=session_key(request.session),
        profile=request.profile,
        model=request.model,
        timeout_s=request.timeout_s,
        origin="turn",
    )
    try:
        runs.start(run)
        runs.watch(run.run_id, results.put)
        return _turn_result(results.get(timeout=request.timeout_s))
    except RunRefused as refused:
        return TurnResult("", error=str(refused), error_code=refused.code)
    except queue.Empty:
        runs.abort(run_id=run.run_id, reason="client_gone")
        return NOBODY_WAITS


def _turn_result(result: RunResult) -> TurnResult:
    if result.state == "ok":
        return TurnResult(result.text, usage=None if result.usage is None else result.usage.counts())
    if result.state == "timed_out":
        return NOBODY_WAITS
    if result.state == "aborted":
        code = "stopping" if result.stop_reason == "shutdown" else "interrupted"
        words = "the gateway is stopping" if code == "stopping" else "the turn was stopped"
        return TurnResult("", error=words, error_code=code)
    return TurnResult("", error=result.error, error_code=result.error_code)
