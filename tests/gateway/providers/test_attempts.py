"""Trying again: what is written down about an attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.attempts import Cooldowns, RetryPolicy, pursue
from loong_gateway.providers.errors import AttemptFailed, Failure


def logged(attempt: Callable[[str], str], policy: RetryPolicy, deadline: Deadline) -> list[logging.LogRecord]:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("loong.provider")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(AttemptFailed):
            pursue(["m"], attempt, policy=policy, deadline=deadline, stop=StopToken(), cooldowns=Cooldowns())
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    return records


@pytest.mark.parametrize(
    ("kind", "level", "said"),
    [
        ("interrupted", logging.DEBUG, "attempt cancelled: model=m try=1"),
        ("auth_rejected", logging.WARNING, "attempt failed: auth_rejected model=m try=1"),
    ],
)
def test_an_attempt_that_somebody_stopped_is_no_failure_in_the_log(kind: str, level: int, said: str) -> None:
    def attempt(model: str) -> str:
        raise AttemptFailed(Failure(kind, f"provider.{kind}"))

    (record,) = logged(attempt, RetryPolicy(3, 0.1, 1.0), Deadline(5))
    assert record.levelno == level
    assert record.getMessage().startswith(said)


@pytest.mark.parametrize(
    ("policy", "deadline_s", "said"),
    [
        (RetryPolicy(2, 0.05, 0.05), 5, [("INFO", "again in"), ("WARNING", "giving up")]),
        # There is no time left for the wait.
        (RetryPolicy(2, 0.05, 0.05), 0, [("WARNING", "giving up")]),
    ],
    ids=["tries", "time"],
)
def test_the_last_try_is_a_warning(
    policy: RetryPolicy, deadline_s: float, said: list[tuple[str, str]]
) -> None:
    def attempt(model: str) -> str:
        raise AttemptFailed(Failure("server", "provider.server", retry="yes"))

    records = logged(attempt, policy, Deadline(deadline_s))
    assert [record.levelname for record in records] == [level for level, _ in said]
    assert all(words in record.getMessage() for record, (_, words) in zip(records, said))
