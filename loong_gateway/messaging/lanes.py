"""Lanes: order inside a conversation, parallel work across conversations, on workers that are started on demand.

A lane is in the ready queue at most once and at most one worker is in it; a worker takes one task from its head and
puts the lane at the back of the queue, so nobody starves. `_guard` protects everything here and is never held while a
task runs. Tasks are small handles; what they work on lies in the store, so a task that is dropped at a stop is found
again at the next start.
"""

from __future__ import annotations

import collections
import heapq
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry

__all__ = ["Lanes", "LanesSnapshot", "Later", "Task"]

logger = logging.getLogger("loong.lanes")

WORKER_IDLE_S = 60.0
STUCK_GRACE_S = 30.0
# A task that failed unexpectedly is run again after this time; after so many failures in a row its lane goes on.
FAILED_WAIT_S = 30.0
MAX_FAILURES = 3


class Task(Protocol):
    """One step of a lane's work."""

    @property
    def limit_s(self) -> float:
        """How long `run` should take at the very most; beyond it the task is stopped, then abandoned."""

    def run(self, stop: StopToken) -> Later | None:
        """Do the work; blocks. None when done, Later to keep the lane waiting for `Later.task`. May raise: a bug."""

    @property
    def user_may_stop(self) -> bool:
        """Whether somebody in the conversation may end it."""

    def abandoned(self) -> Task | None:
        """Called once when the task did not end although it was stopped, or failed by a bug again and again.

        Returns what its lane does instead.
        """


@dataclass(frozen=True)
class Later:
    """The lane is not done: go on with `task` after `after_s`, or as soon as `gate` is opened.

    With 0 seconds the same worker goes on at once, without looking at other lanes in between.
    """

    task: Task
    after_s: float
    gate: str | None = None


@dataclass(frozen=True)
class LanesSnapshot:
    """Counts of a moment; `waiting` includes what is running."""

    lanes: int
    waiting: int
    running: int
    parked: int
    workers: int
    abandoned: int


@dataclass
class _Run:
    task: Task
    stop: StopToken
    started_s: float
    gates_opened: int
    stopped_s: float | None = None
    is_abandoned: bool = False


@dataclass
class _Lane:
    name: str
    tasks: collections.deque[Task] = field(default_factory=collections.deque)
    run: _Run | None = None
    gate: str | None = None
    parking: int = 0
    failures: int = 0


