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
from loong_gateway.messaging.slot_state import WELL

__all__ = ["ChannelLife", "phase_of"]


class ChannelLife:
    """All methods may be called from any thread; `_guard` protects the thread, its token and what is wanted of it.

    `serve` runs an opened channel until it fails or the token is set; it raises faults. `report` takes changes of the
    account's state, as SlotRecord.set does, and returns at once.
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
        self._thread: threading.Thread | None = None
        # Of the connection of this moment; what ends the account for good, or for a while, is said beside it.
        self._stop = StopToken()
        self._is_over = False
        self._is_off = False
        # What a send met that ends the connection of this moment.
        self._refusal: Fault | None = None
        self._wake = threading.Event()
        # Used by the account's thread only.
        self._backoff = Backoff(reconnect_s)
        self._worked_since_s: float | None = None
        self._restarts = 0

    @property
    def is_ending(self) -> bool:
        """True once the connection of this moment was asked to end."""
        return self._stop.is_set()

    @property
    def is_off(self) -> bool:
        """True while an operator keeps the account off."""
        return self._is_off

    def start(self) -> None:
        """Start the thread, or start it again after it died; does nothing while it lives or is not wanted."""
        with self._guard:
            thread = self._thread
            if self._is_over or self._is_off or (thread is not None and thread.is_alive()):
                return
            try:
                self._thread = self._threads.spawn(self._name, self._run)
            except RuntimeError as error:
                self._logger.warning("no thread for the channel, trying again soon: %s", error)
                return
        if thread is not None:
            self._logger.error("the thread of the channel had died and was started again")
            self._report(failed=Unreachable("its thread died and was started again", maybe_processed=True))

    def worked(self) -> None:
        """The platform acknowledged us; called by the account's thread."""
        if self._worked_since_s is None:
            self._worked_since_s = self._clock.monotonic_s()

    def end_by(self, fault: Fault) -> None:
        """End the connection by a fault that a send met, as if it had ended by itself. Returns at once."""
        with self._guard:
            self._refusal, stop = fault, self._stop
        stop.set("a send was refused")

    def try_now(self) -> None:
        """End the wait for the next try, after a reload or because an operator asks."""
        self._wake.set()

    def restart(self) -> None:
        """End the connection and make another one at once, also where the account was off. Returns at once."""
        self._ask(off=False)
        self.start()

    def switch_off(self) -> None:
        """Keep the account off until `restart`: its channel is closed. Returns at once."""
        self._ask(off=True)

    def stop(self) -> None:
        """Ask the channel to take nothing more, for good. Returns at once."""
        self._ask(over=True)

    def join(self, deadline: Deadline) -> bool:
        """Wait for the thread; True when it has ended."""
        with self._guard:
            thread = self._thread
        if thread is None:
            return True
        thread.join(deadline.remaining())
        return not thread.is_alive()

    def _ask(self, *, off: bool | None = None, over: bool = False) -> None:
        with self._guard:
            self._is_over = self._is_over or over
            self._is_off = self._is_off if off is None else off
            stop = self._stop
        stop.set("stopping" if over else "an operator asked")
        self._wake.set()

    def _run(self) -> None:
        while True:
            stop = self._next()
            if stop is not None:
                self._live(stop)
                continue
            if self._is_over:
                self._report(phase="stopped")
            else:
                self._holder.retire()
                self._report(phase="stopped", **WELL)
            if self._leave():
                return

    def _next(self) -> StopToken | None:
        """The token of the next connection, None when there is to be none."""
        with self._guard:
            if self._is_over or self._is_off:
                return None
            self._stop = StopToken()
            self._refusal = None
            self._wake.clear()
            return self._stop

    def _leave(self) -> bool:
        """End the thread unless it is wanted again meanwhile."""
        with self._guard:
            if not self._is_over and not self._is_off:
                return False
            self._thread = None
            return True

    def _live(self, stop: StopToken) -> None:
        """One connection, and the wait after it."""
        self._worked_since_s = None
        fault, more = self._serve_once(stop)
        if stop.is_set() and self._refusal is None:
            return
        wait_s = self._backoff.next_s(fault, worked_s=self._worked_s())
        self._restarts += 1
        phase, trouble = phase_of(fault)
        # Only somebody who asks for it ends such a wait.
        forever = math.isinf(wait_s)
        self._report(
            phase=phase,
            failed=fault,
            restarts=self._restarts,
            **{
                **WELL,
                "trouble": trouble,
                "last_error": str(fault),
                "next_try_ms": None if forever else self._clock.wall_ms() + int(wait_s * 1000),
                **more,
            },
        )
        self._logger.warning("%s: %s; next try in %.1f s", trouble, fault, wait_s)
        self._wake.wait(None if forever else wait_s)

    def _worked_s(self) -> float | None:
        since_s = self._worked_since_s
        return None if since_s is None else self._clock.monotonic_s() - since_s

    def _serve_once(self, stop: StopToken) -> tuple[Fault, dict[str, object]]:
        """What ended the connection, and what else is to be reported of it."""
        try:
            self._serve_until(stop)
        except CannotServe as fault:
            return fault, {"started": True, "where": fault.where, "fix": fault.fix}
        except BadCredentials as fault:
            where, fix = self._holder.doubt()
            return fault, {"where": where, "fix": fix}
        except Fault as fault:
            return fault, {}
        except Exception as error:
            # A bug in a channel costs its account a reconnection, not its thread.
            self._logger.exception("the channel failed unexpectedly")
            return Unreachable(f"internal error: {type(error).__name__}", maybe_processed=True), {}
        return Interrupted("the connection ended"), {}

    def _serve_until(self, stop: StopToken) -> None:
        try:
            self._serve(self._holder.open(), stop)
        finally:
            if self._refusal is not None:
                raise self._refusal


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
