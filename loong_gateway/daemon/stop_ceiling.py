"""Sees to it that a stop ends, whatever is stuck: after its ceiling the process ends by force."""

from __future__ import annotations

import faulthandler
import logging
import os
import threading

from loong_gateway.base.threads import ThreadRegistry

__all__ = ["FORCED_EXIT", "StopCeiling"]

logger = logging.getLogger("loong.runtime")

FORCED_EXIT = 70
LONG_WAIT_S = 3600.0
DUMP_S = 2.0


class StopCeiling:
    """A thread that is made at the start, because at the end of a bad day the system may give no more.

    `directory` takes the stacks of all threads when it comes to that. Thread-safe.
    """

    def __init__(self, threads: ThreadRegistry, directory: str) -> None:
        self._threads = threads
        self._directory = directory
        self._ceiling_s = 0.0
        self._began = threading.Event()
        self._over = threading.Event()

    def start(self) -> None:
        """Make the thread. Raises RuntimeError when the system gives none."""
        self._threads.spawn("stop-ceiling", self._watch)

    def begin(self, ceiling_s: float) -> None:
        """The stop begins; unless it is `over` in time the process ends with code 70."""
        self._ceiling_s = ceiling_s
        self._began.set()

    def over(self) -> None:
        """The stop is over, or there will be none; ends the thread."""
        self._over.set()
        self._began.set()

    def _watch(self) -> None:
        while not self._began.wait(LONG_WAIT_S):
            pass
        if self._over.wait(self._ceiling_s):
            return
        names = ", ".join(self._threads.alive())
        logger.error("the stop did not end within %.0f s; still running: %s", self._ceiling_s, names)
        try:
            # In a thread of its own: the disk may be what is stuck.
            self._threads.spawn("stack-dump", self._dump_stacks).join(DUMP_S)
        finally:
            os._exit(FORCED_EXIT)

    def _dump_stacks(self) -> None:
        path = os.path.join(self._directory, f"forced-end-{os.getpid()}.txt")
        with open(path, "w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file)
