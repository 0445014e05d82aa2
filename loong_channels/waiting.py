"""Deadlines and stop tokens: how every wait in loong ends. Standard library only; no thread of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Callable

from .faults import Interrupted, TimedOut

__all__ = ["Deadline", "StopToken", "Turn", "either"]


class Deadline:
    """A moment on the monotonic clock, carried through a chain of waits. Immutable and thread-safe."""

    __slots__ = ("_at", "_clock")

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """End `seconds` from now; `clock` returns monotonic seconds."""
        self._clock = clock
        self._at = clock() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at - self._clock())

    def bounded(self, seconds: float) -> float:
        """The shorter of `seconds` and what is left."""
        return min(seconds, self.remaining())

    @property
    def expired(self) -> bool:
        """True once no time is left."""
        return self._clock() >= self._at

    def within(self, seconds: float) -> Deadline:
        """A deadline at most `seconds` from now that never outlives this one."""
        return Deadline(self.bounded(seconds), clock=self._clock)


class StopToken:
    """Says once that some work must end, and wakes whoever waits or is blocked on a socket for it.

    Thread-safe. `_guard` protects the watchers; no callback runs while it is held.
    Never set a token from a signal handler: threading.Event is not reentrant there.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._guard = threading.Lock()
        self._watchers: dict[int, Callable[[], None]] = {}
        self._next_key = 0
        self.reason = ""

    def set(self, reason: str = "") -> None:
        """Ask the work to end; runs every watcher once, in the calling thread. Repeating it does nothing."""
        with self._guard:
            if self._event.is_set():
                return
            self.reason = reason
            self._event.set()
            watchers = list(self._watchers.values())
            self._watchers.clear()
        for callback in watchers:
            callback()

    def is_set(self) -> bool:
        """True once the work must end."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Block up to `seconds`; True as soon as the work must end. This replaces every sleep."""
        return self._event.wait(seconds)

    @contextlib.contextmanager
    def watch(self, callback: Callable[[], None]) -> Iterator[None]:
        """Run `callback` when the token is set while the block is running, at once if it already is.

        The callback runs in the thread that sets the token; it must be quick, must not raise, and may run
        at the very moment the block ends.
        """
        with self._guard:
            already_set = self._event.is_set()
            key = self._next_key
            self._next_key += 1
            if not already_set:
                self._watchers[key] = callback
        if already_set:
            callback()
        try:
            yield
        finally:
            with self._guard:
                self._watchers.pop(key, None)


class Turn:
    """One at a time, for work that would get into its own way. Thread-safe; `_changed` protects whether it is taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = False

    @contextlib.contextmanager
    def hold(self, deadline: Deadline, stop: StopToken | None) -> Iterator[None]:
        """Have the turn for as long as the block runs. Blocks; raises TimedOut and Interrupted while it waits."""
        wake = contextlib.nullcontext() if stop is None else stop.watch(self._look_again)
        with wake, self._changed:
            self._changed.wait_for(
                lambda: (stop is not None and stop.is_set()) or not self._taken, deadline.remaining()
            )
            if stop is not None and stop.is_set():
                raise Interrupted("stopped while it waited for its turn")
            if self._taken:
                raise TimedOut("its turn did not come in time", maybe_processed=False)
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


@contextlib.contextmanager
def either(*tokens: StopToken) -> Iterator[StopToken]:
    """A token that is set as soon as one of `tokens` is, while the block is running."""
    joined = StopToken()
    with contextlib.ExitStack() as stack:
        for token in tokens:
            stack.enter_context(token.watch(joined.set))
        yield joined
