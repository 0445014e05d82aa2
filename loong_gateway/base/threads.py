"""The only maker of threads: named, registered before they start, their last words logged, joined with a deadline."""

from __future__ import annotations

import logging
import threading
from typing import Callable

from loong_channels.waiting import Deadline

__all__ = ["ThreadRegistry"]

logger = logging.getLogger("loong.threads")


class ThreadRegistry:
    """Owns every thread of one runtime. Thread-safe; `_guard` protects the list of the living."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []

    def spawn(self, name: str, body: Callable[[], None]) -> threading.Thread:
        """Run `body` in a new thread. An exception that leaves it is logged once.

        Raises RuntimeError when the system gives no more threads.
        """

        def run() -> None:
            try:
                body()
            except BaseException:
                logger.exception("thread %s died", name)
            finally:
                with self._guard:
                    self._threads.remove(threading.current_thread())

        # Daemon, so that a thread stuck in a system call cannot keep the process from leaving.
        thread = threading.Thread(target=run, name=name, daemon=True)
        with self._guard:
            self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            with self._guard:
                self._threads.remove(thread)
            raise
        return thread

    def alive(self) -> list[str]:
        """The names of the threads that still run."""
        with self._guard:
            return [thread.name for thread in self._threads]

    def join_all(self, deadline: Deadline) -> list[str]:
        """Wait for every thread but the caller's; returns the names of those that outlived the deadline."""
        with self._guard:
            threads = [t for t in self._threads if t is not threading.current_thread()]
        for thread in threads:
            thread.join(deadline.remaining())
        return [thread.name for thread in threads if thread.is_alive()]
