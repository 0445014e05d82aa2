"""What a turn is shown of what was said before, and what is kept of what it took."""

from __future__ import annotations

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control.agents import NoAgents
from loong_gateway.control.origin import Origin
from loong_gateway.messaging.asking import Asking
from loong_gateway.messaging.conversation import Question
from loong_gateway.messaging.memory import HEAD
from loong_gateway.providers.contract import Completion, ProviderFault, Usage
from loong_gateway.storage import summaries, transcripts, usage
from tests.gateway.messaging.engine_rig import CONFIG, event, rig_at
from tests.waiting import wait_until

KEY = "agent:main:telegram:work:direct:7"
MEMORY = (
    CONFIG
    + b"""
[memory]
profile = "window_plus_summary"
sliding_window = 2
summary_max_chars = 300
"""
)


class Model:
    """Answers turns with `re: TEXT`, and summaries by what `squeeze` gives."""

    profile = kind = model = "scripted"

    def __init__(self) -> None:
        self.turns = []
        self.asked = []
        self.squeeze = lambda call, stop: f"summary {len(self.asked)}"

    def complete(self, call, *, deadline, stop, on_text=None):
        if call.messages[0].content.startswith("You keep the memory"):
            self.asked.append(call.messages[1].content)
            return Completion(self.squeeze(call, stop), "small", Usage(30, 3, 33))
        self.turns.append(call)
        return Completion(f"re: {call.messages[-1].content}", "big", Usage(10, 2, 12))


@pytest.fixture
def rig(tmp_path):
    with rig_at(tmp_path / "s", MEMORY) as rig:
        rig.provider = Model()
        yield rig


def system(call) -> str:
    return call.messages[0].content if call.messages[0].role == "system" else ""


def said(call) -> list[str]:
    return [message.content for message in call.messages if message.role != "system"]


def summary(rig) -> tuple[int, str]:
    return rig.store.read(lambda conn: summaries.get(conn, KEY))


def used(rig) -> dict[str, dict[str, int]]:
    rows = rig.store.read(lambda conn: usage.of_session(conn, KEY))
    return {row.purpose: dict(row.counts) for row in rows}


def test_what_left_the_window_is_squeezed_by_the_model_and_told_from_then_on(rig):
    for text in ("one", "two", "three", "four"):
        rig.ask(text)
    wait_until(lambda: summary(rig)[1] == "summary 1")
    assert "user: one" in rig.provider.asked[0]
    assert "three" not in rig.provider.asked[0]
    rig.ask("five")
    assert system(rig.provider.turns[-1]).startswith(f"{HEAD}\nsummary 1")
    assert said(rig.provider.turns[-1]) == ["three", "re: three", "four", "re: four", "five"]


def test_the_next_summary_is_made_of_the_last_one_and_what_came_after_it(rig):
    for number in range(4):
        rig.ask(f"q{number}")
    wait_until(lambda: summary(rig)[1])
    for number in range(4, 8):
        rig.ask(f"q{number}")
    wait_until(lambda: len(rig.provider.asked) > 1)
    assert "summary 1" in rig.provider.asked[1]
    assert "user: q0" not in rig.provider.asked[1]


def test_without_a_summary_the_beginnings_of_the_messages_stand_in(rig):
    def fail(call, stop):
        raise ProviderFault("provider_overloaded", "not now")

    rig.provider.squeeze = fail
    for text in ("one " * 200, "two", "three", "four", "five"):
        rig.ask(text)
    told = [system(call) for call in rig.provider.turns]
    assert told[:3] == ["", "", ""]
    assert "assistant: re: one one" in told[3]
    assert "user: two" in told[4]
    assert all(len(text) < len(HEAD) + 310 for text in told)
    assert rig.inbox_states() == dict.fromkeys(rig.inbox_states(), "done")


def test_after_a_failure_it_is_tried_again_only_after_a_pause(rig):
    tries = []

    def fail(call, stop):
        tries.append(call)
        raise ProviderFault("provider_overloaded", "not now")

    rig.provider.squeeze = fail
    for number in range(4):
        rig.ask(f"q{number}")
    wait_until(lambda: tries and rig.summaries._pauses.get(KEY))
    for number in range(4, 7):
        rig.ask(f"q{number}")
    assert len(tries) == 1
    rig.clock.advance(61)
    rig.provider.squeeze = lambda call, stop: "at last"
    rig.ask("now")
    wait_until(lambda: summary(rig)[1] == "at last")


def test_an_answer_that_is_no_summary_counts_as_a_failure(rig):
    rig.provider.squeeze = lambda call, stop: "  "
    for number in range(4):
        rig.ask(f"q{number}")
    wait_until(lambda: rig.summaries._pauses.get(KEY))
    assert summary(rig) == (0, "")


