"""Shows "typing" in conversations whose answer takes longer than a second. One thread per account, on demand."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from loong_channels.contract import Address, Channel
from loong_channels.faults import Fault
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry

__all__ = ["TypingNotices"]

logger = logging.getLogger("loong.typing")

FIRST_AFTER_S = 1.0
AGAIN_AFTER_S = 4.0
SHOW_LIMIT_S = 5.0
MAX_FAILURES = 2


class _Wait:
    """One answer being written."""

    def __init__(self, address: Address, due_s: float) -> None:
        self.address = address
        self.due_s = due_s
        self.failures = 0


class TypingNotices:
    """Thread-safe; `_guard` protects the set of answers being written and is not held during a request."""

    def __init__(
        self,
        channel: Channel,
        name: str,
        threads: ThreadRegistry,
        clock: Clock,
        *,
        first_after_s: float = FIRST_AFTER_S,
        again_after_s: float = AGAIN_AFTER_S,
    ) -> None:
        self._first_after_s = first_after_s
        self._again_after_s = again_after_s
        self._channel = channel
        self._name = name
        self._threads = threads
        self._clock = clock
        self._guard = threading.Condition()
        self._waits: set[_Wait] = set()
        # Until when the thread sleeps, and whether an answer was begun since it looked: most end before they are due,
        # and none of those is worth waking it.
        self._wakes_s = 0.0
        self._begun = False
        self._running = False
        self._stopped = False

    @contextlib.contextmanager
    def during(self, address: Address) -> Iterator[None]:
        """Show typing while the block runs, if it takes long enough. Never raises, never blocks."""
        wait = _Wait(address, self._clock.monotonic_s() + self._first_after_s)
        with self._guard:
            self._waits.add(wait)
            self._begun = True
            if wait.due_s < self._wakes_s:
                self._guard.notify_all()
            start = not self._running and not self._stopped
            self._running = self._running or start
        if start:
            try:
                self._threads.spawn(f"typing:{self._name}", self._show_all)
            except RuntimeError:
                # No thread to be had: the answer itself matters more.
                with self._guard:
                    self._running = False
        try:
            yield
        finally:
            with self._guard:
                self._waits.discard(wait)

    def stop(self) -> None:
        """End the thread; later answers show nothing."""
        with self._guard:
            self._stopped = True
            self._guard.notify_all()

    def _show_all(self) -> None:
        try:
            while True:
                wait = self._next_due()
                if wait is None:
                    return
                self._show(wait)
        except BaseException:
            # Whatever it was, the next long answer starts another thread.
            with self._guard:
                self._running = False
            raise

    def _show(self, wait: _Wait) -> None:
        try:
            self._channel.show_typing(wait.address, deadline=Deadline(SHOW_LIMIT_S))
            wait.failures = 0
        except Fault as fault:
            wait.failures += 1
            logger.debug("typing was not shown in %s: %s", wait.address.lane, fault)
        except Exception:
            # A bug of a channel in one conversation must not cost the others their notices.
            wait.failures += 1
            logger.exception("typing could not be shown in %s", wait.address.lane)

    def _next_due(self) -> _Wait | None:
        """Wait for an answer that is due; None after a while without any. Reschedules what it returns."""
        with self._guard:
            while not self._stopped:
                now_s = self._clock.monotonic_s()
                live = [wait for wait in self._waits if wait.failures < MAX_FAILURES]
                first = min(live, key=lambda wait: wait.due_s, default=None)
                if first is None:
                    if not self._begun:
                        break
                    self._begun = False
                    # An answer that begins meanwhile is not due before the end of this.
                    self._wakes_s = now_s + self._first_after_s
                elif first.due_s <= now_s:
                    first.due_s = now_s + self._again_after_s
                    return first
                else:
                    self._wakes_s = first.due_s
                self._guard.wait(self._wakes_s - now_s)
            self._running = False
            return None
