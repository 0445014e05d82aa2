"""Things to do after a time, by one thread that is there only while something is due."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import Callable

from loong_channels.waiting import Deadline

from .threads import ThreadRegistry

__all__ = ["Timers"]

logger = logging.getLogger("loong.timers")


class _Entry:
    """Something that is due at a moment; `action` is None once it was taken back."""

    __slots__ = ("action", "at", "number")

    def __init__(self, at: float, number: int, action: Callable[[], None]) -> None:
        self.at = at
        self.number = number
        self.action: Callable[[], None] | None = action

    def __lt__(self, other: _Entry) -> bool:
        return (self.at, self.number) < (other.at, other.number)


class Timers:
    """Thread-safe; `_changed` protects the heap. Actions run one after the other in thread `NAME`, without a lock.

    They must be quick and must not block; one that raises is logged.
    """

    def __init__(
        self, name: str, registry: ThreadRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._registry = registry
        self._clock = clock
        self._changed = threading.Condition()
        self._heap: list[_Entry] = []
        self._cancelled = 0
        self._numbers = itertools.count()
        self._runs = False
        self._closed = False

    def later(self, after_s: float, action: Callable[[], None]) -> Callable[[], None]:
        """Do `action` after a time; the returned function takes it back if it is not too late, and may be repeated.

        Does nothing once the timers are closed. Raises RuntimeError when the system gives no thread.
        """
        entry = _Entry(self._clock() + after_s, next(self._numbers), action)
        with self._changed:
            if self._closed:
                return lambda: None
            heapq.heappush(self._heap, entry)
            start = not self._runs
            self._runs = True
            if self._heap[0] is entry:
                self._changed.notify_all()
        if start:
            self._start()
        return lambda: self._cancel(entry)

    def every(self, period_s: float, action: Callable[[], None]) -> Callable[[], None]:
        """Do `action` again and again, the first time after `period_s`, until the returned function is called.

        Where the system gives no thread for it, the next `later` or `every` makes up for that.
        """
        repeat = _Repeat(self, period_s, action)
        repeat.arm()
        return repeat.end

    def close(self, deadline: Deadline) -> bool:
        """Forget everything that is due. Blocks for an action that runs; False when it still runs then."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._runs, deadline.remaining())

    def _start(self) -> None:
        try:
            self._registry.spawn(self._name, self._run)
        except RuntimeError:
            with self._changed:
                self._runs = False
            raise

    def _cancel(self, entry: _Entry) -> None:
        with self._changed:
            if entry.action is None:
                return
            entry.action = None
            self._cancelled += 1
            if self._cancelled > len(self._heap) // 2:
                # What was taken back is forgotten before it outnumbers what is due.
                self._heap = [one for one in self._heap if one.action is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0
                self._changed.notify_all()

    def _run(self) -> None:
        while (action := self._next()) is not None:
            try:
                action()
            except Exception:
                # The next one is somebody else's.
                logger.exception("something that was due failed")

    def _next(self) -> Callable[[], None] | None:
        """Wait for what is due; None when nothing is any more, with which the thread has ended."""
        with self._changed:
            while self._heap:
                wait_s = self._heap[0].at - self._clock()
                if wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                entry = heapq.heappop(self._heap)
                action, entry.action = entry.action, None
                if action is not None:
                    return action
                self._cancelled = max(0, self._cancelled - 1)
            self._runs = False
            self._changed.notify_all()
            return None


class _Repeat:
    """Something that is done again and again; a bug in it or a late end costs one time more at most."""

    def __init__(self, timers: Timers, period_s: float, action: Callable[[], None]) -> None:
        self._timers = timers
        self._period_s = period_s
        self._action = action
        self._over = False
        self._take_back: Callable[[], None] = _nothing

    def arm(self) -> None:
        try:
            self._take_back = self._timers.later(self._period_s, self._due)
        except RuntimeError:
            # It stands in the heap all the same.
            logger.warning("no thread for what is due: the system gives no more")

    def end(self) -> None:
        self._over = True
        self._take_back()

    def _due(self) -> None:
        if not self._over:
            self.arm()
            self._action()


def _nothing() -> None:
    """There is nothing to take back yet."""
