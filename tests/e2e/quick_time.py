"""Runs loong in a time that passes faster than ours, or that jumps when it is told to.

    python -m tests.e2e.quick_time SPEED AHEAD_S JUMP_S ARGUMENT ...

Every wait of the process is SPEED times shorter than it believes, and its monotonic clock runs as much faster; the
clock on the wall stays ours, but for being AHEAD_S ahead. At SIGUSR1 all clocks jump by JUMP_S, as after a long time
in which nothing happened. What a processor needs takes as long as ever, so a high speed looks like a slow host.

Only the standard library is changed, before anything of loong is imported: loong itself runs as it is.
"""

from __future__ import annotations

import queue
import select
import signal
import socket
import sys
import threading
import time
from typing import Any


class Poller:
    """A poll object whose time-outs are shorter. `speed` is set before the first is made."""

    speed = 1.0

    def __init__(self) -> None:
        self._real = _REAL_POLL()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def poll(self, timeout_ms: float | None = None) -> list[tuple[int, int]]:
        """See select.poll."""
        if timeout_ms is None or timeout_ms < 0:
            return self._real.poll(timeout_ms)
        return self._real.poll(timeout_ms / self.speed)


_REAL_POLL = select.poll


def quicken(speed: float, ahead_s: float, jump_s: float) -> None:
    """Change the time of this process."""
    begin_s = time.monotonic()
    ahead = [ahead_s]
    real_monotonic, real_time, real_time_ns = time.monotonic, time.time, time.time_ns
    real_clock_ns = time.clock_gettime_ns
    real_wait, real_settimeout = threading.Condition.wait, socket.socket.settimeout

    def jump(_number: int, _frame: object) -> None:
        ahead[0] += jump_s

    def monotonic() -> float:
        return begin_s + (real_monotonic() - begin_s) * speed + ahead[0]

    def wait(self: threading.Condition, timeout: float | None = None) -> bool:
        return real_wait(self, None if timeout is None else timeout / speed)

    def settimeout(self: socket.socket, value: float | None) -> None:
        real_settimeout(self, value / speed if value else value)

    signal.signal(signal.SIGUSR1, jump)
    changes: list[tuple[Any, str, object]] = [
        (time, "monotonic", monotonic),
        (time, "time", lambda: real_time() + ahead[0]),
        (time, "time_ns", lambda: real_time_ns() + int(ahead[0] * 1e9)),
        (time, "clock_gettime_ns", lambda clock: real_clock_ns(clock) + int(ahead[0] * 1e9)),
        # These two took the clock's name over when they were imported.
        (threading, "_time", monotonic),
        (queue, "time", monotonic),
        (threading.Condition, "wait", wait),
        (socket.socket, "settimeout", settimeout),
        (select, "poll", Poller),
    ]
    Poller.speed = speed
    for owner, name, value in changes:
        assert hasattr(owner, name), name
        setattr(owner, name, value)


def main() -> int:
    """Change the time, then be loong."""
    quicken(*map(float, sys.argv[1:4]))
    del sys.argv[1:4]
    import loong  # it must find the time as it is now

    return loong.main()


if __name__ == "__main__":
    sys.exit(main())
