"""The life of a connection: subscribing, staying alive, losing it, and giving the robot up."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from dataclasses import replace
from typing import Callable

import pytest

from loong_channels.contract import Attachment
from loong_channels.faults import (
    BadAnswer,
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
from loong_channels.wecom.holdback import MAX_EVER, MAX_HELD
from tests.blocked_call import raised_when_woken
from tests.channels.wecom_rig import (
    RecordingHost,
    Running,
    Time,
    address,
    heard,
    make_channel,
    online,
    reply,
    send,
    served,
)
from tests.fakes.wecom import FakeWeCom
from tests.waiting import wait_until


def end_of(fake: FakeWeCom, **settings: object) -> BaseException | None:
    """How a connection that cannot come about ends."""
    channel = make_channel(fake, **settings)
    try:
        return Running(channel, RecordingHost()).ended()
    finally:
        channel.interrupt()


def test_it_subscribes_first_and_is_ready_only_then() -> None:
    with FakeWeCom() as fake:
        acknowledge = threading.Event()
        fake.delay("aibot_subscribe", gate=acknowledge)
        channel, host = make_channel(fake), RecordingHost()
        with served(channel, host):
            fake.wait_for(lambda: fake.received)
            assert host.identities == []
            with pytest.raises(Unreachable) as caught:
                send(channel, "zhangsan", "too early")
            assert caught.value.maybe_processed is False
            acknowledge.set()
            host.wait_for(lambda: host.identities)
        channel.interrupt()
        assert [one.cmd for one in fake.received] == ["aibot_subscribe"]
        assert fake.received[0].body == {"bot_id": fake.bot_id, "secret": fake.secret}
        assert fake.complaints == []


def test_a_wrong_secret_is_a_bad_credential_without_addresses() -> None:
    with FakeWeCom() as fake:
        fault = end_of(fake, secret="wrong-secret")
        assert isinstance(fault, BadCredentials)
        assert "853000" in str(fault)
        assert "1773643642077182456917975" in str(fault)
        for hidden in ("wrong-secret", "10.1.2.3", "https://"):
            assert hidden not in str(fault)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (853000, BadCredentials),
        (40058, BadCredentials),
        (45009, Throttled),
        (-1, Overloaded),
        (999999, BadAnswer),
    ],
)
def test_a_refusal_of_the_subscription_closes_the_connection(code: int, kind: type[Exception]) -> None:
    with FakeWeCom() as fake:
        fake.fail("aibot_subscribe", code)
        fault = end_of(fake)
        assert isinstance(fault, kind)
        if isinstance(fault, Throttled):
            assert fault.retry_after_s >= 60
        # The server would leave it open for ever.
        fake.wait_for(lambda: fake.clients[0].ended)
        assert [one.cmd for one in fake.received] == ["aibot_subscribe"]


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


def test_pings_go_on_while_messages_wait_for_room() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=0.1) as (_, host, run):
        host.refusals += [Busy("full")] * 400
        fake.say("hello")
        fake.wait_for(lambda: len(fake.frames("ping")) >= 5)
        assert run.error is None
        host.refusals.clear()
        host.wait_for(lambda: host.texts == ["hello"])


def test_pings_go_on_while_an_answer_waits_for_its_acknowledgement() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=0.1) as (channel, host, _):
        inbound = heard(fake, host)
        fake.reset_record()
        acknowledge = threading.Event()
        fake.delay("aibot_respond_msg", gate=acknowledge)
        thread = threading.Thread(target=reply, args=(channel, inbound, "slow"))
        thread.start()
        fake.wait_for(lambda: len(fake.frames("ping")) >= 3)
        acknowledge.set()
        thread.join(10)
        assert fake.texts() == ["slow"]


def test_two_missed_pings_end_the_connection() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=0.2) as (_, _, run):
        fake.silence()
        fault = run.ended()
        assert isinstance(fault, Unreachable)
        assert "pings" in str(fault)
        assert len(fake.frames("ping")) == 2


def test_a_late_pong_is_good_enough() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=0.2) as (_, _, run):
        fake.delay("ping", 0.3, times=3)
        fake.wait_for(lambda: len(fake.frames("ping")) >= 5)
        assert run.error is None


def test_a_refused_ping_does_not_count_and_846609_ends_the_connection() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=0.2) as (_, host, run):
        fake.fail("ping", 40058, times=1)
        host.wait_for(lambda: ("ping_refused", {"code": 40058}) in host.notes)
        assert run.error is None
        fake.forget_subscription()
        assert isinstance(run.ended(), Unreachable)


def test_refused_pings_end_the_connection_like_missing_ones() -> None:
    with FakeWeCom() as fake, online(fake, ping_interval_s=0.1) as (_, _, run):
        fake.fail("ping", 40058, times=100)
        assert isinstance(run.ended(), Unreachable)
        assert len(fake.frames("ping")) == 2


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
    now = Time()
    with FakeWeCom(closes_after_s=60) as fake:
        channel, host = make_channel(fake, now), RecordingHost()
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
        now.ahead_s += 7200
        fake.kick()
        fault = run.ended()
        assert isinstance(fault, Conflict)
        assert fault.retry_after_s == 60
        assert len(fake.clients) == 7


def test_two_that_want_the_robot_take_it_from_each_other_once_a_minute_at_most() -> None:
    now = Time()
    with FakeWeCom(closes_after_s=60) as fake:
        taken: list[tuple[int, float]] = []
        channels = [make_channel(fake, now), make_channel(fake, now)]
        hosts = [RecordingHost(), RecordingHost()]
        runs: list[Running | None] = [None, None]
        waits_until = [0.0, 0.0]
        for _ in range(12):
            number = waits_until.index(min(waits_until))
            now.ahead_s = max(now.ahead_s, waits_until[number])
            count = len(hosts[number].identities)
            runs[number] = Running(channels[number], hosts[number])
            hosts[number].wait_for(lambda n=number, c=count: len(hosts[n].identities) > c)
            taken.append((number, now.ahead_s))
            waits_until[number] = math.inf
            other = runs[1 - number]
            if other is not None:
                fault = other.ended()
                assert isinstance(fault, Conflict)
                assert fault.retry_after_s is not None
                waits_until[1 - number] = now.ahead_s + fault.retry_after_s
            if math.isinf(min(waits_until)):
                waits_until[1 - number] = now.ahead_s
        for number in (0, 1):
            moments = [moment for who, moment in taken if who == number]
            assert all(later - earlier >= 60 for earlier, later in zip(moments, moments[1:])), moments
            channels[number].interrupt()
        assert len(fake.clients) == 12


def test_reclaim_can_be_switched_off() -> None:
    with FakeWeCom() as fake, online(fake, reclaim=False) as (_, _, run):
        fake.kick()
        fault = run.ended()
        assert isinstance(fault, Conflict)
        assert fault.retry_after_s == float("inf")


@pytest.mark.parametrize("cmd", ["aibot_respond_msg", "aibot_send_msg"])
def test_a_takeover_leaves_what_is_being_sent_in_doubt_and_takes_nothing_more(cmd: str) -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, run):
        inbound = heard(fake, host)
        fake.delay(cmd, lost=True)
        if cmd == "aibot_send_msg":
            inbound = replace(inbound, extra={})
        fault = raised_when_woken(
            lambda: reply(channel, inbound, "x"), blocked=lambda: fake.frames(cmd), wake=fake.kick
        )
        assert isinstance(fault, Unreachable) and fault.maybe_processed
        assert isinstance(run.ended(), Conflict)
        with pytest.raises(Conflict):
            send(channel, "zhangsan", "another", key="k-2")


def test_a_takeover_right_after_the_subscription_is_no_lost_connection() -> None:
    with FakeWeCom() as fake:
        fake.delay("aibot_subscribe", lost=True)
        fake.on_request = lambda frame, when: fake.kick() if when == "processed" else None
        with served(make_channel(fake), RecordingHost()) as run:
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


def test_what_the_disk_refuses_survives_the_channel_object_too() -> None:
    with FakeWeCom() as fake:
        host = RecordingHost()
        host.refusals += [NotStored("disk full")] * 3
        with served(make_channel(fake), host):
            host.wait_for(lambda: host.identities)
            fake.say("kept")
            host.wait_for(lambda: host.offers >= 1)
        with served(make_channel(fake), host):
            host.wait_for(lambda: host.texts == ["kept"])


def test_a_push_is_never_in_doubt_however_many_messages_the_disk_refuses() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, run):
        host.refusals += [NotStored("disk full")] * 10_000
        for number in range(MAX_HELD + 200):
            fake.say(str(number), user=f"user{number % 7}")
        host.wait_for(lambda: host.offers >= 2)
        send(channel, "user1", "a push", seconds=30)
        assert [push.text for push in fake.pushes] == ["a push"]
        host.refusals.clear()
        host.wait_for(lambda: len(host.messages) == MAX_HELD + 200, 20)
        assert host.texts == [str(number) for number in range(MAX_HELD + 200)]
        assert run.error is None
        assert host.notes == []


class Gate(RecordingHost):
    """Takes nothing before it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()
        self.opened = threading.Event()

    def accept(self, batch, cursor=None):  # type: ignore[no-untyped-def]
        self.waiting.set()
        assert self.opened.wait(10)
        super().accept(batch, cursor)


