"""Waiting for what no event announces: looking again and again, with a deadline."""

from __future__ import annotations

import threading
import time
from typing import Callable, TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], timeout: float = 15.0, what: str = "condition", *, pause_s: float = 0.01
) -> T:
    """Look until `condition()` is true; its value. Fails after the timeout."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} not within {timeout} s"
        pause.wait(pause_s)
