"""Receiving: one poll at a time, confirmed only when stored, every fault handed to whoever retries."""

from __future__ import annotations

import pytest

from loong_channels import faults
from loong_channels.contract import Account
from loong_channels.net import Egress
from loong_channels.telegram.channel import Channel
from tests.channels.telegram_rig import RecordingHost, Running, make_channel, running
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.fakes.telegram_queue import UpdateQueue

OTHER_TOKEN = "987654321:BBExampleExampleExampleExampleExamp"
OFFSET = "offset:123456789"
OTHER_OFFSET = "offset:987654321"
GROUP = -1001234567890


def polls(fake: FakeTelegram) -> list[dict[str, object]]:
    return [request.params for request in fake.calls("getUpdates")]


def waiting(fake: FakeTelegram) -> bool:
    return fake.bot.waiting is not None


def test_start_identifies_removes_the_webhook_keeps_the_queue_and_polls() -> None:
    with FakeTelegram() as fake:
        fake.set_webhook("https://elsewhere.example/")
        fake.say("waiting since yesterday", age_s=3600)
        host = RecordingHost()
        with running(make_channel(fake), host):
            fake.wait_for(lambda: waiting(fake))
        assert [r.method for r in fake.requests[:3]] == ["getme", "deletewebhook", "getupdates"]
        assert fake.requests[1].params == {"drop_pending_updates": False}
        assert host.texts == ["waiting since yesterday"]
        assert host.identities[0] == "@test_bot"
        assert fake.complaints == []


def test_a_webhook_that_comes_back_is_a_conflict_and_not_fought_over() -> None:
    now = [0.0]
    with FakeTelegram(conflict_delay_s=0.01) as fake:
        channel = make_channel(fake, clock=lambda: now[0])
        with running(channel, RecordingHost()) as run:
            fake.wait_for(lambda: waiting(fake))
            fake.set_webhook("https://elsewhere.example/")
            assert isinstance(run.ended(), faults.Conflict)
        now[0] += 290
        assert isinstance(Running(channel, RecordingHost()).ended(), faults.Conflict)
        assert len(fake.calls("deleteWebhook")) == 1
        now[0] += 20
        with running(channel, RecordingHost()):
            fake.wait_for(lambda: waiting(fake))
        assert len(fake.calls("deleteWebhook")) == 2


def test_each_poll_names_its_timeout_limit_and_types() -> None:
    with FakeTelegram() as fake:
        with running(make_channel(fake, polling_timeout_s=17, handle_edits=True), RecordingHost()):
            fake.wait_for(lambda: waiting(fake))
        first, second = polls(fake)[:2]
        assert first == {"timeout": 0, "limit": 100, "allowed_updates": ["message", "edited_message"]}
        assert second["timeout"] == 17


def test_a_restart_shows_readiness_without_repeating_the_offset_of_the_process_before() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        fake.say("first")
        with running(make_channel(fake), host):
            host.wait_for(lambda: host.texts == ["first"])
            fake.wait_for(lambda: waiting(fake))
        before = len(polls(fake))
        host.identities.clear()
        with running(make_channel(fake), host):
            host.wait_for(lambda: host.identities)
            fake.say("second")
            host.wait_for(lambda: host.texts == ["first", "second"])
        look, first = polls(fake)[before : before + 2]
        assert look == {"timeout": 0, "limit": 1, "allowed_updates": ["message"]}
        assert first["offset"] == 700_000_002


@pytest.mark.parametrize(("given", "used"), [(0, 1), (99, 50), (None, 15)])
def test_the_poll_timeout_stays_within_what_the_server_knows(given: object, used: int) -> None:
    with FakeTelegram() as fake:
        with running(make_channel(fake, polling_timeout_s=given), RecordingHost()):
            fake.wait_for(lambda: len(polls(fake)) >= 2)
        assert polls(fake)[1]["timeout"] == used