@pytest.mark.parametrize("end", ["stop", "drop", "close_all", "kick"])
def test_what_has_come_before_the_end_is_taken(end: str) -> None:
    with FakeWeCom(closes_after_s=60) as fake:
        channel, host = make_channel(fake, reclaim=False), Gate()
        run = Running(channel, host)
        host.wait_for(lambda: host.identities)
        fake.say("0")
        assert host.waiting.wait(10)
        count = 200 if end == "stop" else 40
        for number in range(1, count):
            fake.say(str(number))
        if end == "stop":
            run.stop.set("test")
        else:
            getattr(fake, end)()
        host.opened.set()
        fault = run.ended()
        channel.interrupt()
        # A reset may overtake what the kernel still holds; nothing else may.
        assert host.texts == [str(number) for number in range(len(host.texts))]
        assert end == "drop" or len(host.texts) == count
        assert (fault is None) == (end == "stop")


def test_a_burst_arrives_whole_and_in_order() -> None:
    with FakeWeCom() as fake, online(fake) as (_, host, _):
        for number in range(300):
            fake.say(str(number), user=f"user{number % 7}")
        host.wait_for(lambda: len(host.messages) == 300)
        assert host.texts == [str(number) for number in range(300)]
        assert len(host.batches) < 300


@pytest.mark.parametrize(
    "moment", ["connecting", "shaking hands", "subscribing", "ready", "disk full", "lane full", "brimful"]
)
def test_a_stop_ends_run_in_every_state_and_leaves_no_thread(moment: str) -> None:
    before = set(threading.enumerate())
    with FakeWeCom() as fake, socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        host = RecordingHost()
        url = fake.url
        if moment in ("connecting", "shaking hands"):
            url = f"ws://127.0.0.1:{deaf.getsockname()[1]}"
        if moment == "subscribing":
            fake.silence()
        channel = make_channel(fake, websocket_url=url)
        with contextlib.ExitStack() as stack:
            if moment == "connecting":
                # Nobody accepts, and the queue is full: further connections are not even answered.
                for _ in range(2):
                    filler = stack.enter_context(socket.socket())
                    filler.setblocking(False)
                    filler.connect_ex(deaf.getsockname())
            run = Running(channel, host)
            if moment == "shaking hands":
                stack.enter_context(deaf.accept()[0])
            elif moment == "subscribing":
                fake.wait_for(lambda: fake.received)
            elif moment != "connecting":
                host.wait_for(lambda: host.identities)
            if moment in ("disk full", "lane full", "brimful"):
                kind = Busy if moment == "lane full" else NotStored
                host.refusals += [kind("full") for _ in range(10_000)]
                for number in range(MAX_EVER + 10 if moment == "brimful" else 1):
                    fake.say(str(number))
                host.wait_for(lambda: host.offers)
            run.stop.set("test")
            assert run.ended(2) is None
            channel.interrupt()
    wait_until(lambda: set(threading.enumerate()) <= before, 5, "the end of the threads")


