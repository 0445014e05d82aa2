from __future__ import annotations

import pytest

from loong_channels.faults import Throttled
from loong_channels.waiting import StopToken
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.messaging.lanes import Later
from loong_gateway.messaging.turns import Outcome, TurnTask
from loong_gateway.providers.contract import Completion, ProviderFault
from loong_gateway.storage import inbox
from tests.gateway.messaging.engine_rig import CONFIG, rig_at


@pytest.fixture
def rig(tmp_path):
    with rig_at(tmp_path / "store.sqlite3") as made:
        yield made


def test_a_message_is_answered_and_everything_is_recorded(rig):
    assert rig.ask("hello") is None
    assert rig.channel.texts() == ["re: hello"]
    assert set(rig.inbox_states().values()) == {"done"}
    assert set(rig.outbox_states().values()) == {"sent"}
    assert rig.channel.sent[0].reply_to == "1"


def test_the_model_sees_the_conversation_so_far(rig):
    rig.ask("one")
    rig.ask("two")
    said = [
        (message.role, message.content)
        for message in rig.provider.calls[1].messages
        if message.role != "system"
    ]
    assert said == [("user", "one"), ("assistant", "re: one"), ("user", "two")]


def test_conversations_do_not_see_each_other(rig):
    rig.ask("mine")
    rig.ask("yours", address=rig.message().address.__class__("telegram", "work", "8"))
    assert [message.content for message in rig.provider.calls[1].messages if message.role != "system"] == [
        "yours"
    ]


def test_a_long_answer_is_split_and_only_its_first_part_replies(rig):
    rig.provider.script = ["word " * 3000]
    rig.ask()
    assert len(rig.channel.sent) > 3
    assert [outbound.reply_to for outbound in rig.channel.sent] == ["1"] + [None] * (
        len(rig.channel.sent) - 1
    )
    assert all(len(text) <= 4096 for text in rig.channel.texts())


def test_new_starts_a_session_without_history(rig):
    rig.ask("one")
    rig.ask("/new")
    assert "Started a new session" in rig.channel.texts()[1]
    rig.ask("two")
    assert [message.content for message in rig.provider.calls[1].messages if message.role != "system"] == [
        "two"
    ]


@pytest.mark.parametrize(("text", "answer"), [("/status", "all is well"), ("/help@loong_bot", "/new")])
def test_commands_are_answered_without_the_model(rig, text, answer):
    rig.ask(text)
    assert answer in rig.channel.texts()[0]
    assert rig.provider.calls == []


@pytest.mark.parametrize("text", ["/newer", "/unknown", "/new please", "what is /new?"])
def test_other_words_with_a_slash_go_to_the_model(rig, text):
    rig.ask(text)
    assert rig.channel.texts() == [f"re: {text}"]


def test_a_transient_failure_is_tried_again_and_then_answered(rig):
    rig.provider.script = [ProviderFault("provider_overloaded", "503")]
    later = rig.ask("hello")
    assert later.after_s > 0
    assert list(rig.inbox_states().values()) == ["new"]
    assert rig.run(later.task) is None
    assert rig.channel.texts() == ["re: hello"]


def test_a_message_that_keeps_failing_is_given_up_with_one_notice(rig):
    rig.provider.script = [ProviderFault("transport_failure", "no route")] * 9
    later = rig.ask("hello")
    tries = 1
    while later is not None:
        later = rig.run(later.task)
        tries += 1
    assert tries == 3
    assert list(rig.inbox_states().values()) == ["failed"]
    assert rig.channel.texts() == [rig.config.delivery.failure_text]


def test_a_final_failure_is_not_tried_again_and_hides_its_cause_from_the_chat(rig):
    rig.provider.script = [ProviderFault("auth_rejected", "the key was refused")]
    assert rig.ask("hello") is None
    assert list(rig.inbox_states().values()) == ["failed"]
    assert rig.channel.texts() == [rig.config.delivery.failure_text]
    assert "key" not in rig.channel.texts()[0]


