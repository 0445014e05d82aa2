"""The table of runs: those that wait or run, and for a while those that have ended."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.snapshot import Config
from loong_gateway.control.runs import RunRefused, RunRequest, RunResult, RunTicket, RunWatcher
from loong_gateway.messaging.chat_commands import parse_command
from loong_gateway.messaging.lanes import Lanes
from loong_gateway.messaging.run import OnEnd, Run
from loong_gateway.messaging.run_answers import SHUTDOWN, TIMED_OUT, Answered, RunAnswers
from loong_gateway.messaging.run_ends import RunEnds
from loong_gateway.messaging.run_events import MakeEvents
from loong_gateway.messaging.run_rows import decode_request, decode_result, encode_request
from loong_gateway.messaging.run_task import RunTask
from loong_gateway.messaging.turn_runs import TurnRuns
from loong_gateway.storage import runs as stored
from loong_gateway.storage.runs import RunRow
from loong_gateway.storage.store import Store

__all__ = ["RunParts", "RunTable"]

logger = logging.getLogger("loong.runs")

BUSY = "too many questions are waiting"
FULL = "the questions that wait are too large to keep more of them"
STOPPING = "the gateway is stopping"
LOST = "the stored run is damaged"
# What all runs that wait or run were asked, with their pictures; one alone may be larger.
MOST_BYTES = 64 << 20
# How many may wait for runs that are not known yet.
MOST_EARLY = 1024


@dataclass(frozen=True)
class RunParts:
    """What the table works with."""

    store: Store
    lanes: Lanes
    answers: RunAnswers
    turns: TurnRuns
    config: Callable[[], Config]
    events: MakeEvents
    metrics: Metrics
    clock: Clock


class RunTable:
    """Implements control.runs.Runs. Thread-safe; `_guard` protects the table."""

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        self._guard = threading.Lock()
        # In the order of admission.
        self._open: dict[str, Run] = {}
        self._ends = RunEnds()
        self._bytes = 0
        # Who waits for runs that are not known yet, by their ids.
        self._early: dict[str, list[OnEnd]] = {}
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
        if not self._enter(run):
            # Somebody else was quicker.
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

    def watch(
        self, run_id: str, on_end: Callable[[RunResult], None], *, early: bool = False
    ) -> Callable[[], None] | None:
        """See control.runs.Runs."""
        with self._guard:
            run = self._open.get(run_id) or self._ends.get(run_id)
            if run is None:
                if not early or sum(map(len, self._early.values())) >= MOST_EARLY:
                    return None
                self._early.setdefault(run_id, []).append(on_end)
        return functools.partial(self._forget, run_id, on_end) if run is None else run.watch(on_end)

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
        for run_id in parts.store.read(lambda conn: stored.ended(conn, now_ms)):
            row = parts.store.read(functools.partial(stored.find, id=run_id))
            if row is not None:
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
            self._enter(run, is_accepted=True)
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
            late = [run for run in late if not run.is_over]
            self._ends.tick(now_s)
        for run in late:
            result = self._parts.answers.ended(run, "timed_out", error=TIMED_OUT, error_code="timed_out")
            self._parts.answers.keep_soon(run, result)
            self._leave(run, result)

    def close(self) -> None:
        """Admit nothing more, and begin nothing more: who waits for what is not on disk is told that it was aborted."""
        with self._guard:
            self._is_closed = True
            waiting = [run for run in self._open.values() if run.started_ms is None]
        for run in waiting:
            self._shut(run)

    # Inside

    def _enter(self, run: Run, *, is_accepted: bool = False) -> bool:
        """Put a run into the table, with those who wait for it already; False when there is one of its id.

        Raises RunRefused when the table holds too much, unless it `is_accepted` already.
        """
        run_id = run.request.run_id
        with self._guard:
            if run_id in self._open:
                return False
            if self._open and self._bytes + run.weight_bytes > MOST_BYTES and not is_accepted:
                raise RunRefused("busy", FULL)
            run.adopt(self._early.pop(run_id, []))
            self._open[run_id] = run
            self._bytes += run.weight_bytes
            return True

    def _drop(self, run: Run) -> None:
        """Take a run out of those that are open. Holds the guard."""
        if self._open.pop(run.request.run_id, None) is not None:
            self._bytes -= run.weight_bytes

    def _forget(self, run_id: str, on_end: OnEnd) -> None:
        """Take back what waits for a run that was not known."""
        with self._guard:
            early = self._early.get(run_id, [])
            if on_end in early:
                early.remove(on_end)
                if not early:
                    del self._early[run_id]
                return
            run = self._open.get(run_id)
        if run is not None:
            run.forget(on_end)

    def _known(self, run_id: str, watcher: RunWatcher | None) -> RunTicket | None:
        run = self._find(run_id)
        if run is not None and run.is_shed:
            row = self._stored(run_id)
            run = None if row is None or row.state != "ended" else self._remember(row)
        if run is None:
            return None
        if run.result is None and watcher is not None:
            run.join(watcher)
        state = "in_flight" if run.result is None else "ended"
        return RunTicket(run_id, state, run.request.session, run.accepted_ms, run.result)

    def _find(self, run_id: str) -> Run | None:
        with self._guard:
            return self._open.get(run_id) or self._ends.get(run_id)

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
        events = self._parts.events(request.run_id, request.session)
        return Run(request, events, self._parts.clock, accepted_ms)

    def _store(self, run: Run) -> RunTicket | None:
        """Put a run on disk; a ticket when it is there already. Raises RunRefused."""
        request, parts = run.request, self._parts
        payload = encode_request(request)
        try:
            row = parts.store.write(lambda conn: stored.add(conn, request.run_id, payload, run.accepted_ms))
        except StoreUnwritable as error:
            with self._guard:
                self._drop(run)
            # Somebody may have joined it meanwhile.
            refused = parts.answers.ended(run, "error", error=str(error), error_code="store_unwritable")
            run.end(refused, was_admitted=False)
            raise RunRefused("store_unwritable", str(error)) from error
        if row is None:
            return None
        # The table has forgotten it, the store not yet.
        found = self._remember(row)
        with self._guard:
            self._drop(run)
        # Somebody may have joined this one meanwhile.
        if found.result is not None:
            run.end(found.result, was_admitted=False)
        return RunTicket(request.run_id, "ended", request.session, row.stored_ms, found.result)

    def _remember(self, row: RunRow) -> Run:
        try:
            result = decode_result(row.payload or b"")
        except ValueError:
            result = RunResult(row.id, "error", error=LOST, error_code="internal", ended_ms=row.ended_ms)
        events = self._parts.events(row.id, result.session)
        run = Run.remembered(result, events, self._parts.clock, row.stored_ms)
        with self._guard:
            self._ends.keep(run)
        return run

    def _stored(self, run_id: str) -> RunRow | None:
        """The row of an id. Raises RunRefused."""
        try:
            return self._parts.store.read(functools.partial(stored.find, id=run_id))
        except StoreUnwritable as error:
            raise RunRefused("store_unwritable", str(error)) from error

    def _offer(self, run: Run) -> None:
        self._parts.lanes.offer(_lane(run.request), RunTask(self._parts.answers, run, self._leave))
        if self._is_closed and run.started_ms is None:
            self._shut(run)

    def _shut(self, run: Run) -> None:
        if run.request.durable:
            # It stays on disk as it is.
            run.suspend()
            return
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
            self._drop(run)
            self._ends.keep(run)


def _lane(request: RunRequest) -> str:
    return f"run:{request.run_id}" if request.session is None else f"session:{request.session}"


def _is_meant(run: Run, session: str | None, run_id: str | None) -> bool:
    return session in (None, run.request.session) and run_id in (None, run.request.run_id)