@pytest.mark.parametrize("what", ["answer", "push", "probe", "connect", "fetch"])
def test_interrupt_wakes_every_kind_of_call(what: str) -> None:
    with (
        FakeWeCom() as fake,
        socket.create_server(("127.0.0.1", 0)) as deaf,
        online(fake) as (running, host, _),
    ):
        deaf.settimeout(5)
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        inbound = heard(fake, host)
        fake.reset_record()
        fake.silence()
        channel = make_channel(fake, websocket_url=f"ws://{address}") if what == "connect" else running
        picture = Attachment("file", ref={"url": f"http://{address}/x"})
        calls: dict[str, Callable[[], object]] = {
            "answer": lambda: reply(channel, inbound, "x"),
            "push": lambda: send(channel, "zhangsan", "x"),
            "probe": lambda: channel.probe(deadline=Deadline(20)),
            "connect": lambda: send(channel, "zhangsan", "x"),
            "fetch": lambda: channel.fetch(picture, max_bytes=1000, deadline=Deadline(20), stop=StopToken()),
        }
        with contextlib.ExitStack() as stack:

            def is_blocked() -> object:
                if what in ("connect", "fetch"):
                    return stack.enter_context(deaf.accept()[0])
                return fake.received

            woken = raised_when_woken(calls[what], blocked=is_blocked, wake=channel.interrupt)
        assert isinstance(woken, Interrupted)


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


def test_a_probe_whose_ping_is_refused_says_so() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, _, _):
        fake.fail("ping", 45009)
        with pytest.raises(Throttled):
            channel.probe(deadline=Deadline(5))


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
