"""The life of a connection: subscribing, staying alive, losing it, and giving the robot up."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from loong_channels.faults import (
    BadCredentials,
    Busy,
    Conflict,
    Interrupted,
    NotStored,
    Overloaded,
    Throttled,
    Unreachable,
)
from loong_channels.waiting import Deadline, StopToken
from tests.channels.wecom_rig import (
    RecordingHost,
    Running,
    address,
    heard,
    make_channel,
    online,
    reply,
    send,
    served,
)
from tests.fakes.wecom import FakeWeCom


def end_of(fake: FakeWeCom, **settings: object) -> BaseException | None:
    """How a connection that cannot come about ends."""
    channel = make_channel(fake, **settings)
    try:
        return Running(channel, RecordingHost()).ended()
    finally:
        channel.interrupt()


def test_it_subscribes_first_and_is_ready_only_then() -> None:
    with FakeWeCom() as fake:
        fake.delay("aibot_subscribe", 0.5)
        channel, host = make_channel(fake), RecordingHost()
        with served(channel, host):
            fake.wait_for(lambda: fake.received)
            assert host.identities == []
            with pytest.raises(Unreachable) as caught:
                send(channel, "zhangsan", "too early")
            assert caught.value.maybe_processed is False
            host.wait_for(lambda: host.identities)
        channel.interrupt()
        assert [one.cmd for one in fake.received] == ["aibot_subscribe"]
        assert fake.received[0].body == {"bot_id": fake.bot_id, "secret": fake.secret}
        assert fake.complaints == []


def test_a_wrong_secret_is_a_bad_credential_and_the_connection_is_closed() -> None:
    with FakeWeCom() as fake:
        fault = end_of(fake, secret="wrong-secret")
        assert isinstance(fault, BadCredentials)
        assert "853000" in str(fault)
        assert "1773643642077182456917975" in str(fault)
        for hidden in ("wrong-secret", "10.1.2.3", "https://"):
            assert hidden not in str(fault)
        # The server leaves it open.
        fake.wait_for(lambda: fake.clients[0].ended)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(40058, BadCredentials), (45009, Throttled), (-1, Overloaded)],
)
def test_other_refusals_of_the_subscription(code: int, kind: type[Exception]) -> None:
    with FakeWeCom() as fake:
        fake.fail("aibot_subscribe", code)
        fault = end_of(fake)
        assert isinstance(fault, kind)
        if isinstance(fault, Throttled):
            assert fault.retry_after_s >= 60


def test_a_refused_handshake_and_a_server_that_is_away() -> None:
    with FakeWeCom() as fake:
        fake.refuse_next(500)
        fault = end_of(fake)
        assert isinstance(fault, Unreachable)
        assert "500" in str(fault)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}"
    with FakeWeCom() as fake:
        assert isinstance(end_of(fake, websocket_url=url), Unreachable)


def test_pings_keep_their_period_while_messages_wait_for_room() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=1) as (_, host, run):
        host.refusals += [Busy("full")] * 400
        fake.say("hello")
        fake.wait_for(lambda: len(fake.frames("ping")) >= 4)
        moments = [one.at for one in fake.frames("ping")]
        gaps = [after - before for before, after in zip(moments, moments[1:])]
        assert all(0.8 <= gap <= 1.5 for gap in gaps), gaps
        assert run.error is None
        host.refusals.clear()
        host.wait_for(lambda: host.texts == ["hello"])


def test_pings_go_on_while_an_answer_waits_for_its_acknowledgement() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=1) as (channel, host, _):
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", 3.0)
        reply(channel, inbound, "slow")
        assert len(fake.frames("ping")) >= 2


def test_two_missed_pings_end_the_connection() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=1) as (_, _, run):
        fake.silence()
        fault = run.ended(15)
        assert isinstance(fault, Unreachable)
        assert "pings" in str(fault)
        assert len(fake.frames("ping")) == 2


def test_a_late_pong_is_good_enough() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=1) as (_, _, run):
        fake.delay("ping", 1.5, times=3)
        fake.wait_for(lambda: len(fake.frames("ping")) >= 5)
        assert run.error is None


def test_a_refused_ping_does_not_count_and_846609_ends_the_connection() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=1) as (_, host, run):
        fake.fail("ping", 40058, times=1)
        host.wait_for(lambda: ("ping_refused", {"code": 40058}) in host.notes)
        assert run.error is None
        fake.forget_subscription()
        assert isinstance(run.ended(), Unreachable)


def test_garbage_is_ignored() -> None:
    with FakeWeCom() as fake, online(fake) as (_, host, run):
        for data in ("", "x", "[]", "{}", b"\x00\xff", '{"headers":{"req_id":"nobody"},"errcode":0}'):
            fake.raw(data)
        fake.raw('{"cmd":"new_thing","headers":{"req_id":"a"},"body":{}}')
        fake.event("enter_check_update")
        assert heard(fake, host).text == "hello"
        assert run.error is None
        assert fake.frames("aibot_respond_msg") == []


def test_a_message_in_a_binary_frame_is_read() -> None:
    with FakeWeCom() as fake, online(fake) as (_, host, _):
        fake.raw(
            b'{"cmd":"aibot_msg_callback","headers":{"req_id":"b"},"body":{"msgid":"b1","chattype":"single",'
            b'"from":{"userid":"zhangsan"},"msgtype":"text","text":{"content":"binary"}}}'
        )
        host.wait_for(lambda: host.texts == ["binary"])


@pytest.mark.parametrize("how", ["drop", "close_all"])
def test_a_lost_connection_is_a_fault_and_the_next_one_works(how: str) -> None:
    with FakeWeCom() as fake:
        channel, host = make_channel(fake), RecordingHost()
        run = Running(channel, host)
        host.wait_for(lambda: host.identities)
        getattr(fake, how)()
        fault = run.ended()
        assert isinstance(fault, Unreachable)
        assert fault.maybe_processed
        with served(channel, host):
            host.wait_for(lambda: len(host.identities) == 2)
            assert heard(fake, host).text == "hello"
        channel.interrupt()


def test_a_takeover_ends_the_connection_and_is_left_alone_for_longer_each_time() -> None:
    now = [0.0]
    with FakeWeCom(closes_after_s=60) as fake:
        channel, host = make_channel(fake, clock=lambda: time.monotonic() + now[0]), RecordingHost()
        waits = []
        for number in range(6):
            run = Running(channel, host)
            host.wait_for(lambda n=number: len(host.identities) == n + 1)
            fake.kick()
            fault = run.ended()
            assert isinstance(fault, Conflict)
            waits.append(fault.retry_after_s)
            with pytest.raises(Conflict):
                send(channel, "zhangsan", "x")
        assert waits == [60, 120, 240, 480, 600, 600]
        run = Running(channel, host)
        host.wait_for(lambda: len(host.identities) == 7)
        now[0] += 7200
        fake.kick()
        fault = run.ended()
        assert isinstance(fault, Conflict)
        assert fault.retry_after_s == 60
        assert len(fake.clients) == 7


def test_reclaim_can_be_switched_off() -> None:
    with FakeWeCom() as fake, online(fake, reclaim=False) as (_, _, run):
        fake.kick()
        fault = run.ended()
        assert isinstance(fault, Conflict)
        assert fault.retry_after_s == float("inf")


def test_a_takeover_fails_what_is_being_sent() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, run):
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", lost=True)
        faults: list[Exception] = []

        def answer() -> None:
            try:
                reply(channel, inbound, "x")
            except Conflict as fault:
                faults.append(fault)

        thread = threading.Thread(target=answer)
        thread.start()
        fake.wait_for(lambda: fake.frames("aibot_respond_msg"))
        fake.kick()
        thread.join(4)
        assert len(faults) == 1
        assert isinstance(run.ended(), Conflict)


def test_what_the_disk_refuses_survives_the_connection_and_is_offered_again() -> None:
    with FakeWeCom() as fake:
        channel, host = make_channel(fake), RecordingHost()
        host.refusals += [NotStored("disk full")] * 3
        run = Running(channel, host)
        host.wait_for(lambda: host.identities)
        fake.say("kept")
        host.wait_for(lambda: host.offers >= 1)
        fake.drop()
        run.ended()
        host.refusals.clear()
        with served(channel, host):
            host.wait_for(lambda: host.texts == ["kept"])
        channel.interrupt()


class OneFullLane(RecordingHost):
    """Takes nothing of one conversation."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = True

    def accept(self, batch, cursor=None):  # type: ignore[no-untyped-def]
        if self.is_full and any(one.address.conversation == "zhangsan" for one in batch):
            with self.changed:
                self.offers += 1
            raise Busy("full")
        super().accept(batch, cursor)