def test_a_burst_is_stored_in_order_and_confirmed_exactly() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        for n in range(250):
            fake.say(f"m{n}", 1001 + n % 7)
        with running(make_channel(fake), host) as run:
            host.wait_for(lambda: len(host.messages) == 250)
            fake.wait_for(lambda: waiting(fake))
            fake.say("m250")
            host.wait_for(lambda: len(host.messages) == 251)
            fake.wait_for(lambda: waiting(fake) and len(fake.bot.queue) == 0)
            run.stop.set("over")
            assert run.ended() is None
        assert host.texts == [f"m{n}" for n in range(251)]
        last = fake.injected[-1].update_id
        assert host.cursors == {OFFSET: str((last or 0) + 1)}
        offsets = [poll.get("offset") for poll in polls(fake) if "offset" in poll]
        assert offsets == sorted(offsets)
        assert set(offsets) <= {(one.update_id or 0) + 1 for one in fake.injected}
        assert fake.bot.max_polls_in_flight == 1


def test_the_stored_offset_is_used_after_a_restart() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        fake.say("one")
        with running(make_channel(fake), host):
            fake.wait_for(lambda: waiting(fake))
        fake.say("two")
        with running(make_channel(fake), host):
            host.wait_for(lambda: len(host.messages) == 2)
        assert host.texts == ["one", "two"]


@pytest.mark.parametrize("refusals", [[faults.Busy("full")] * 2, [faults.NotStored("no room")]])
def test_what_is_not_taken_is_offered_again_without_polling_meanwhile(refusals: list[Exception]) -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        host.refusals = list(refusals)
        one = fake.say("keep me")
        with running(make_channel(fake), host):
            host.wait_for(lambda: host.offers == len(refusals))
            assert len(polls(fake)) == 1
            assert not fake.confirmed(one.update_id)
            host.wait_for(lambda: host.texts == ["keep me"])
            fake.wait_for(lambda: fake.confirmed(one.update_id))
        assert host.offers == len(refusals) + 1


def test_a_stop_while_the_host_is_full_leaves_the_update_with_the_server() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        host.refusals = [faults.NotStored("disk full")] * 50
        one = fake.say("keep me")
        with running(make_channel(fake), host) as run:
            host.wait_for(lambda: host.offers >= 2)
            run.stop.set("over")
            assert run.ended(2) is None
        assert not fake.confirmed(one.update_id)
        assert host.cursors == {}


def test_a_lost_answer_means_that_the_update_comes_again_under_the_same_id() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        fake.say("once")
        fake.fault("getUpdates", "lost")
        channel = make_channel(fake)
        first = Running(channel, host)
        assert isinstance(first.ended(), faults.Unreachable)
        with running(channel, host):
            host.wait_for(lambda: host.texts == ["once"])
        fake.bot.queue.push("message", fake.chats[1001].messages[1], fake.now())
        with running(channel, host):
            host.wait_for(lambda: len(host.messages) == 2)
        assert host.messages[0].event_id == host.messages[1].event_id


@pytest.mark.parametrize(
    ("kind", "details", "expected"),
    [
        ("status", {"status": 500}, faults.Overloaded),
        ("html", {}, faults.Unreachable),
        ("truncated", {}, faults.BadAnswer),
        ("null", {}, faults.BadAnswer),
        ("empty", {}, faults.BadAnswer),
        ("reset", {}, faults.Unreachable),
        ("hang_up", {}, faults.Unreachable),
        ("too_many", {"retry_after": 7}, faults.Throttled),
        (
            "status",
            {"status": 409, "description": "Conflict: terminated by other getUpdates request"},
            faults.Conflict,
        ),
        ("status", {"status": 401, "description": "Unauthorized"}, faults.BadCredentials),
        ("status", {"status": 404, "description": "Not Found"}, faults.BadCredentials),
    ],
)
def test_every_fault_of_a_poll_ends_the_connection_with_its_name(
    kind: str, details: dict[str, object], expected: type[faults.Fault]
) -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        fake.fault("getUpdates", kind, skip=1, **details)
        channel = make_channel(fake)
        run = Running(channel, host)
        fake.wait_for(lambda: len(polls(fake)) == 2)
        fake.say("early")
        error = run.ended()
        assert type(error) is expected
        assert TOKEN not in f"{error!r}"
        assert host.identities == ["@test_bot"]
        # Exactly one request was spent on it; the next life goes on where this one ended.
        assert len(polls(fake)) == 2
        fake.say("after")
        with running(channel, host):
            host.wait_for(lambda: host.texts == ["early", "after"])