def test_a_summary_delays_no_answer_and_ends_with_the_gateway(rig):
    begun, stopped = event(), event()

    def hang(call, stop):
        begun.set()
        assert stop.wait(15)
        stopped.set()
        raise ProviderFault("interrupted", "stopped")

    rig.provider.squeeze = hang
    for number in range(5):
        rig.ask(f"q{number}")
    assert begun.wait(15)
    rig.ask("and on")
    assert rig.channel.texts()[-1] == "re: and on"
    rig.summaries.close()
    assert stopped.wait(15)


def test_a_summary_is_never_longer_than_allowed(rig):
    rig.provider.squeeze = lambda call, stop: "x" * 5000
    for number in range(4):
        rig.ask(f"q{number}")
    wait_until(lambda: summary(rig)[1] == "x" * 300)


def test_squeezing_all_leaves_an_empty_window(rig):
    for text in ("one", "two"):
        rig.ask(text)
    assert rig.summaries.compact(KEY) is True
    assert rig.summaries.compact(KEY) is False
    rig.ask("three")
    assert said(rig.provider.turns[-1]) == ["three"]
    assert system(rig.provider.turns[-1]) == f"{HEAD}\nsummary 1"


def test_a_new_stretch_has_no_summary(rig):
    rig.ask("one")
    rig.summaries.compact(KEY)
    rig.ask("/new")
    rig.ask("two")
    assert system(rig.provider.turns[-1]) == ""


def test_turns_and_summaries_are_counted_apart_with_their_tokens(rig):
    for text in ("one", "two"):
        rig.ask(text)
    rig.summaries.compact(KEY)
    assert used(rig)["turn"] == {**dict.fromkeys(usage.COUNTS, 0), "calls": 2, "input": 20, "output": 4}
    assert used(rig)["summary"] == {**dict.fromkeys(usage.COUNTS, 0), "calls": 1, "input": 30, "output": 3}
    assert rig.metrics.get(f"tokens:input:{rig.config.active_provider}") == 20


def test_a_failed_attempt_is_counted_as_failed(rig):
    def fail(call, **_):
        raise ProviderFault("auth_rejected", "no")

    rig.provider.complete = fail
    rig.ask("one")
    assert used(rig)["turn"]["failed"] == 1
    assert used(rig)["turn"]["calls"] == 0


class Unreadable:
    """A store whose disk gives nothing."""

    def read(self, query):
        raise StoreUnwritable("disk I/O error")

    def submit_lazy(self, operation):
        raise StoreUnwritable("disk I/O error")


class Refusing:
    """An outside agent that takes every turn, and fails."""

    def choose(self, origin, text):
        return self

    def complete(self, *, deadline, stop, on_text=None):
        raise ProviderFault("transport_failure", "the agent has gone")


def test_what_an_agent_fails_at_is_no_failure_of_the_provider(tmp_path):
    with rig_at(tmp_path / "s", CONFIG) as rig:
        asking = Asking(
            rig.store,
            config=lambda: rig.config,
            provider=lambda _=None: rig.provider,
            rounds=rig.rounds,
            agents=Refusing(),
            metrics=rig.metrics,
            clock=rig.clock,
        )
        with pytest.raises(ProviderFault):
            asking.complete(Origin("turn", "run:1", KEY), Question("hi"), Deadline(15), StopToken())
        # Whatever was handed to the store before this write is on disk after it.
        rig.store.write(lambda _: None)
        assert used(rig) == {}


@pytest.mark.parametrize("fail_open", [b"true", b"false"])
def test_a_history_that_cannot_be_read_costs_the_history_or_the_turn(tmp_path, fail_open):
    with rig_at(tmp_path / "s", CONFIG + b"[memory]\nfail_open = " + fail_open) as rig:
        asking = Asking(
            Unreadable(),
            config=lambda: rig.config,
            provider=lambda _=None: rig.provider,
            rounds=rig.rounds,
            agents=NoAgents(),
            metrics=rig.metrics,
            clock=rig.clock,
        )
        how = (Origin("turn", "run:1", KEY), Question("hi"), Deadline(15), StopToken())
        if fail_open == b"true":
            assert asking.complete(*how).completion.text == "re: hi"
        else:
            with pytest.raises(StoreUnwritable):
                asking.complete(*how)


def test_huge_messages_cost_the_oldest_turns_and_never_the_last(rig):
    rig.store.write(
        lambda conn: [transcripts.remember(conn, "s", f"{n}" * 150_000, "a", 1) for n in range(5)]
    )
    window = rig.store.read(lambda conn: transcripts.tail(conn, "s", 5))
    assert [text[0] for _, role, text in window if role == "user"] == ["3", "4"]
    rig.store.write(lambda conn: transcripts.remember(conn, "s", "x" * 500_000, "a", 1))
    window = rig.store.read(lambda conn: transcripts.window(conn, "s", 5))
    assert [text[0] for _, text in window] == ["x", "a"]
