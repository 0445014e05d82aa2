"""Asks several platforms at once how an account is, within one budget of time."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from loong_gateway.base.faults import CommandError
from loong_gateway.base.pool import Pool
from loong_gateway.base.timers import Timers
from loong_gateway.control import ControlPlane, ProbeOutcome

from .health import Account

__all__ = ["Prober"]

Outcomes = Mapping[Account, Optional[ProbeOutcome]]


class Prober:
    """Thread-safe; holds nothing between two rounds."""

    def __init__(self, control: ControlPlane, pool: Pool, timers: Timers) -> None:
        self._control = control
        self._pool = pool
        self._timers = timers

    def ask(self, accounts: Sequence[Account], *, budget_s: float, done: Callable[[Outcomes], None]) -> None:
        """Probe accounts (channel, account) beside each other, then call `done` once, from any thread; never blocks.

        An account that has not answered when the budget is over has None.
        """
        found = _Round(accounts, done)
        if not accounts:
            found.end()
            return
        found.cancel = self._timers.later(budget_s, found.end)
        for account in accounts:
            if not self._pool.submit(functools.partial(self._probe, account, budget_s, found)):
                found.add(account, ProbeOutcome("not_asked", "the gateway is busy"))

    def _probe(self, account: Account, budget_s: float, found: _Round) -> None:
        try:
            outcome = self._control.probe_channel(*account, timeout_s=budget_s)
        except CommandError as error:
            outcome = ProbeOutcome("not_asked", error.message)
        found.add(account, outcome)


class _Round:
    """The answers to one question. `_guard` protects them."""

    def __init__(self, accounts: Sequence[Account], done: Callable[[Outcomes], None]) -> None:
        self._guard = threading.Lock()
        self._outcomes: dict[Account, ProbeOutcome | None] = dict.fromkeys(accounts)
        self._missing = set(accounts)
        self._done: Callable[[Outcomes], None] | None = done
        self.cancel: Callable[[], None] = _nothing

    def add(self, account: Account, outcome: ProbeOutcome) -> None:
        with self._guard:
            if self._done is None:
                return
            self._outcomes[account] = outcome
            self._missing.discard(account)
            complete = not self._missing
        if complete:
            self.cancel()
            self.end()

    def end(self) -> None:
        with self._guard:
            done, self._done = self._done, None
            outcomes = dict(self._outcomes)
        if done is not None:
            done(outcomes)


def _nothing() -> None:
    """There is nothing to take back yet."""
