"""One at a time, for work that would get into its own way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from loong_channels.faults import Interrupted, TimedOut
from loong_channels.waiting import Deadline, StopToken

__all__ = ["Turn"]


class Turn:
    """Thread-safe; `_changed` protects whether it is taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False

    @contextlib.contextmanager
    def hold(self, deadline: Deadline, stop: StopToken) -> Iterator[None]:
        """Have the turn for as long as the block runs. Blocks; raises TimedOut and Interrupted."""
        with stop.watch(self._look_again), self._changed:
            self._changed.wait_for(lambda: stop.is_set() or not self._taken, deadline.remaining())
            if stop.is_set():
                raise Interrupted("stopped before it was sent")
            if self._taken:
                raise TimedOut("an earlier message is still being sent", maybe_processed=False)
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()