def test_a_full_conversation_stops_no_other_and_keeps_its_order() -> None:
    with FakeWeCom() as fake:
        channel, host = make_channel(fake), OneFullLane()
        with served(channel, host):
            host.wait_for(lambda: host.identities)
            for number in range(5):
                fake.say(f"full {number}")
                fake.say(f"free {number}", user="lisi")
            host.wait_for(lambda: len(host.messages) == 5)
            assert host.texts == [f"free {number}" for number in range(5)]
            with host.changed:
                host.is_full = False
            host.wait_for(lambda: len(host.messages) == 10)
            assert host.texts[5:] == [f"full {number}" for number in range(5)]
        channel.interrupt()


def test_a_burst_arrives_whole_and_in_order() -> None:
    with FakeWeCom() as fake, online(fake) as (_, host, _):
        for number in range(300):
            fake.say(str(number), user=f"user{number % 7}")
        host.wait_for(lambda: len(host.messages) == 300)
        assert host.texts == [str(number) for number in range(300)]
        assert len(host.batches) < 300


@pytest.mark.parametrize("moment", ["connecting", "subscribing", "ready", "full"])
def test_a_stop_ends_run_in_every_state(moment: str) -> None:
    with FakeWeCom() as fake, socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"ws://127.0.0.1:{deaf.getsockname()[1]}" if moment == "connecting" else fake.url
        if moment == "subscribing":
            fake.silence()
        channel, host = make_channel(fake, websocket_url=url), RecordingHost()
        run = Running(channel, host)
        if moment in ("ready", "full"):
            host.wait_for(lambda: host.identities)
        elif moment == "subscribing":
            fake.wait_for(lambda: fake.received)
        if moment == "full":
            host.refusals += [NotStored("full")] * 1000
            fake.say("x")
            host.wait_for(lambda: host.offers)
        run.stop.set("test")
        assert run.ended(2) is None
        channel.interrupt()


