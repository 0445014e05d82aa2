"""The tenant token of an app: kept while it is good, fetched by one thread at a time."""

from __future__ import annotations

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
    before_the_request,
    copied,
)
from loong_channels.waiting import Deadline, StopToken, Turn

__all__ = ["TokenCache"]

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
    """Hands out the token. Thread-safe; `_guard` protects what is known, `_turn` is held by whoever fetches.

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
        self._turn = Turn()
        self._guard = threading.Lock()
        self._token: _Token | None = None
        # How often it was fetched, and why in vain the last time.
        self._rounds = 0
        self._failure: Fault | None = None

    def get(self, deadline: Deadline, stop: StopToken | None) -> str:
        """The token. Blocks while it has to be fetched, by this thread or another one.

        Who waits for another thread gets its result, and its failure too, unless that is only about time or its own
        stop. Raises faults; Unreachable then always means that nothing but the token was asked for.
        """
        with self._guard:
            token, rounds = self._fresh(), self._rounds
        if token is not None:
            return token
        with self._turn.hold(deadline, stop):
            with self._guard:
                token = self._fresh()
                failure = self._failure if self._rounds > rounds else None
            if token is not None:
                return token
            if failure is not None:
                raise copied(failure)
            return self._refresh(deadline, stop)

    def renew(self, deadline: Deadline, stop: StopToken | None) -> None:
        """Ask for the token although one is known, which shows whether the app is still accepted.

        The platform answers with the same token while that has long to live. Blocks; raises faults, and none where
        only another token cannot be had now and the known one is good.
        """
        with self._turn.hold(deadline, stop):
            self._refresh(deadline, stop)

    def drop(self, value: str) -> None:
        """Forget the token, unless it was replaced already."""
        with self._guard:
            if self._token is not None and self._token.value == value:
                self._token = None

    def known(self) -> tuple[str, ...]:
        """The values that must not be shown."""
        with self._guard:
            return () if self._token is None else (self._token.value,)

    def _fresh(self) -> str | None:
        token = self._token
        return token.value if token is not None and self._clock() < token.fresh_until else None

    def _refresh(self, deadline: Deadline, stop: StopToken | None) -> str:
        failure: Fault | None = None
        try:
            token = self._fetched(deadline, stop)
            with self._guard:
                self._token = token
        except (Interrupted, TimedOut):
            raise
        except Fault as fault:
            failure = copied(fault)
            raise
        finally:
            with self._guard:
                self._rounds += 1
                self._failure = failure
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
