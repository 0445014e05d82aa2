"""When a gateway restarts: requests become one, none follows too soon, and none that a start would not survive."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.daemon.main_loop import MainLoop

__all__ = ["COOLDOWN_S", "RESTARTING", "Restarts"]

logger = logging.getLogger("loong.runtime")

# A fixed time between two restarts, so that whoever asks for one after each change does not keep the channels off.
COOLDOWN_S = 30.0
RESTARTING = "gateway restarting"


class Restarts:
    """Thread-safe; `_guard` keeps what was asked for.

    `rehearse` raises CommandError for what a new start would be refused for; it may read files and run programs.
    `began_s` is when this process came out of a restart, on the monotonic clock, None when it did not.
    """

    def __init__(
        self,
        loop: MainLoop,
        rehearse: Callable[[], object],
        program: str,
        clock: Clock,
        threads: ThreadRegistry,
        began_s: float | None,
    ) -> None:
        self._loop = loop
        self._rehearse = rehearse
        self._program = program
        self._clock = clock
        self._threads = threads
        self._not_before_s = 0.0 if began_s is None else began_s + COOLDOWN_S
        self._guard = threading.Lock()
        self._due_s: float | None = None
        self._begins = False

    def request(self, reason: str, delay_s: float) -> str:
        """See control.ControlPlane.request_restart."""
        if self._loop.stop_reason is None:
            self._check()
        with self._guard:
            if self._due_s is not None or self._loop.restarting:
                return "already_requested"
            if self._loop.stop_reason is not None:
                raise CommandError("restart.stopping")
            now_s = self._clock.monotonic_s()
            self._due_s = max(now_s + delay_s, self._not_before_s)
            is_due = self._due_s <= now_s
        logger.info("a restart was asked for: %s", reason)
        if is_due:
            self._loop.ask_to_restart(RESTARTING)
        return "requested"

    def due_in_s(self) -> float | None:
        """Seconds until the restart that was asked for begins, 0 once it is due; None when none was asked for."""
        with self._guard:
            return None if self._due_s is None else max(0.0, self._due_s - self._clock.monotonic_s())

    def look(self) -> None:
        """Begin the restart that waited for its time. Never blocks."""
        with self._guard:
            is_due = self._due_s is not None and self._due_s <= self._clock.monotonic_s()
            if not is_due or self._begins or self._loop.stop_reason:
                return
            # Looked at once; what becomes of it is decided beside the main thread.
            self._begins = True
        self._threads.spawn("restart-check", self._begin)

    def _begin(self) -> None:
        try:
            self._check()
        except CommandError as error:
            logger.warning("the restart was given up: %s", error.message)
            with self._guard:
                self._due_s, self._begins = None, False
            return
        self._loop.ask_to_restart(RESTARTING)

    def _check(self) -> None:
        """Raise CommandError `restart.refused` when a start would not succeed now. Blocks as `rehearse`."""
        try:
            self._rehearse()
        except CommandError as error:
            refused = CommandError(
                "restart.refused", detail=error.message, where=error.where or "-", fix=error.fix or "-"
            )
            refused.where = error.where
            refused.fix = error.fix or refused.fix
            refused.details = error.details
            raise refused from error
        if not os.access(self._program, os.X_OK):
            raise CommandError("restart.no_program", path=self._program or "python")