def test_answers_still_leave_after_receiving_has_stopped() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, run):
        inbound = heard(fake, host)
        run.stop.set("stopping")
        assert run.ended(2) is None
        fake.say("nobody takes this")
        reply(channel, inbound, "the last answer")
        assert fake.texts() == ["the last answer"]
        channel.interrupt()
        with pytest.raises(Interrupted):
            reply(channel, inbound, "x")


def test_interrupt_wakes_everything_for_good() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, run):
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", lost=True)
        ended = threading.Event()

        def answer() -> None:
            with pytest.raises(Interrupted):
                reply(channel, inbound, "x")
            ended.set()

        thread = threading.Thread(target=answer)
        thread.start()
        fake.wait_for(lambda: fake.frames("aibot_respond_msg"))
        channel.interrupt()
        assert ended.wait(2)
        assert isinstance(run.ended(2), Interrupted)
        with pytest.raises(Interrupted):
            channel.run(RecordingHost(), StopToken())


def test_a_message_without_an_owner_connects_subscribes_sends_and_leaves() -> None:
    with FakeWeCom() as fake:
        fake.say("known now")
        channel = make_channel(fake)
        assert send(channel, "zhangsan", "hello").message_ids
        fake.wait_for(lambda: fake.owner is None)
        assert [one.cmd for one in fake.received] == ["aibot_subscribe", "aibot_send_msg"]
        assert fake.texts() == ["hello"]


def test_direct_messages_at_once_do_not_take_the_robot_from_each_other() -> None:
    with FakeWeCom() as fake:
        fake.say("known now")
        channel = make_channel(fake)
        threads = [
            threading.Thread(target=send, args=(channel, "zhangsan", f"m{n}"), kwargs={"key": f"k{n}"})
            for n in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(fake.texts()) == [f"m{n}" for n in range(6)]
        assert not any(client.is_reset for client in fake.clients)


def test_a_probe_of_a_running_channel_is_a_ping() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, _, run):
        assert channel.probe(deadline=Deadline(5)) == f"wecom_{fake.bot_id}"
        assert [one.cmd for one in fake.received] == ["aibot_subscribe", "ping"]
        assert run.error is None


def test_a_probe_without_an_owner_subscribes_and_leaves() -> None:
    with FakeWeCom() as fake:
        assert make_channel(fake).probe(deadline=Deadline(5)) == f"wecom_{fake.bot_id}"
        fake.wait_for(lambda: fake.owner is None)
        fake.revoke()
        with pytest.raises(BadCredentials):
            make_channel(fake).probe(deadline=Deadline(5))


def test_a_listed_person_is_welcomed_at_once_and_nobody_else() -> None:
    with FakeWeCom() as fake, online(fake, welcome_text="Hello!") as (_, host, _):
        # The way of the messages is blocked; a welcome does not take it.
        host.refusals += [NotStored("full")] * 1000
        fake.say("first")
        host.wait_for(lambda: host.offers)
        fake.event("enter_chat", user="stranger")
        fake.event("enter_chat", user="zhangsan")
        fake.wait_for(lambda: fake.welcomes)
        assert fake.welcomes == [("zhangsan", "Hello!")]
        assert len(fake.frames("aibot_respond_welcome_msg")) == 1
        host.refusals.clear()


def test_events_are_never_answered_like_messages() -> None:
    with FakeWeCom() as fake, online(fake) as (_, host, _):
        fake.event("enter_chat")
        fake.event("feedback_event", feedback_event={"id": "trace_1", "type": 1})
        fake.event("template_card_event", template_card_event={"task_id": "t1"})
        host.wait_for(lambda: ("card_clicked", {"task_id": "t1"}) in host.notes)
        assert ("feedback", {"id": "trace_1", "type": 1}) in host.notes
        assert [one.cmd for one in fake.received] == ["aibot_subscribe"]
        assert host.messages == []


def test_typing_without_a_stream_sends_nothing() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        assert channel.preview(inbound.address, reply_to=inbound.message_id, extra=inbound.extra) is None
        channel.show_typing(address("zhangsan"), deadline=Deadline(1))
        channel.acknowledge(inbound, deadline=Deadline(1))
        assert [one.cmd for one in fake.received] == ["aibot_subscribe"]
