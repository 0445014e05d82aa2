"""The control loop of an owner: signals, stop requests, timers. Runs on the main thread; any thread may wake it."""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from loong_gateway.base.clock import Clock

__all__ = ["MainLoop", "Timer"]

# Begins an arrival that asks for a restart; reasons are sentences of ours.
RESTART = "restart: "

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
        self._restarting = False

    def install_signal_handlers(self) -> None:
        """Turn TERM, INT and HUP into stop requests; a HUP that nohup ignores stays ignored. Main thread only."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        # What came while this process was executed anew waited for this.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def hold_signals(self) -> None:
        """Keep signals waiting from now on, over an execution too. Main thread only."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def release_signals(self) -> None:
        """The opposite of `hold_signals`."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  the signature is the system's
        self._arrivals.put(SIGNALS[signal.Signals(number)])

    def ask_to_stop(self, reason: str) -> None:
        """Ask for a stop from any thread."""
        self._arrivals.put(reason)

    def ask_to_restart(self, reason: str) -> None:
        """Ask from any thread for a stop after which this process goes on as a new one. A plain stop goes before it."""
        self._arrivals.put(RESTART + reason)

    def wake(self) -> None:
        """Make the loop look at its timers now."""
        self._arrivals.put("")

    @property
    def stop_reason(self) -> str | None:
        """The first reason that was given for a stop, None as long as nobody asked."""
        return self._asked

    @property
    def restarting(self) -> bool:
        """True while the stop that was asked for is the first half of a restart."""
        return self._restarting

    @property
    def times_asked(self) -> int:
        """How often a plain stop was asked for; a second time means: now."""
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
        self._take(arrival)

    def gather(self) -> None:
        """Take what has arrived, without waiting and without running any timer."""
        while True:
            try:
                self._take(self._arrivals.get_nowait())
            except queue.Empty:
                return

    def _take(self, arrival: str) -> None:
        if arrival.startswith(RESTART):
            if self._asked is None:
                self._asked, self._restarting = arrival[len(RESTART) :], True
        elif arrival:
            if self._asked is None or self._restarting:
                self._asked, self._restarting = arrival, False
            self._times_asked += 1
