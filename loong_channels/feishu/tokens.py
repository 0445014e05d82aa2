"""The tenant token of an app: kept while it is good, fetched by one thread at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Callable

from loong_channels.faults import (
    BadAnswer,
    Fault,
    Interrupted,
    Overloaded,
    Throttled,
    TimedOut,
    Unreachable,
)
from loong_channels.waiting import Deadline, StopToken

__all__ = ["TokenCache", "before_the_request"]

# The platform issues a new token in the last half hour of the old one, and both are good until their own end.
_EARLY_S = 600.0
_LEAST_USE_S = 60.0
# How long a token that should be replaced is used on after the platform could not give another one.
_GRACE_S = 30.0


@dataclass(frozen=True)
class _Token:
    """`fresh_until` and `valid_until` are seconds of the cache's clock."""

    value: str = field(repr=False)
    fresh_until: float
    valid_until: float


class TokenCache:
    """Hands out the token. Thread-safe; `_changed` protects all that is here and is never held during a request.

    `fetch(deadline, stop)` asks the platform: it returns the token and the seconds it is good for, or raises faults.
    `clock` returns monotonic seconds.
    """

    def __init__(
        self,
        fetch: Callable[[Deadline, StopToken | None], tuple[str, float]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._changed = threading.Condition()
        self._token: _Token | None = None
        self._fetching = False
        self._round = 0
        self._failure: Fault | None = None

    def get(self, deadline: Deadline, stop: StopToken | None) -> str:
        """The token. Blocks while it has to be fetched, by this thread or another one.

        Who waits for another thread gets its result, and its failure too, unless that is only about time or its own
        stop. Raises faults; Unreachable then always means that nothing but the token was asked for.
        """
        with self._changed:
            token = self._fresh()
        if token is not None:
            return token
        with contextlib.nullcontext() if stop is None else stop.watch(self._wake):
            while True:
                with self._changed:
                    token = self._fresh()
                    if token is not None:
                        return token
                    if not self._fetching:
                        self._fetching = True
                        break
                    self._await_round(deadline, stop)
        return self._refresh(deadline, stop)

    def drop(self, value: str) -> None:
        """Forget the token, unless it was replaced already."""
        with self._changed:
            if self._token is not None and self._token.value == value:
                self._token = None

    def known(self) -> tuple[str, ...]:
        """The values that must not be shown."""
        with self._changed:
            return () if self._token is None else (self._token.value,)

    def _fresh(self) -> str | None:
        token = self._token
        return token.value if token is not None and self._clock() < token.fresh_until else None

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _await_round(self, deadline: Deadline, stop: StopToken | None) -> None:
        """Wait, with `_changed` held, until the thread that fetches is done. Raises what it met."""
        waited_for = self._round
        while self._fetching and self._round == waited_for:
            if stop is not None and stop.is_set():
                raise Interrupted("interrupted while waiting for a token")
            if deadline.expired:
                raise TimedOut("no token came in time", maybe_processed=False)
            self._changed.wait(deadline.remaining())
        if self._round == waited_for + 1 and self._failure is not None:
            raise _copied(self._failure)

    def _refresh(self, deadline: Deadline, stop: StopToken | None) -> str:
        token: _Token | None = None
        failure: Fault | None = None
        try:
            token = self._fetched(deadline, stop)
        except Fault as fault:
            failure = fault
            raise
        finally:
            # Whatever happened, the next thread may try.
            with self._changed:
                self._fetching = False
                self._round += 1
                self._failure = None if isinstance(failure, (Interrupted, TimedOut)) else failure
                if token is not None:
                    self._token = token
                self._changed.notify_all()
        return token.value

    def _fetched(self, deadline: Deadline, stop: StopToken | None) -> _Token:
        try:
            value, good_for_s = self._fetch(deadline, stop)
        except (Unreachable, Overloaded, Throttled, BadAnswer) as fault:
            old = self._token
            now = self._clock()
            if old is not None and now < old.valid_until:
                return replace(old, fresh_until=min(now + _GRACE_S, old.valid_until))
            raise before_the_request(fault) from fault
        now = self._clock()
        return _Token(value, now + max(good_for_s - _EARLY_S, _LEAST_USE_S), now + good_for_s)


def before_the_request(fault: Fault) -> Fault:
    """The same fault of a preparation (a token, an upload), saying that what it was for has not been asked."""
    if isinstance(fault, TimedOut):
        return TimedOut(str(fault), maybe_processed=False)
    if isinstance(fault, BadAnswer) or (isinstance(fault, Unreachable) and fault.maybe_processed):
        return Unreachable(str(fault), maybe_processed=False)
    return fault


def _copied(fault: Fault) -> Fault:
    """An exception of one's own: one that several threads raise would collect all their tracebacks."""
    copy = Fault.__new__(type(fault))
    copy.args = fault.args
    copy.__dict__.update(fault.__dict__)
    return copy