def test_a_wrong_token_is_told_apart_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with FakeTelegram() as fake:
        for token in ("111111111:CCExampleExampleExampleExampleExamp", "garbage", "a/../b?c#d"):
            channel = make_channel(fake, token)
            error = Running(channel, RecordingHost()).ended()
            assert isinstance(error, faults.BadCredentials)
            assert token not in f"{error} {error!r} {caplog.text}"
        channel = Channel(
            Account("telegram", "work", "Work", {"bot_token": TOKEN, "base_url": "http://127.0.0.1:9"}),
            Egress(),
        )
        error = Running(channel, RecordingHost()).ended()
        assert isinstance(error, faults.Unreachable)
        assert not error.maybe_processed
        assert TOKEN not in f"{error} {error!r} {caplog.text}"


def test_a_revoked_token_ends_a_running_connection_with_one_request() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        with running(make_channel(fake, polling_timeout_s=1), host) as run:
            fake.wait_for(lambda: waiting(fake))
            fake.revoke()
            # The poll that waits was accepted before; it is the next one that is refused.
            fake.say("ends the wait")
            assert isinstance(run.ended(), faults.BadCredentials)
            refused = [request for request in fake.requests if request.status == 401]
            assert len(refused) == 1


def test_after_a_conflict_the_first_poll_waits_its_full_time() -> None:
    with FakeTelegram() as fake:
        channel = make_channel(fake)
        fake.fault(
            "getUpdates", "status", skip=1, status=409, description="Conflict: terminated by other getUpdates"
        )
        assert isinstance(Running(channel, RecordingHost()).ended(), faults.Conflict)
        host = RecordingHost()
        with running(channel, host):
            fake.wait_for(lambda: waiting(fake))
            assert host.identities == []
            assert polls(fake)[2]["timeout"] == 20
            fake.say("hello")
            host.wait_for(lambda: host.identities)
        # The other one is gone: from now on readiness shows at once again.
        fresh = RecordingHost()
        fresh.cursors = host.cursors
        with running(channel, fresh):
            fresh.wait_for(lambda: fresh.identities)


def test_a_competitor_ends_the_connection_and_is_survived_by_a_later_one() -> None:
    with FakeTelegram(conflict_delay_s=0.1) as fake:
        first, second = make_channel(fake), make_channel(fake)
        with running(first, RecordingHost()) as one:
            fake.wait_for(lambda: waiting(fake))
            with running(second, RecordingHost()) as two:
                assert isinstance(one.ended(), faults.Conflict)
                two.stop.set("over")
                assert two.ended() is None
        host = RecordingHost()
        with running(first, host):
            fake.wait_for(lambda: waiting(fake))
            fake.say("ours again")
            host.wait_for(lambda: host.texts == ["ours again"])


def test_an_offset_of_another_bot_is_never_used() -> None:
    with FakeTelegram((TOKEN, OTHER_TOKEN)) as fake:
        host = RecordingHost()
        fake.say("for the first")
        with running(make_channel(fake), host):
            fake.wait_for(lambda: waiting(fake))
        other = fake.bots[OTHER_TOKEN]
        other.queue.renumber(3)
        fake.say("for the second", bot=other)
        with running(make_channel(fake, OTHER_TOKEN), host):
            host.wait_for(lambda: len(host.messages) == 2)
        assert set(host.cursors) == {OFFSET, OTHER_OFFSET}
        assert host.cursors[OTHER_OFFSET] == "4"


def test_numbers_that_begin_anew_are_followed_and_nothing_is_lost() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost({OFFSET: "900000000"})
        fake.say("a")
        with running(make_channel(fake), host):
            host.wait_for(lambda: host.texts == ["a"])
            fake.wait_for(lambda: waiting(fake))
            fake.renumber(5)
            fake.say("b")
            host.wait_for(lambda: host.texts == ["a", "b"])
            fake.wait_for(lambda: polls(fake)[-1].get("offset") == 6)
        assert [name for name, _ in host.notes].count("offset_reset") == 2


def test_a_server_that_repeats_confirmed_updates_for_ever_is_not_asked_for_ever() -> None:
    class StuckQueue(UpdateQueue):
        def take(self, offset: int, limit: int, now_s: float) -> list[dict[str, object]]:
            return super().take(0, limit, now_s)

    with FakeTelegram() as fake:
        fake.bot.queue = StuckQueue(5)
        fake.say("again and again")
        host = RecordingHost()
        assert isinstance(Running(make_channel(fake), host).ended(), faults.BadAnswer)
        assert len(polls(fake)) == 2
        assert {message.event_id for message in host.messages} == {"1001:1"}


