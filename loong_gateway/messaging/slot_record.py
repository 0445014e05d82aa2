"""The state of one surface while it changes: written by its thread and by whoever sends, read by all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from loong_channels.faults import Conflict, Fault
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.messaging.failing_sends import FailingSends
from loong_gateway.messaging.slot_state import SENDABLE, WELL, SlotState

__all__ = ["SlotRecord"]


class SlotRecord:
    """Thread-safe; `_guard` protects everything. `changed` is told of every change and returns at once."""

    def __init__(self, channel: str, account: str, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._guard = threading.Lock()
        self._turned = threading.Condition(self._guard)
        self._state = SlotState(channel, account, clock.wall_ms())
        # When something last happened: part of the state, but new with every message.
        self._stamps: dict[str, int] = {}
        self._sendable = False
        self._sends = FailingSends()
        self._is_stopping = False
        self._turns = 0

    @property
    def phase(self) -> str:
        """The phase of this moment."""
        return self._state.phase

    @property
    def trouble(self) -> str:
        """The trouble of this moment."""
        return self._state.trouble

    @property
    def sendable(self) -> bool:
        """True while the platform takes messages from us."""
        with self._guard:
            return self._sendable

    @property
    def turns(self) -> int:
        """How often the surface became ready, or a try failed: grows when a question about it has an answer."""
        return self._turns

    def state(self) -> SlotState:
        """The state of this moment."""
        with self._guard:
            return replace(self._state, **self._stamps)  # type: ignore[arg-type]

    def stamp(self, name: str) -> None:
        """Something happened now; nobody is told."""
        with self._guard:
            self._stamps[name] = self._clock.wall_ms()

    def set(self, *, phase: str | None = None, failed: Fault | None = None, **changes: object) -> None:
        """Change the state, by the names of SlotState. `failed` is what just went wrong; it becomes an incident."""
        with self._guard:
            now_ms = self._clock.wall_ms()
            if failed is not None:
                is_conflict = isinstance(failed, Conflict)
                changes["history"] = self._state.history.failed(str(failed), now_ms, conflict=is_conflict)
                self._turn()
            self._move(phase, changes, now_ms)
        self._changed()

    def ready(self, identity: str) -> bool:
        """The platform has acknowledged us; False when that was known."""
        with self._guard:
            # A connection that lives says nothing about sends that fail.
            is_known = self._state.phase in ("ready", "stopping") or self._state.trouble == "sends_failing"
            if self._sendable and is_known:
                return False
            now_ms = self._clock.wall_ms()
            history = self._state.history.recovered(f"ready as {identity}", now_ms)
            self._move("ready", {**WELL, "identity": identity, "history": history}, now_ms)
            self._turn()
        self._changed()
        return True

    def sent(self) -> bool:
        """A send succeeded; True when they had been shown as failing."""
        with self._guard:
            self._stamps["last_outbound_ms"] = self._clock.wall_ms()
            self._sends.sent(self._clock.monotonic_s())
            if self._state.trouble != "sends_failing":
                return False
            phase = "ready" if self._state.phase == "degraded" else None
            self._move(phase, {"trouble": "", "last_error": None}, self._clock.wall_ms())
        self._changed()
        return True

    def send_failed(self, fault: Fault, began_s: float) -> bool:
        """A send that began at a monotonic moment failed; True when they are shown as failing from now on.

        A surface that something else ails goes on saying that.
        """
        with self._guard:
            is_long = self._sends.failed(began_s, self._clock.monotonic_s())
            is_shown = self._state.trouble == "sends_failing"
            if not is_shown and (not is_long or self._state.trouble or self._state.phase != "ready"):
                return False
            phase = None if is_shown else "degraded"
            changes: dict[str, object] = {"trouble": "sends_failing", "last_error": str(fault)}
            self._move(phase, changes, self._clock.wall_ms())
        self._changed()
        return not is_shown

    def stopping(self) -> None:
        """The gateway stops: what happens from now on is shown as that, and what can be sent may still leave."""
        with self._guard:
            self._is_stopping = True
            phase = None if self._state.phase == "stopped" else "stopping"
            self._move(phase, {"next_try_ms": None}, self._clock.wall_ms())
        self._changed()

    def wait_turn(self, turns: int, deadline: Deadline) -> bool:
        """Block until `turns` has grown beyond the given number; False when the deadline came first."""
        with self._guard:
            while self._turns <= turns and not deadline.expired:
                self._turned.wait(deadline.remaining())
            return self._turns > turns

    # Called with `_guard` held.

    def _move(self, phase: str | None, changes: dict[str, object], now_ms: int) -> None:
        if phase not in (None, "stopping", "stopped"):
            self._sendable = phase in SENDABLE
        if self._is_stopping and phase not in (None, "stopped"):
            phase = "stopping"
        if phase is not None and phase != self._state.phase:
            changes.update(phase=phase, since_ms=now_ms)
        self._state = replace(self._state, **changes)  # type: ignore[arg-type]
        if self._state.stopped_by is not None:
            self._sendable = False

    def _turn(self) -> None:
        self._turns += 1
        self._turned.notify_all()