def test_the_operators_terminal_shows_the_cause(rig):
    rig.surface.shows_errors = True
    rig.provider.script = [ProviderFault("provider_missing", "no provider is configured", fix="write one")]
    rig.ask("hello")
    assert "no provider is configured" in rig.channel.texts()[0]
    assert "write one" in rig.channel.texts()[0]


def test_a_bug_in_a_turn_counts_as_an_attempt(rig):
    rig.provider.script = [ValueError("a bug")] * 3
    later = rig.ask("hello")
    while later is not None:
        later = rig.run(later.task)
    assert list(rig.inbox_states().values()) == ["failed"]


def stopped(reason):
    """A model that is asked to stop while it answers, and does."""

    def answer(call, stop, on_text):
        stop.set(reason)
        raise ProviderFault("interrupted", reason)

    return answer


def test_a_stop_gives_the_message_back_uncounted(rig):
    stop = StopToken()
    rig.provider.script = [stopped("stopping")]
    seq = rig.put(rig.message("hello"))
    assert rig.run(TurnTask(rig.turns, seq), stop) is None
    assert list(rig.inbox_states().values()) == ["new"]
    assert rig.store.read(lambda conn: inbox.load(conn, seq)).attempts == 0
    assert rig.channel.sent == []
    assert rig.run(TurnTask(rig.turns, seq)) is None
    assert rig.channel.texts() == ["re: hello"]


def test_a_user_who_says_stop_ends_the_answer_without_a_reply(rig):
    rig.provider.script = [stopped("user")]
    assert rig.ask("hello", stop=StopToken()) is None
    assert list(rig.inbox_states().values()) == ["done"]
    assert rig.channel.sent == []


def test_an_answer_that_was_settled_elsewhere_is_not_sent(rig):
    def meanwhile(call, stop, on_text):
        rig.run(rig.turns.abandoned(seq))
        return Completion("too late", "scripted")

    seq = rig.put(rig.message("hello"))
    rig.provider.script = [meanwhile]
    assert rig.run(TurnTask(rig.turns, seq)) is None
    assert list(rig.inbox_states().values()) == ["failed"]
    assert rig.channel.texts() == [rig.config.delivery.failure_text]


def test_an_answer_that_a_given_up_turn_stored_is_sent_by_who_comes_after_it(rig):
    seq = rig.put(rig.message("hello"))

    def meanwhile(call, stop, on_text):
        # What a turn does that was given up while it ended: it stores its answer, and its worker is let go.
        given_up = rig.turns.settle_by_seq(seq, Outcome(text="just in time"))
        assert given_up is not None
        return Completion("too late", "scripted")

    rig.provider.script = [meanwhile]
    assert rig.run(TurnTask(rig.turns, seq)) is None
    assert rig.channel.texts() == ["just in time"]


def test_a_message_whose_row_went_with_a_damaged_store_is_answered_from_memory(rig):
    seq = rig.put(rig.message("hello"))
    row = rig.store.read(lambda conn: inbox.load(conn, seq))
    task = rig.turns.task(row)
    rig.store.write(lambda conn: conn.execute("DELETE FROM inbox"))
    assert rig.run(task) is None
    assert rig.channel.texts() == ["re: hello"]


def test_a_message_that_waited_too_long_at_the_platform_gets_one_line_per_conversation(rig):
    old_ms = rig.clock.wall_ms() - 2 * 3600 * 1000
    rig.ask("old", sent_ms=old_ms)
    rig.ask("older", sent_ms=old_ms)
    rig.ask("fresh")
    assert set(rig.inbox_states().values()) == {"skipped_old", "done"}
    assert len(rig.channel.texts()) == 2
    assert "60 minutes" in rig.channel.texts()[0]
    assert rig.channel.texts()[1] == "re: fresh"


def test_what_waited_in_our_own_queue_is_answered_however_late(rig):
    seq = rig.put(rig.message("hello"))
    rig.clock.advance(5 * 3600)
    rig.run(TurnTask(rig.turns, seq))
    assert rig.channel.texts() == ["re: hello"]