def test_a_stored_offset_that_is_no_number_is_forgotten() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost({OFFSET: "garbage"})
        fake.say("a")
        with running(make_channel(fake), host):
            host.wait_for(lambda: host.texts == ["a"])
        assert ("offset_unreadable", {}) in host.notes


def test_what_is_no_message_is_confirmed_and_counted_and_starts_nothing() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        fake.add_group(-77)
        fake.add_channel(-100900)
        said = fake.say("hello")
        pushed = [
            fake.edit(1001, said.message_id, "hello again"),
            fake.post(-100900, "news"),
            fake.say("beep", sender={"id": 8, "is_bot": True, "first_name": "B"}),
            fake.say(None, -77, new_chat_members=[{"id": 9, "is_bot": False, "first_name": "N"}]),
            fake.push("business_message_of_the_future", {"x": 1}),
            fake.push("message", {"message_id": 7, "chat": {"id": 0}, "text": "x"}),
            fake.say("/x@other_bot"),
        ]
        with running(make_channel(fake), host):
            fake.wait_for(lambda: all(fake.confirmed(one.update_id) for one in pushed))
        assert host.texts == ["hello"]
        assert [details["reason"] for name, details in host.notes if name == "update_skipped"] == [
            "edited_message",
            "channel_post",
            "bot",
            "service",
            "business_message_of_the_future",
            "unreadable:KeyError",
            "command_for_another_bot",
        ]


def test_a_group_that_moves_is_reported_before_its_messages() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        fake.add_group(-77)
        fake.migrate(-77, GROUP)
        fake.say("still here", GROUP)
        with running(make_channel(fake), host):
            host.wait_for(lambda: host.texts == ["still here"])
        assert set(host.moves) == {("-77", str(GROUP))}


def test_receiving_alone_never_names_a_chat_to_the_server() -> None:
    with FakeTelegram() as fake:
        host = RecordingHost()
        fake.say("let me in", 666)
        with running(make_channel(fake, streaming_mode="draft", ack_reactions=True), host):
            host.wait_for(lambda: host.texts == ["let me in"])
            fake.wait_for(lambda: waiting(fake))
        assert fake.mentions_of(666) == []


def test_a_stop_ends_a_long_poll_at_once() -> None:
    with FakeTelegram() as fake, running(make_channel(fake, polling_timeout_s=50), RecordingHost()) as run:
        fake.wait_for(lambda: waiting(fake))
        run.stop.set("over")
        assert run.ended(2) is None


def test_a_stop_right_after_storing_confirms_with_one_quick_poll() -> None:
    with FakeTelegram() as fake:

        class StoppingHost(RecordingHost):
            def accept(self, batch, cursor=None):  # type: ignore[no-untyped-def]
                super().accept(batch, cursor)
                run.stop.set("over")

        host = StoppingHost()
        one = fake.say("last words")
        fake.fault("getUpdates", "delay", seconds=0.2)
        with running(make_channel(fake), host) as run:
            assert run.ended(3) is None
        assert fake.confirmed(one.update_id)
        assert polls(fake)[-1] == {
            "offset": (one.update_id or 0) + 1,
            "timeout": 0,
            "limit": 1,
            "allowed_updates": ["message"],
        }


def test_a_confirming_poll_that_hangs_does_not_hold_up_the_stop() -> None:
    with FakeTelegram() as fake:

        class StoppingHost(RecordingHost):
            def accept(self, batch, cursor=None):  # type: ignore[no-untyped-def]
                super().accept(batch, cursor)
                fake.fault("getUpdates", "hang")
                run.stop.set("over")

        host = StoppingHost()
        fake.say("last words")
        fake.fault("getUpdates", "delay", seconds=0.2)
        with running(make_channel(fake), host) as run:
            assert run.ended(3) is None
        assert host.texts == ["last words"]


def test_interrupt_wakes_everything_for_good() -> None:
    with FakeTelegram() as fake:
        channel = make_channel(fake, polling_timeout_s=50)
        with running(channel, RecordingHost()) as run:
            fake.wait_for(lambda: waiting(fake))
            channel.interrupt()
            assert isinstance(run.ended(2), faults.Interrupted)
        assert isinstance(Running(channel, RecordingHost()).ended(2), faults.Interrupted)
