"""The table of runs: those that wait or run, and for a while those that have ended."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loong_gateway.base.bus import Bus
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.control.runs import RunRefused, RunRequest, RunResult, RunTicket, RunWatcher
from loong_gateway.messaging.chat_commands import parse_command
from loong_gateway.messaging.lanes import Lanes
from loong_gateway.messaging.run import Run
from loong_gateway.messaging.run_answers import SHUTDOWN, TIMED_OUT, Answered, RunAnswers
from loong_gateway.messaging.run_events import RunEvents
from loong_gateway.messaging.run_rows import decode_request, decode_result, encode_request
from loong_gateway.messaging.run_task import RunTask
from loong_gateway.messaging.turn_runs import TurnRuns
from loong_gateway.storage import runs as stored
from loong_gateway.storage.runs import KEPT_MS, KEPT_ROWS, RunRow
from loong_gateway.storage.store import Store

__all__ = ["RunParts", "RunTable"]

logger = logging.getLogger("loong.runs")

BUSY = "too many questions are waiting"
STOPPING = "the gateway is stopping"
LOST = "the stored run is damaged"


@dataclass(frozen=True)
class RunParts:
    """What the table works with."""

    store: Store
    lanes: Lanes
    answers: RunAnswers
    turns: TurnRuns
    config: Callable[[], Config]
    bus: Bus
    metrics: Metrics
    clock: Clock


class RunTable:
    """Implements control.runs.Runs. Thread-safe; `_guard` protects the table."""

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        self._guard = threading.Lock()
        # In the order of admission, and those that have ended in the order of their end.
        self._open: dict[str, Run] = {}
        self._ended: OrderedDict[str, Run] = OrderedDict()
        self._is_closed = False

    def start(
        self,
        request: RunRequest,
        watcher: RunWatcher | None = None,
        admitted: Callable[[RunTicket], None] | None = None,
    ) -> RunTicket:
        """See control.runs.Runs. Raises CommandError for a `deliver` that cannot be reached."""
        known = self._known(request.run_id, watcher)
        if known is not None:
            return known
        self._check(request)
        run = self._new(request, self._parts.clock.wall_ms())
        if watcher is not None:
            run.join(watcher)
        with self._guard:
            # Somebody else may have been quicker; then this one is asked for below.
            first = self._open.setdefault(request.run_id, run)
        if first is not run:
            return self._known(request.run_id, watcher) or self.start(request, watcher, admitted)
        if request.durable:
            before = self._store(run)
            if before is not None:
                return before
        ticket = RunTicket(request.run_id, "accepted", request.session, run.accepted_ms)
        if admitted is not None:
            admitted(ticket)
        self._offer(run)
        return ticket

    def watch(self, run_id: str, on_end: Callable[[RunResult], None]) -> Callable[[], None] | None:
        """See control.runs.Runs."""
        run = self._find(run_id)
        return None if run is None else run.watch(on_end)

    def abort(
        self, *, session: str | None = None, run_id: str | None = None, reason: str = "rpc"
    ) -> Sequence[str]:
        """See control.runs.Runs. Blocks for a commit when a durable run has not begun yet."""
        with self._guard:
            found = [run for run in self._open.values() if _is_meant(run, session, run_id)]
        found = [run for run in found if not run.is_over]
        # What runs ends last: the next one of its session would begin while it is still to be ended.
        for run in reversed(found):
            run.stop.set(reason)
            if run.started_ms is None:
                self._end_early(run, self._parts.answers.ended(run, "aborted", stop_reason=reason))
        turns = self._parts.turns.abort(session, run_id, reason)
        return [*(run.request.run_id for run in found), *turns]

    def active(self, session: str | None = None) -> Sequence[str]:
        """See control.runs.Runs."""
        with self._guard:
            own = [
                run.request.run_id
                for run in self._open.values()
                if session in (None, run.request.session) and not run.is_over
            ]
        return [*own, *self._parts.turns.active(session)]

    # The life of the gateway

    def recover(self) -> int:
        """Begin again what an earlier process left, in order; returns how many. Raises StoreUnwritable."""
        parts = self._parts
        now_ms = parts.clock.wall_ms()
        rows = parts.store.write(stored.pending)
        for row in parts.store.read(lambda conn: stored.ended(conn, now_ms)):
            self._remember(row)
        limit = parts.config().delivery.max_crash_attempts
        begun = 0
        for row in rows:
            try:
                run = self._new(decode_request(row.payload or b""), row.stored_ms)
                error = (
                    f"the gateway died {row.crashes} times while working on it" if row.crashes > limit else ""
                )
            except ValueError:
                run, error = self._new(RunRequest(row.id, "", durable=True), row.stored_ms), LOST
            with self._guard:
                self._open[row.id] = run
            if error:
                logger.error("run %s was given up: %s", row.id, error)
                self._end_early(run, parts.answers.ended(run, "error", error=error, error_code="internal"))
                continue
            self._offer(run)
            begun += 1
        return begun

    def tick(self) -> None:
        """End what waited for its turn too long, forget what ended long ago. Does not block."""
        now_s = self._parts.clock.monotonic_s()
        with self._guard:
            late = [run for run in self._open.values() if run.started_ms is None and run.deadline.expired]
            while self._ended:
                id, oldest = next(iter(self._ended.items()))
                if oldest.ended_s is None or now_s - oldest.ended_s < KEPT_MS / 1000:
                    break
                del self._ended[id]
        for run in late:
            result = self._parts.answers.ended(run, "timed_out", error=TIMED_OUT, error_code="timed_out")
            self._parts.answers.keep_soon(run, result)
            self._leave(run, result)

    def close(self) -> None:
        """Admit nothing more, and tell those who wait for a run that will not be begun in this process."""
        with self._guard:
            self._is_closed = True
            waiting = [run for run in self._open.values() if run.started_ms is None]
        for run in waiting:
            self._shut(run)

    # Inside

    def _known(self, run_id: str, watcher: RunWatcher | None) -> RunTicket | None:
        run = self._find(run_id)
        if run is None:
            return None
        if run.result is None and watcher is not None:
            run.join(watcher)
        state = "in_flight" if run.result is None else "ended"
        return RunTicket(run_id, state, run.request.session, run.accepted_ms, run.result)

    def _find(self, run_id: str) -> Run | None:
        with self._guard:
            return self._open.get(run_id) or self._ended.get(run_id)

    def _check(self, request: RunRequest) -> None:
        parts = self._parts
        if self._is_closed:
            raise RunRefused("stopping", STOPPING)
        if request.profile is not None and request.profile not in parts.config().providers:
            raise RunRefused("unknown_profile", f"there is no provider profile {request.profile}")
        if request.deliver is not None:
            parts.answers.check(request.deliver)
        if parts.lanes.full([_lane(request)]):
            raise RunRefused("busy", BUSY)
        if request.session is not None and not request.messages:
            command = parse_command(request.text)
            if command is not None and command.name == "stop":
                # It would wait behind what it is to end.
                self.abort(session=request.session, reason="user")

    def _new(self, request: RunRequest, accepted_ms: int) -> Run:
        events = RunEvents(self._parts.bus, self._parts.clock, request.run_id, request.session)
        return Run(request, events, self._parts.clock, accepted_ms)

    def _store(self, run: Run) -> RunTicket | None:
        """Put a run on disk; a ticket when it is there already. Raises RunRefused."""
        request, parts = run.request, self._parts
        payload = encode_request(request)
        try:
            row = parts.store.write(lambda conn: stored.add(conn, request.run_id, payload, run.accepted_ms))
        except StoreUnwritable as error:
            with self._guard:
                self._open.pop(request.run_id, None)
            # Somebody may have joined it meanwhile.
            refused = parts.answers.ended(run, "error", error=str(error), error_code="store_unwritable")
            run.end(refused, was_admitted=False)
            raise RunRefused("store_unwritable", str(error)) from error
        if row is None:
            return None
        # The table has forgotten it, the store not yet.
        found = self._remember(row)
        with self._guard:
            self._open.pop(request.run_id, None)
        return RunTicket(request.run_id, "ended", request.session, row.stored_ms, found.result)

    def _remember(self, row: RunRow) -> Run:
        try:
            result = decode_result(row.payload or b"")
        except ValueError:
            result = RunResult(row.id, "error", error=LOST, error_code="internal", ended_ms=row.ended_ms)
        events = RunEvents(self._parts.bus, self._parts.clock, row.id, result.session)
        run = Run.remembered(result, events, self._parts.clock, row.stored_ms)
        with self._guard:
            self._ended[row.id] = run
        return run

    def _offer(self, run: Run) -> None:
        self._parts.lanes.offer(_lane(run.request), RunTask(self._parts.answers, run, self._leave))
        if self._is_closed and run.started_ms is None:
            self._shut(run)

    def _shut(self, run: Run) -> None:
        # What is durable stays on disk as it is.
        self._leave(run, self._parts.answers.ended(run, "aborted", stop_reason=SHUTDOWN))

    def _end_early(self, run: Run, result: RunResult) -> None:
        """End a run that no worker has begun."""
        try:
            kept = self._parts.answers.keep(run, Answered(result))
        except StoreUnwritable as error:
            # It is begun again after a restart, unless the disk comes back before: nobody can be promised more now.
            logger.warning("the end of run %s could not be stored: %s", run.request.run_id, error)
            kept = result
        if kept is not None:
            self._leave(run, kept)

    def _leave(self, run: Run, result: RunResult) -> None:
        if not run.end(result):
            return
        self._parts.metrics.add(f"runs:{run.request.origin}:{result.state}")
        with self._guard:
            self._open.pop(result.run_id, None)
            self._ended[result.run_id] = run
            if len(self._ended) > KEPT_ROWS:
                self._ended.popitem(last=False)


def _lane(request: RunRequest) -> str:
    return f"run:{request.run_id}" if request.session is None else f"session:{request.session}"


def _is_meant(run: Run, session: str | None, run_id: str | None) -> bool:
    return session in (None, run.request.session) and run_id in (None, run.request.run_id)
