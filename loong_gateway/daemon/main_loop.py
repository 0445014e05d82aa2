"""The control loop of an owner: signals, stop requests, timers. Runs on the main thread; any thread may wake it."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from loong_gateway.base.clock import Clock

__all__ = ["MainLoop", "Timer"]

SIGNALS = {
    signal.SIGTERM: "sigterm received",
    signal.SIGINT: "ctrl-c received",
    signal.SIGHUP: "sighup received",
}


@dataclass
class Timer:
    """Calls `action` every `every_s`; after a long pause it is called once, not as often as was missed."""

    every_s: float
    action: Callable[[], None]
    due_s: float = 0.0


class MainLoop:
    """Waits for what comes next. Thread-safe except `step`, which belongs to the main thread."""

    def __init__(self, timers: list[Timer], clock: Clock) -> None:
        self._timers = timers
        self._clock = clock
        # A SimpleQueue is the one thing that a signal handler may safely use.
        self._arrivals: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._asked: str | None = None
        self._times_asked = 0

    def install_signal_handlers(self) -> None:
        """Turn TERM, INT and HUP into stop requests; a HUP that nohup ignores stays ignored. Main thread only."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is the system's
        self._arrivals.put(SIGNALS[signal.Signals(number)])

    def ask_to_stop(self, reason: str) -> None:
        """Ask for a stop from any thread."""
        self._arrivals.put(reason)

    def wake(self) -> None:
        """Make the loop look at its timers now."""
        self._arrivals.put("")

    @property
    def stop_reason(self) -> str | None:
        """The first reason that was given for a stop, None as long as nobody asked."""
        return self._asked

    @property
    def times_asked(self) -> int:
        """How often a stop was asked for; a second time means: now."""
        return self._times_asked

    def step(self, longest_s: float) -> None:
        """Run what is due, then wait for the next event, the next timer or `longest_s`, whichever comes first."""
        now_s = self._clock.monotonic_s()
        for timer in self._timers:
            if timer.due_s <= now_s:
                timer.due_s = now_s + timer.every_s
                timer.action()
        now_s = self._clock.monotonic_s()
        wait_s = min([longest_s, *(timer.due_s - now_s for timer in self._timers)])
        try:
            arrival = self._arrivals.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            # A timer is due.
            return
        if arrival:
            self._asked = self._asked or arrival
            self._times_asked += 1
