"""A call that blocks in a thread of its own until a test wakes it."""

from __future__ import annotations

import threading
from typing import Callable

from tests.waiting import wait_until

PATIENCE_S = 5.0


def raised_when_woken(
    call: Callable[[], object], *, blocked: Callable[[], object], wake: Callable[[], None]
) -> BaseException | None:
    """Start the call, wake it once `blocked()` is true, and wait for its end; what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            raised.append(error)

    # A daemon, so that a call that cannot be woken does not hold up the end of the tests.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until(blocked, PATIENCE_S, "the blocked call")
    wake()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the call goes on although it was woken"
    return raised[0] if raised else None
