"""Trying again: what is written down about an attempt."""

from __future__ import annotations

import logging

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.attempts import Cooldowns, RetryPolicy, pursue
from loong_gateway.providers.errors import AttemptFailed, Failure


@pytest.mark.parametrize(
    ("kind", "level", "said"),
    [
        ("interrupted", logging.DEBUG, "attempt cancelled: model=m try=1"),
        ("auth_rejected", logging.INFO, "attempt failed: auth_rejected model=m try=1"),
    ],
)
def test_an_attempt_that_somebody_stopped_is_no_failure_in_the_log(kind: str, level: int, said: str) -> None:
    def attempt(model: str) -> str:
        raise AttemptFailed(Failure(kind, f"provider.{kind}"))

    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("loong.provider")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(AttemptFailed):
            pursue(
                ["m"],
                attempt,
                policy=RetryPolicy(3, 0.1, 1.0),
                deadline=Deadline(5),
                stop=StopToken(),
                cooldowns=Cooldowns(),
            )
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    (record,) = records
    assert record.levelno == level
    assert record.getMessage().startswith(said)
