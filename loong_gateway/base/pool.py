"""A few threads for work that waits: started when it comes, ended when there is none, bounded in every way."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Callable

from loong_channels.waiting import Deadline

from .threads import ThreadRegistry

__all__ = ["Pool"]

logger = logging.getLogger("loong.pool")

REST_S = 10.0


class Pool:
    """Runs tasks in threads `NAME-N`. Thread-safe; `_changed` protects the queue and the counts.

    At most `threads` run and `waiting` wait; `weight` bounds what all of them weigh together, in the callers' unit. A
    thread that had nothing to do for ten seconds ends. A task that raises is logged and ends nothing else.
    """

    def __init__(
        self, name: str, registry: ThreadRegistry, *, threads: int, waiting: int, weight: int
    ) -> None:
        self._name = name
        self._registry = registry
        self._most_threads = threads
        self._most_waiting = waiting
        self._weight_left = weight
        self._changed = threading.Condition()
        self._tasks: deque[tuple[Callable[[], None], int]] = deque()
        self._idle = 0
        self._numbers: set[int] = set()
        self._closed = False

    def submit(self, task: Callable[[], None], *, weight: int = 0) -> bool:
        """Have a task run soon; False when there is no room for it. Never blocks."""
        with self._changed:
            if self._closed or len(self._tasks) >= self._most_waiting or weight > self._weight_left:
                return False
            number = self._free_number() if self._idle <= len(self._tasks) else None
            self._weight_left -= weight
            self._tasks.append((task, weight))
            if number is None:
                self._changed.notify()
                return True
            self._numbers.add(number)
        try:
            self._registry.spawn(f"{self._name}-{number}", lambda: self._work(number))
        except RuntimeError:
            logger.warning("no thread for %s: the system gives no more", self._name)
            return self._without(number, task, weight)
        return True

    def close(self, deadline: Deadline) -> bool:
        """Take nothing more and wait for what was taken. Blocks; False when some still runs then."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._numbers, deadline.remaining())

    def _free_number(self) -> int | None:
        return next((n for n in range(1, self._most_threads + 1) if n not in self._numbers), None)

    def _without(self, number: int, task: Callable[[], None], weight: int) -> bool:
        """Go on without the thread that could not be had; False when nobody is left who would run the task."""
        with self._changed:
            self._numbers.discard(number)
            if not self._numbers and (task, weight) in self._tasks:
                self._tasks.remove((task, weight))
                self._weight_left += weight
                return False
            self._changed.notify()
            return True

    def _work(self, number: int) -> None:
        try:
            while (taken := self._next()) is not None:
                task, weight = taken
                try:
                    task()
                except Exception:
                    # The next task is somebody else's.
                    logger.exception("a task of %s failed", self._name)
                with self._changed:
                    self._weight_left += weight
                # What a resting thread still names would live as long as it rests.
                del task, taken
        finally:
            with self._changed:
                self._numbers.discard(number)
                self._changed.notify_all()

    def _next(self) -> tuple[Callable[[], None], int] | None:
        rest = Deadline(REST_S)
        with self._changed:
            self._idle += 1
            try:
                while not self._tasks:
                    if self._closed or rest.expired:
                        return None
                    self._changed.wait(rest.remaining())
                return self._tasks.popleft()
            finally:
                self._idle -= 1
