"""Trying again: what is written down about an attempt."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.attempts import Cooldowns, RetryPolicy, pursue
from loong_gateway.providers.errors import AttemptFailed, Failure


class Keys:
    """Keys in a fixed order; `judgements` holds what became of each call with them."""

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)
        self.judgements: list[tuple[str, str]] = []

    def ordered(self) -> list[str]:
        return list(self.keys)

    def using(self, key: str) -> None:
        """Nothing is kept of it."""

    def judged(self, key: str, failure: Failure | None) -> None:
        self.judgements.append((key, failure.kind if failure else "answered"))


def logged(
    attempt: Callable[[str, str], str], policy: RetryPolicy, deadline: Deadline
) -> list[logging.LogRecord]:
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
                keys=Keys("k"),
                policy=policy,
                deadline=deadline,
                stop=StopToken(),
                cooldowns=Cooldowns(),
            )
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
    def attempt(model: str, key: str) -> str:
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
    def attempt(model: str, key: str) -> str:
        raise AttemptFailed(Failure("server", "provider.server", retry="yes"))

    records = logged(attempt, policy, Deadline(deadline_s))
    assert [record.levelname for record in records] == [level for level, _ in said]
    assert all(words in record.getMessage() for record, (_, words) in zip(records, said))


def asked(
    outcomes: dict[str, str], models: Sequence[str] = ("m",), *keys: str, **changes: object
) -> tuple[list[str], list[tuple[str, str]], Cooldowns]:
    """Pursue with an attempt that fails per model, per key or per both; who was asked, and what was said of keys."""
    tried: list[str] = []
    ring, cooldowns = Keys(*(keys or ("a", "b"))), Cooldowns(10, 40, 2)

    def attempt(model: str, key: str) -> str:
        tried.append(f"{model}/{key}")
        kind = outcomes.get(f"{model}/{key}") or outcomes.get(key) or outcomes.get(model)
        if kind:
            raise AttemptFailed(
                Failure(kind, str(changes.get("text", "t")), next_model=kind != "request_rejected")
            )
        return "answer"

    with contextlib.suppress(AttemptFailed):
        pursue(
            models,
            attempt,
            keys=ring,
            policy=RetryPolicy(1, 0.05, 0.05),
            deadline=Deadline(5),
            stop=StopToken(),
            cooldowns=cooldowns,
        )
    return tried, ring.judgements, cooldowns


@pytest.mark.parametrize("kind", ["auth_rejected", "rate_limited", "provider_overloaded"])
def test_what_another_key_may_mend_is_asked_with_another_key(kind: str) -> None:
    tried, judged, _ = asked({"a": kind})
    assert tried == ["m/a", "m/b"] and judged == [("a", kind), ("b", "answered")]


@pytest.mark.parametrize("kind", ["request_rejected", "transport_failure", "model_mismatch", "interrupted"])
def test_what_no_key_can_mend_is_not(kind: str) -> None:
    assert asked({"a": kind})[0] == ["m/a"]


def test_nothing_is_asked_again_once_the_reader_has_seen_text() -> None:
    assert asked({"a": "provider_overloaded"}, text="provider.broken_stream")[0] == ["m/a"]


def test_a_wrong_model_ends_with_the_next_model_and_every_key() -> None:
    tried, _, cooldowns = asked({"x": "model_mismatch", "y/a": "rate_limited"}, ("x", "y"))
    assert tried == ["x/a", "y/a", "y/b"] and list(cooldowns.remaining()) == ["x"]


def test_a_model_cools_longer_with_each_failure_until_it_answers_and_few_are_remembered() -> None:
    now = [0.0]
    cooldowns = Cooldowns(10, 35, 2, clock=lambda: now[0])
    lasting = []
    for _ in range(4):
        cooldowns.failed("x")
        lasting.append(cooldowns.remaining()["x"])
        now[0] += lasting[-1]
    assert lasting == [10, 20, 35, 35] and not cooldowns.remaining()
    cooldowns.clear("x")
    for name in "xyz":
        cooldowns.failed(name)
        now[0] += 1
    assert cooldowns.remaining() == {"y": 8, "z": 9}
    assert cooldowns.order(["z", "y", "w"]) == ["w", "y", "z"]


@pytest.mark.parametrize(("models", "cooling"), [(("x",), []), (("x", "y"), ["x"])])
def test_an_overload_says_something_of_a_model_only_where_there_is_a_choice(
    models: tuple[str, ...], cooling: list[str]
) -> None:
    assert list(asked({"x": "provider_overloaded"}, models, "a")[2].remaining()) == cooling
