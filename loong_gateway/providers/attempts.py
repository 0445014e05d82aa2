"""Trying again: how often, after what wait, with which model. Knows nothing of protocols."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable, Protocol, TypeVar

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.errors import AttemptFailed, Failure

__all__ = ["Cooldowns", "Keys", "RetryPolicy", "pursue"]

logger = logging.getLogger("loong.provider")
# A command that keeps no log shows the error itself; Python would print the warning beside it.
logger.addHandler(logging.NullHandler())

T = TypeVar("T")
LONGEST_HINT_S = 60.0
SHORTEST_WAIT_S = 0.05
# Changed requests (a dropped parameter, a new key) come on top of the counted tries.
MAX_CHANGES = 8
# What says little of a model that was named, and more of one that was chosen among several.
_COOLS_A_CHOICE = ("payload_incompatible", "rate_limited", "provider_overloaded")
INTERRUPTED = Failure("interrupted", "provider.interrupted")


@dataclass(frozen=True)
class RetryPolicy:
    """How often one model is tried and how long the waits between are, doubling from `first_s` up to `longest_s`."""

    attempts: int
    first_s: float
    longest_s: float


class Cooldowns:
    """Which models were refused or asked for time, and until when. Thread-safe; `_guard` protects the table.

    A cooling model is tried last and once, never skipped: with one candidate a long outage ends by itself.
    A failure lets a model cool for `first_s`, doubled with each one until it answers, up to `longest_s`. At most
    `most` models are remembered.
    """

    def __init__(
        self,
        first_s: float = 300.0,
        longest_s: float = 3600.0,
        most: int = 64,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._most = most
        self._clock = clock
        self._guard = threading.Lock()
        self._until: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def put(self, model: str, seconds: float) -> None:
        """Let a model cool for `seconds`."""
        with self._guard:
            self._put(model, seconds)

    def failed(self, model: str) -> None:
        """Let a model cool for longer than the last time."""
        with self._guard:
            before = self._failures.get(model, 0)
            self._put(model, min(self._first_s * 2 ** min(before, 30), self._longest_s))
            self._failures[model] = before + 1

    def clear(self, model: str) -> None:
        """The model has answered."""
        if model in self._until:
            with self._guard:
                self._until.pop(model, None)
                self._failures.pop(model, None)

    def remaining(self) -> dict[str, float]:
        """Seconds left per cooling model."""
        now = self._clock()
        with self._guard:
            return {model: until - now for model, until in self._until.items() if until > now}

    def order(self, models: Sequence[str]) -> list[str]:
        """The models with the cooling ones last, earliest recovery first."""
        cooling = self.remaining()
        return sorted(models, key=lambda model: cooling.get(model, 0.0))

    def _put(self, model: str, seconds: float) -> None:
        if model not in self._until and len(self._until) >= self._most:
            soonest = min(self._until, key=lambda one: self._until[one])
            self._until.pop(soonest)
            self._failures.pop(soonest, None)
        self._until[model] = max(self._until.get(model, 0.0), self._clock() + seconds)


class Keys(Protocol):
    """The keys that a call may be made with. Thread-safe."""

    def ordered(self) -> list[str]:
        """The keys to try, the best one first, at least one. May block while a secret is fetched."""

    def using(self, key: str) -> None:
        """The key is about to be sent."""

    def judged(self, key: str, failure: Failure | None) -> None:
        """What became of the calls with it: None for an answer."""


def pursue(
    models: Sequence[str],
    attempt: Callable[[str, str], T],
    *,
    keys: Keys,
    policy: RetryPolicy,
    deadline: Deadline,
    stop: StopToken,
    cooldowns: Cooldowns,
) -> T:
    """Try the models in order, each with one key after the other, until one answers.

    Blocks in `attempt`, which is given model and key, and in waits that `stop` ends.

    Raises the AttemptFailed of the last try.
    """
    assert models
    cooling = cooldowns.remaining()
    last: AttemptFailed | None = None
    for model in models:
        limits = replace(policy, attempts=1) if model in cooling else policy
        try:
            answer = _try_keys(model, attempt, keys, limits, deadline, stop)
        except AttemptFailed as failed:
            last = failed
            _cool_down(failed, cooldowns, chosen=len(models) > 1)
            if not failed.failure.next_model or deadline.expired:
                break
        else:
            cooldowns.clear(model)
            return answer
    assert last is not None
    raise last


def _try_keys(
    model: str,
    attempt: Callable[[str, str], T],
    keys: Keys,
    policy: RetryPolicy,
    deadline: Deadline,
    stop: StopToken,
) -> T:
    tried: set[str] = set()
    last: AttemptFailed | None = None
    while True:
        # Asked for again each time: a key that was refused may have been replaced meanwhile.
        key = next((key for key in keys.ordered() if key not in tried), None)
        if last is not None and (key is None or len(tried) > MAX_CHANGES or deadline.expired):
            raise last
        assert key is not None
        tried.add(key)
        keys.using(key)
        try:
            answer = _try_model(model, key, attempt, policy, deadline, stop)
        except AttemptFailed as failed:
            keys.judged(key, failed.failure)
            if not failed.failure.next_key:
                raise
            last = failed
        else:
            keys.judged(key, None)
            return answer


def _try_model(
    model: str,
    key: str,
    attempt: Callable[[str, str], T],
    policy: RetryPolicy,
    deadline: Deadline,
    stop: StopToken,
) -> T:
    tries = 0
    changes = 0
    used: set[str] = set()
    while True:
        try:
            return attempt(model, key)
        except AttemptFailed as failed:
            failed.model = model
            if failed.again and changes < MAX_CHANGES:
                changes += 1
                continue
            tries += 1
            failed.tries = tries
            wait_s = _wait_before_next(failed.failure, tries, used, policy)
            if wait_s is not None and wait_s >= deadline.remaining():
                wait_s = None
            _log(failed, wait_s)
            if wait_s is None:
                raise
            if stop.wait(wait_s):
                raise AttemptFailed(INTERRUPTED) from None


def _wait_before_next(failure: Failure, tries: int, used: set[str], policy: RetryPolicy) -> float | None:
    """Seconds until the same model may be tried again, None to give it up."""
    if failure.retry == "no" or tries >= policy.attempts:
        return None
    if failure.retry == "once":
        if failure.kind in used:
            return None
        used.add(failure.kind)
    if failure.retry_after_s is not None:
        return failure.retry_after_s if failure.retry_after_s <= LONGEST_HINT_S else None
    ceiling = min(policy.longest_s, policy.first_s * 2 ** (tries - 1))
    # Full jitter, so that many conversations that failed together do not come back together.
    return max(SHORTEST_WAIT_S, random.uniform(0, ceiling))  # noqa: S311  spreads load, keeps no secret


def _cool_down(failed: AttemptFailed, cooldowns: Cooldowns, *, chosen: bool) -> None:
    failure = failed.failure
    if failure.retry_after_s is not None and failure.retry_after_s > LONGEST_HINT_S:
        cooldowns.put(failed.model, failure.retry_after_s)
    elif failure.kind == "model_mismatch" or (chosen and failure.kind in _COOLS_A_CHOICE):
        cooldowns.failed(failed.model)


def _log(failed: AttemptFailed, wait_s: float | None) -> None:
    failure = failed.failure
    if failure.kind == INTERRUPTED.kind:
        # A user's stop or the end of the gateway; nothing failed.
        logger.debug("attempt cancelled: model=%s try=%d", failed.model, failed.tries)
        return
    details: Mapping[str, object] = {
        "model": failed.model,
        "try": failed.tries,
        "status": failure.status or "-",
        "code": failure.provider_code or "-",
        "request": failure.request_id or "-",
    }
    logger.log(
        logging.WARNING if wait_s is None else logging.INFO,
        "attempt failed: %s %s, %s",
        failure.kind,
        " ".join(f"{name}={value}" for name, value in details.items()),
        "giving up" if wait_s is None else f"again in {wait_s:.2f} s",
    )
