"""The thread of one account: it opens the channel, runs it, and tries again after whatever went wrong."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from loong_channels.contract import Channel
from loong_channels.faults import BadCredentials, Conflict, Fault, Interrupted, Throttled, Unreachable
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.snapshot import AccountConfig
from loong_gateway.messaging.backoff import Backoff
from loong_gateway.messaging.channel_holder import CannotServe, ChannelHolder

__all__ = ["ChannelLife", "phase_of"]


class ChannelLife:
    """All methods may be called from any thread; `_guard` protects the thread and the backoff.

    `serve` runs an opened channel until it fails or the token is set; it raises faults. `report` takes changes of the
    account's state, by the names of SlotState, and returns at once.
    """

    def __init__(
        self,
        account: AccountConfig,
        holder: ChannelHolder,
        *,
        serve: Callable[[Channel, StopToken], None],
        report: Callable[..., None],
        reconnect_s: float,
        threads: ThreadRegistry,
        clock: Clock,
    ) -> None:
        self._name = f"chan:{account.channel}:{account.id}"
        self._holder = holder
        self._serve = serve
        self._report = report
        self._threads = threads
        self._clock = clock
        self._logger = logging.getLogger(f"loong.channel.{account.channel}.{account.id}")
        self._guard = threading.Lock()
        self._backoff = Backoff(reconnect_s)
        self._thread: threading.Thread | None = None
        self._stop = StopToken()
        self._wake = threading.Event()
        self._restarts = 0

    @property
    def is_stopping(self) -> bool:
        """True once `stop` was called."""
        return self._stop.is_set()

    def start(self) -> None:
        """Start the thread, or start it again after it died; does nothing while it lives or after `stop`."""
        with self._guard:
            if self._stop.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            try:
                self._thread = self._threads.spawn(self._name, self._run)
            except RuntimeError as error:
                self._logger.warning("no thread for the channel, trying again soon: %s", error)

    def worked(self) -> None:
        """The platform acknowledged us: the next failure is a first one."""
        with self._guard:
            self._backoff.worked()

    def try_now(self) -> None:
        """End the wait for the next try, after a reload or because an operator asks."""
        self._wake.set()

    def stop(self) -> None:
        """Ask the channel to take nothing more, for good. Returns at once."""
        self._stop.set("stopping")
        self._wake.set()

    def join(self, deadline: Deadline) -> bool:
        """Wait for the thread; True when it has ended."""
        with self._guard:
            thread = self._thread
        if thread is None:
            return True
        thread.join(deadline.remaining())
        return not thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            fault = self._serve_once()
            if self._stop.is_set():
                break
            with self._guard:
                wait_s = self._backoff.next_s(fault)
            self._restarts += 1
            phase, trouble = phase_of(fault)
            # Only somebody who asks for it ends such a wait.
            forever = math.isinf(wait_s)
            self._report(
                phase=phase,
                trouble=trouble,
                last_error=str(fault),
                next_try_ms=None if forever else self._clock.wall_ms() + int(wait_s * 1000),
                restarts=self._restarts,
            )
            self._logger.warning("%s: %s; next try in %.1f s", trouble, fault, wait_s)
            self._wake.wait(None if forever else wait_s)
            self._wake.clear()
        self._report(phase="stopped")

    def _serve_once(self) -> Fault:
        try:
            self._serve(self._holder.open(), self._stop)
        except CannotServe as fault:
            self._report(started=True, where=fault.where, fix=fault.fix)
            return fault
        except BadCredentials as fault:
            where, fix = self._holder.doubt()
            self._report(where=where, fix=fix)
            return fault
        except Fault as fault:
            return fault
        except Exception as error:
            # A bug in a channel costs its account a reconnection, not its thread.
            self._logger.exception("the channel failed unexpectedly")
            return Unreachable(f"internal error: {type(error).__name__}", maybe_processed=True)
        return Interrupted("the connection ended")


def phase_of(fault: Fault) -> tuple[str, str]:
    """The phase and the trouble of an account after a fault, by the words of SlotState."""
    if isinstance(fault, CannotServe):
        return "auth_failed" if fault.trouble == "secret_missing" else "degraded", fault.trouble
    if isinstance(fault, BadCredentials):
        return "auth_failed", "auth_failed"
    if isinstance(fault, Conflict):
        return "conflict", "conflict"
    if isinstance(fault, Throttled):
        return "backoff", "throttled"
    return "backoff", "unreachable"