def test_the_answer_policy_answers_old_messages(tmp_path):
    config = CONFIG + b'\n[delivery]\nmax_inbound_age_policy = "answer"\n'
    with rig_at(tmp_path / "store.sqlite3", config) as rig:
        rig.ask("old", sent_ms=rig.clock.wall_ms() - 5 * 3600 * 1000)
        assert rig.channel.texts() == ["re: old"]


def test_a_reply_to_a_throttled_conversation_is_stored_and_waits(rig):
    rig.channel.faults = [Throttled("429", retry_after_s=30.0)]
    later = rig.ask("one")
    assert later.after_s == 30.0
    waiting = rig.ask("two")
    assert isinstance(waiting, Later)
    assert list(rig.inbox_states().values()) == ["done", "done"]
    assert set(rig.outbox_states().values()) == {"queued"}


def test_a_streamed_answer_replaces_its_preview(rig):
    class Growing:
        def __init__(self):
            self.shown = []
            self.ended = []

        def update(self, text):
            self.shown.append(text)

        def finish(self):
            self.ended.append("finish")
            return {"preview_message_id": 5}

        def abandon(self):
            self.ended.append("abandon")

    rig.surface.preview_made = preview = Growing()
    rig.ask("hello")
    assert preview.shown == ["re: hello"]
    assert preview.ended == ["finish"]
    assert rig.channel.sent[0].extra["preview_message_id"] == 5
    rig.provider.script = [ProviderFault("request_rejected", "400")]
    rig.ask("hello")
    assert preview.ended == ["finish", "abandon"]


def test_a_message_given_up_at_the_start_gets_its_notice(rig):
    seq = rig.put(rig.message("poison"))
    rig.store.write(lambda conn: inbox.settle(conn, seq, "failed", error="crashed"))
    row = rig.store.read(lambda conn: inbox.load(conn, seq))
    task = rig.turns.notice_of_failure(row)
    assert rig.run(task) is None
    assert rig.channel.texts() == [rig.config.delivery.failure_text]


def test_a_wait_that_is_too_long_ends_the_message_at_once(rig):
    rig.provider.script = [ProviderFault("rate_limited", "429", retry_after_s=604_800.0)]
    assert rig.ask("hello") is None
    assert rig.channel.texts() == [rig.config.delivery.failure_text]


def test_an_answer_that_could_not_be_kept_is_not_asked_for_again(tmp_path):
    with rig_at(tmp_path / "store.sqlite3") as rig:
        task = TurnTask(rig.turns, rig.put(rig.message("hello")))
        real = rig.turns._store
        rig.turns._store = Refusing(real)
        later = task.run(StopToken())
        assert later.gate == "store"
        rig.turns._store.refusals = 1
        later = later.task.run(StopToken())
        assert later.gate == "store"
        assert rig.run(later.task) is None
        assert len(rig.provider.calls) == 1
        assert rig.channel.texts() == ["re: hello"]


class Refusing:
    """A store whose next writes are refused, as on a full disk."""

    def __init__(self, store):
        self.store = store
        self.refusals = 1

    def write(self, operation, **options):
        if self.refusals:
            self.refusals -= 1
            raise StoreUnwritable("database or disk is full")
        return self.store.write(operation, **options)

    def __getattr__(self, name):
        return getattr(self.store, name)


def test_nothing_is_asked_while_the_disk_refuses(rig):
    class Full:
        def unwritable_reason(self):
            return "database or disk is full"

    task = TurnTask(rig.turns, rig.put(rig.message("hello")))
    rig.turns._store, store = Full(), rig.turns._store
    assert task.run(StopToken()).gate == "store"
    assert rig.provider.calls == []
    rig.turns._store = store
    assert rig.run(task) is None


def test_a_truncated_answer_says_so(rig):
    rig.provider.script = [lambda call, stop, on_text: Completion("half an", "scripted", truncated=True)]
    rig.ask("hello")
    assert rig.channel.texts() == ["half an […]"]
