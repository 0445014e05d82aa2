"""Trying again: how often, after what wait, with which model. Knows nothing of protocols."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, TypeVar

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.errors import AttemptFailed, Failure

__all__ = ["Cooldowns", "RetryPolicy", "pursue"]

logger = logging.getLogger("loong.provider")
# A command that keeps no log shows the error itself; Python would print the warning beside it.
logger.addHandler(logging.NullHandler())

T = TypeVar("T")
LONGEST_HINT_S = 60.0
SHORTEST_WAIT_S = 0.05
MODEL_COOLDOWN_S = 300.0
MAX_COOLDOWNS = 64
# Changed requests (a dropped parameter, a new key) come on top of the counted tries.
MAX_CHANGES = 8
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
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._until: dict[str, float] = {}

    def put(self, model: str, seconds: float) -> None:
        """Let a model cool for `seconds`."""
        with self._guard:
            self._forget_past()
            if len(self._until) < MAX_COOLDOWNS or model in self._until:
                self._until[model] = max(self._until.get(model, 0.0), self._clock() + seconds)

    def clear(self, model: str) -> None:
        """The model has answered."""
        with self._guard:
            self._until.pop(model, None)

    def remaining(self) -> dict[str, float]:
        """Seconds left per cooling model."""
        with self._guard:
            self._forget_past()
            return {model: until - self._clock() for model, until in self._until.items()}

    def order(self, models: Sequence[str]) -> list[str]:
        """The models with the cooling ones last, earliest recovery first."""
        cooling = self.remaining()
        return sorted(models, key=lambda model: cooling.get(model, 0.0))

    def _forget_past(self) -> None:
        now = self._clock()
        for model in [model for model, until in self._until.items() if until <= now]:
            del self._until[model]


def pursue(
    models: Sequence[str],
    attempt: Callable[[str], T],
    *,
    policy: RetryPolicy,
    deadline: Deadline,
    stop: StopToken,
    cooldowns: Cooldowns,
) -> T:
    """Try the models in order until one answers. Blocks in `attempt` and in waits that `stop` ends.

    Raises the AttemptFailed of the last try.
    """
    assert models
    cooling = cooldowns.remaining()
    last: AttemptFailed | None = None
    for model in models:
        attempts = 1 if model in cooling else policy.attempts
        try:
            answer = _try_model(
                model, attempt, RetryPolicy(attempts, policy.first_s, policy.longest_s), deadline, stop
            )
        except AttemptFailed as failed:
            last = failed
            _cool_down(failed, cooldowns)
            if not failed.failure.next_model or deadline.expired:
                break
        else:
            cooldowns.clear(model)
            return answer
    assert last is not None
    raise last


def _try_model(
    model: str, attempt: Callable[[str], T], policy: RetryPolicy, deadline: Deadline, stop: StopToken
) -> T:
    tries = 0
    changes = 0
    used: set[str] = set()
    while True:
        try:
            return attempt(model)
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


def _cool_down(failed: AttemptFailed, cooldowns: Cooldowns) -> None:
    failure = failed.failure
    if failure.retry_after_s is not None and failure.retry_after_s > LONGEST_HINT_S:
        cooldowns.put(failed.model, failure.retry_after_s)
    elif failure.kind == "model_mismatch":
        cooldowns.put(failed.model, MODEL_COOLDOWN_S)


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