class Lanes:
    """The lane table, its ready queue and its workers. Thread-safe."""

    def __init__(
        self,
        threads: ThreadRegistry,
        *,
        workers: int,
        lane_limit: int,
        total_limit: int,
        clock: Clock,
        worker_idle_s: float = WORKER_IDLE_S,
    ) -> None:
        self._threads = threads
        self._worker_idle_s = worker_idle_s
        self._max_workers = workers
        self._lane_limit = lane_limit
        self._total_limit = total_limit
        self._clock = clock
        self._guard = threading.Lock()
        # Workers without work, the last to rest on top: it is called first, so that what a busy hour needed rests
        # long enough to end.
        self._resting: list[threading.Condition] = []
        self._run_ended = threading.Condition(self._guard)
        self._lanes: dict[str, _Lane] = {}
        self._ready: collections.deque[_Lane] = collections.deque()
        self._parked: list[tuple[float, int, _Lane]] = []
        self._parkings = 0
        self._active: dict[int, _Run] = {}
        self._waiting = 0
        self._idle = 0
        self._workers = 0
        self._worker_names = 0
        self._abandoned = 0
        self._closing = False
        self._cut = False
        # How often any gate was opened, and the count at which each was opened last: as many as there are accounts.
        self._gates_opened = 0
        self._opened_at: dict[str, int] = {}

    def full(self, lanes: Iterable[str]) -> bool:
        """True when one of these lanes, or all lanes together, may take no more from outside.

        Never after `close`: what is still taken then stays in the store and waits for the next start.
        """
        with self._guard:
            if self._closing:
                return False
            if self._waiting >= self._total_limit:
                return True
            found = (self._lanes.get(name) for name in lanes)
            return any(lane is not None and len(lane.tasks) >= self._lane_limit for lane in found)

    def offer(self, lane: str, task: Task) -> None:
        """Put a task at the end of a lane. Never refuses; ask `full` before taking more from outside."""
        with self._guard:
            if self._closing:
                return
            entry = self._lanes.get(lane)
            if entry is None:
                entry = self._lanes[lane] = _Lane(lane)
            entry.tasks.append(task)
            self._waiting += 1
            if len(entry.tasks) == 1:
                self._make_ready(entry)

    def open_gate(self, gate: str) -> None:
        """Wake every lane that is parked at this gate, and those that are just about to be."""
        with self._guard:
            self._gates_opened += 1
            self._opened_at[gate] = self._gates_opened
            for lane in list(self._lanes.values()):
                if lane.gate == gate and lane.run is None:
                    self._unpark(lane)

    def tick(self) -> None:
        """Wake what is due, stop what is stuck, abandon what cannot be stopped. Called often by the owner's thread."""
        now_s = self._clock.monotonic_s()
        with self._guard:
            self._wake_due(now_s)
            self._ensure_workers()
            overdue = [
                run
                for run in self._active.values()
                if now_s - run.started_s > run.task.limit_s + STUCK_GRACE_S
            ]
        for run in overdue:
            if run.stopped_s is None:
                run.stopped_s = now_s
                run.stop.set("stuck")
            elif now_s - run.stopped_s > STUCK_GRACE_S:
                self._abandon(run)

    def seconds_to_next(self) -> float | None:
        """How long until a parked lane is due; None when none is parked."""
        with self._guard:
            return max(0.0, self._parked[0][0] - self._clock.monotonic_s()) if self._parked else None

    def snapshot(self) -> LanesSnapshot:
        """The counts of this moment."""
        with self._guard:
            return LanesSnapshot(
                lanes=len(self._lanes),
                waiting=self._waiting,
                running=len(self._active),
                parked=sum(1 for lane in self._lanes.values() if lane.parking),
                workers=self._workers,
                abandoned=self._abandoned,
            )

    def close(self) -> None:
        """Take no further heads; what runs goes on, with what follows from it at once."""
        with self._guard:
            self._closing = True
            self._ready.clear()
            while self._resting:
                self._resting.pop().notify()

    def wait_idle(self, deadline: Deadline) -> int:
        """Block until nothing runs or the deadline has passed; returns how many tasks still run."""
        with self._guard:
            while self._active and not deadline.expired:
                self._run_ended.wait(deadline.remaining())
            return len(self._active)

    def interrupt(self, lane: str, reason: str, *, only: Callable[[Task], bool] = lambda _: True) -> bool:
        """Stop what runs in a lane if a user may stop it and it is `only` what is meant; whether it did."""
        with self._guard:
            entry = self._lanes.get(lane)
            run = None if entry is None else entry.run
        if run is None or not run.task.user_may_stop or not only(run.task):
            return False
        run.stop.set(reason)
        return True

    def cut(self) -> None:
        """Stop every running task now, and what follows from it."""
        with self._guard:
            self._cut = True
            runs = list(self._active.values())
        for run in runs:
            run.stop.set("stopping")

    # The methods below are called with `_guard` held, unless their comment says otherwise.

    def _make_ready(self, lane: _Lane) -> None:
        if self._closing:
            return
        self._ready.append(lane)
        if self._resting:
            self._resting.pop().notify()
        self._ensure_workers()

    def _ensure_workers(self) -> None:
        # A worker that was notified still counts as idle until it has taken its lane.
        wanted = min(len(self._ready) - self._idle, self._max_workers - self._workers)
        for _ in range(wanted):
            self._workers += 1
            self._worker_names += 1
            try:
                self._threads.spawn(f"worker-{self._worker_names}", self._work)
            except RuntimeError:
                # The system gives no more threads; the next tick tries again.
                self._workers -= 1
                logger.warning("no thread for another worker; %d go on", self._workers)
                return

    def _unpark(self, lane: _Lane) -> None:
        if lane.parking:
            lane.parking = 0
            lane.gate = None
            self._make_ready(lane)

    def _wake_due(self, now_s: float) -> None:
        while self._parked and self._parked[0][0] <= now_s:
            _, parking, lane = heapq.heappop(self._parked)
            if lane.parking == parking:
                self._unpark(lane)

    def _abandon(self, run: _Run) -> None:
        # Takes `_guard` itself.
        with self._guard:
            if self._active.pop(id(run), None) is None:
                return
            run.is_abandoned = True
            self._abandoned += 1
            self._workers -= 1
        logger.error("gave up a task that did not end %.0f s after its limit", 2 * STUCK_GRACE_S)
        instead = _instead_of(run.task)
        with self._guard:
            for lane in list(self._lanes.values()):
                if lane.run is run:
                    self._leave(lane, run, None if instead is None else Later(instead, 0.0))
            self._ensure_workers()
            self._run_ended.notify_all()

    def _leave(self, lane: _Lane, run: _Run, later: Later | None) -> None:
        lane.run = None
        if later is None:
            lane.tasks.popleft()
            self._waiting -= 1
            if lane.tasks:
                self._make_ready(lane)
            else:
                del self._lanes[lane.name]
            return
        lane.tasks[0] = later.task
        missed = later.gate is not None and self._opened_at.get(later.gate, 0) > run.gates_opened
        if later.after_s <= 0 or missed:
            self._make_ready(lane)
            return
        self._parkings += 1
        lane.parking = self._parkings
        lane.gate = later.gate
        heapq.heappush(self._parked, (self._clock.monotonic_s() + later.after_s, lane.parking, lane))

    def _take(self, call: threading.Condition) -> tuple[_Lane, _Run] | None:
        # Takes `_guard` itself; None tells the worker, which no longer counts as one, to leave.
        with self._guard:
            while not self._ready:
                self._idle += 1
                self._resting.append(call)
                woken = call.wait(0 if self._closing else self._worker_idle_s)
                self._idle -= 1
                if call in self._resting:
                    self._resting.remove(call)
                if not woken and not self._ready:
                    # Counted out under the lock, so that the next offer starts another worker.
                    self._workers -= 1
                    return None
            lane = self._ready.popleft()
            return lane, self._begin(lane)

    def _begin(self, lane: _Lane) -> _Run:
        stop = StopToken()
        if self._cut:
            stop.set("stopping")
        run = _Run(lane.tasks[0], stop, self._clock.monotonic_s(), self._gates_opened)
        lane.run = run
        self._active[id(run)] = run
        return run

    def _work(self) -> None:
        # The body of a worker thread.
        call = threading.Condition(self._guard)
        while True:
            taken = self._take(call)
            if taken is None:
                return
            lane, run = taken
            if not self._work_on(lane, run):
                return

    def _work_on(self, lane: _Lane, run: _Run | None) -> bool:
        # Takes `_guard` itself; False when the worker was given up in the meantime.
        while run is not None:
            later = self._run_one(lane, run)
            with self._guard:
                if run.is_abandoned:
                    return False
                del self._active[id(run)]
                if later is not None and later.after_s <= 0:
                    lane.tasks[0] = later.task
                    run = self._begin(lane)
                    continue
                self._leave(lane, run, later)
                run = None
                self._run_ended.notify_all()
        return True

    def _run_one(self, lane: _Lane, run: _Run) -> Later | None:
        try:
            later = run.task.run(run.stop)
        except Exception:
            # A task answers for its own failures. What gets here is a bug: it must not take the worker with it, nor
            # the task at once, for what it works on lies in the store and nobody else would look there again.
            lane.failures += 1
            logger.exception("a task failed unexpectedly, for the %d. time in a row", lane.failures)
            if lane.failures < MAX_FAILURES:
                return Later(run.task, FAILED_WAIT_S)
            instead = _instead_of(run.task)
            later = None if instead is None else Later(instead, 0.0)
        lane.failures = 0
        return later


def _instead_of(task: Task) -> Task | None:
    """What a lane does instead of a task that is given up."""
    try:
        return task.abandoned()
    except Exception:
        # Its lane must go on whatever its last words were worth.
        logger.exception("a task could not be given up in order")
        return None
