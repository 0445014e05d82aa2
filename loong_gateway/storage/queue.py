"""What waits for the writer of the store: operations in order, each with a latch where somebody waits for it.

Thread-safe. `_guard` protects everything in the queue; no operation runs while it is held.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Callable

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import StoreUnwritable

__all__ = ["LAZY_S", "Operation", "OperationQueue"]

# How long an operation that may wait for company does so.
LAZY_S = 0.05
# The longest sleep of the writer when there is nothing to do.
_IDLE_S = 60.0


class Operation:
    """One piece of work on the connection.

    `latch` is a lock that is held until the outcome is known, or None when nobody waits. `due_s` is the monotonic
    time until which it may wait for company.
    """

    __slots__ = ("due_s", "error", "latch", "result", "run", "waiting")

    def __init__(
        self, run: Callable[[sqlite3.Connection], object], *, awaited: bool = False, due_s: float = 0.0
    ) -> None:
        self.run = run
        self.due_s = due_s
        self.result: object = None
        self.error: BaseException | None = None
        # True while the queue owns it, False once the writer has taken it.
        self.waiting = False
        self.latch: threading.Lock | None = None
        if awaited:
            # A bare lock: an event would cost a condition and a list for every message.
            self.latch = threading.Lock()
            self.latch.acquire()  # released by settle, in the writer's thread

    def settle(self, error: BaseException | None = None) -> None:
        """Make the outcome known. Called once by whoever has taken the operation out of the queue."""
        if error is not None:
            self.error = error
        if self.latch is not None:
            self.latch.release()


class OperationQueue:
    """The queue between all threads and the writer. Holds at most `limit` operations that nobody waits for."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._guard = threading.Lock()
        self._work = threading.Condition(self._guard)
        self._room = threading.Condition(self._guard)
        self._waiting: deque[Operation] = deque()
        self._due_now = 0
        # Until when the writer sleeps if nobody wakes it.
        self._wakes_s = 0.0
        self._refusal: str | None = None
        self._closing = False

    def put(self, operation: Operation, *, timeout_s: float) -> None:
        """Add an operation at the end; blocks up to `timeout_s` for room when nobody waits for the operation.

        Raises StoreUnwritable after `close`, for an awaited operation while refusing, and when there is no room.
        """
        with self._guard:
            if operation.latch is None and len(self._waiting) >= self._limit:
                self._wait_for_room(timeout_s)
            if self._closing:
                raise StoreUnwritable("the store is closed")
            if self._refusal is not None and operation.latch is not None:
                raise StoreUnwritable(self._refusal)
            operation.waiting = True
            self._waiting.append(operation)
            if operation.due_s == 0.0:
                self._due_now += 1
                if self._due_now == 1:
                    self._work.notify()
            elif operation.due_s < self._wakes_s:
                self._work.notify()

    def withdraw(self, operation: Operation) -> bool:
        """Take an operation back; False when the writer has it already."""
        with self._guard:
            if not operation.waiting:
                return False
            self._waiting.remove(operation)
            self._forget(operation)
            return True

    def take(self, limit: int) -> list[Operation] | None:
        """Block until something is due and return up to `limit` operations in order; None when closed and empty."""
        with self._guard:
            # After work comes more, often some that may wait: a short sleep first, and that needs no waking.
            idle_s = LAZY_S
            while not self._due_now and not self._closing:
                now_s = time.monotonic()
                if self._waiting:
                    self._wakes_s = self._waiting[0].due_s
                    if self._wakes_s <= now_s:
                        break
                else:
                    self._wakes_s = now_s + idle_s
                    idle_s = _IDLE_S
                self._work.wait(self._wakes_s - now_s)
            return self._take(limit) if self._waiting else None

    def take_now(self, limit: int) -> list[Operation]:
        """Return up to `limit` operations that wait, without blocking."""
        with self._guard:
            return self._take(limit)

    def put_back(self, operations: Iterable[Operation]) -> None:
        """Return operations that were taken to the front, in the order in which they were taken."""
        with self._guard:
            for operation in reversed(list(operations)):
                operation.waiting = True
                self._waiting.appendleft(operation)
                if operation.due_s == 0.0:
                    self._due_now += 1

    def refuse(self, reason: str) -> None:
        """Turn away everybody who waits, now and until `accept`; what nobody waits for stays in the queue."""
        with self._guard:
            self._refusal = reason
            turned_away = [operation for operation in self._waiting if operation.latch is not None]
            for operation in turned_away:
                self._waiting.remove(operation)
                self._forget(operation)
        for operation in turned_away:
            operation.settle(StoreUnwritable(reason))

    def accept(self) -> None:
        """End `refuse`."""
        with self._guard:
            self._refusal = None

    @property
    def refusal(self) -> str | None:
        """Why operations are turned away, or None."""
        return self._refusal

    def pause(self, seconds: float) -> bool:
        """Block for `seconds`; returns False at once when the queue is being closed."""
        deadline = Deadline(seconds)
        with self._guard:
            while not self._closing and not deadline.expired:
                self._work.wait(deadline.remaining())
            return not self._closing

    def close(self) -> None:
        """Take no more operations and wake everybody. Idempotent."""
        with self._guard:
            self._closing = True
            self._work.notify_all()
            self._room.notify_all()

    def _wait_for_room(self, timeout_s: float) -> None:
        deadline = Deadline(timeout_s)
        while len(self._waiting) >= self._limit and not self._closing:
            # While the disk refuses there will be no room soon, and the caller must know.
            if self._refusal is not None or deadline.expired:
                raise StoreUnwritable(self._refusal or "the disk does not keep up")
            self._room.wait(deadline.remaining())

    def _take(self, limit: int) -> list[Operation]:
        taken: list[Operation] = []
        while self._waiting and len(taken) < limit:
            operation = self._waiting.popleft()
            self._forget(operation)
            taken.append(operation)
        if taken:
            self._room.notify(len(taken))
        return taken

    def _forget(self, operation: Operation) -> None:
        operation.waiting = False
        if operation.due_s == 0.0:
            self._due_now -= 1
