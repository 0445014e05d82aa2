"""Answers and messages of our own: what the platform gets, whatever it answers."""

from __future__ import annotations

import threading

import pytest

from loong_channels.faults import (
    BadAnswer,
    Interrupted,
    Overloaded,
    Refused,
    Throttled,
    TimedOut,
    Unreachable,
)
from loong_channels.text import split
from loong_channels.waiting import StopToken
from loong_channels.wecom.spec import SPEC
from tests.blocked_call import raised_when_woken
from tests.channels.wecom_rig import (
    RecordingHost,
    Running,
    Time,
    heard,
    make_channel,
    online,
    reply,
    send,
    served,
)
from tests.fakes.wecom import FakeWeCom
from tests.waiting import wait_until


def test_an_answer_is_one_finished_stream_under_the_request_of_the_message() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        receipt = reply(channel, inbound, "**hi** 你好")
        (frame,) = fake.frames("aibot_respond_msg")
        assert frame.req_id == inbound.extra["req_id"]
        assert frame.body == {
            "msgtype": "stream",
            "stream": {"id": receipt.message_ids[0], "finish": True, "content": "**hi** 你好"},
        }
        assert fake.pushes == []


def test_later_parts_are_further_streams_under_the_same_request() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        text = "你好世界。\n" * 3000
        parts = split(text, SPEC.text_limit, SPEC.limit_unit)
        assert len(parts) > 2
        for number, part in enumerate(parts):
            reply(channel, inbound, part, reply_to=None if number else inbound.message_id, key=f"k-{number}")
        assert fake.texts() == parts
        assert "".join(fake.texts()) == text
        assert len({one.stream_id for one in fake.bubbles.values()}) == len(parts)
        assert fake.complaints == []


def test_two_sends_with_one_key_have_one_stream() -> None:
    with FakeWeCom(repeats_replace=True) as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        reply(channel, inbound, "once", reply_to=None, key="k")
        reply(channel, inbound, "once", reply_to=None, key="k")
        assert fake.texts() == ["once"]


@pytest.mark.parametrize("repeats_replace", [True, False])
@pytest.mark.parametrize("lost", [True, False])
def test_a_lost_or_late_acknowledgement_stops_nobody_else_and_costs_no_second_answer(
    repeats_replace: bool, lost: bool
) -> None:
    with FakeWeCom(repeats_replace=repeats_replace) as fake, online(fake, ack_s=0.3) as (channel, host, _):
        first, other = heard(fake, host), heard(fake, host, user="lisi")
        fake.delay("aibot_respond_msg", 0.4, lost=lost, conversation="zhangsan")
        faults: list[Exception] = []

        def answer() -> None:
            try:
                reply(channel, first, "slow")
            except Unreachable as fault:
                faults.append(fault)

        thread = threading.Thread(target=answer)
        thread.start()
        fake.wait_for(lambda: fake.frames("aibot_respond_msg"))
        reply(channel, other, "quick")
        assert thread.is_alive()
        thread.join(10)
        (fault,) = faults
        # Not a time-out: repeating it does no harm, so it may be repeated often.
        assert fault.maybe_processed and not isinstance(fault, TimedOut)
        reply(channel, first, "slow")
        reply(channel, first, "more", key="k2", reply_to=None)
        assert sorted(fake.texts()) == ["more", "quick", "slow"]
        assert fake.pushes == []


def test_a_late_acknowledgement_is_not_that_of_the_next_part() -> None:
    with FakeWeCom() as fake, online(fake, ack_s=0.5) as (channel, host, _):
        inbound = heard(fake, host)
        late, next_one = threading.Event(), threading.Event()
        fake.delay("aibot_respond_msg", gate=late)
        with pytest.raises(Unreachable):
            reply(channel, inbound, "one")
        fake.fail("aibot_respond_msg", 40201)
        fake.delay("aibot_respond_msg", gate=next_one)

        def acknowledge_in_order() -> bool:
            if len(fake.frames("aibot_respond_msg")) < 2:
                return False
            late.set()
            wait_until(lambda: fake.answers_sent("aibot_respond_msg") == 1)
            return True

        woken = raised_when_woken(
            lambda: reply(channel, inbound, "refused", key="k2", reply_to=None),
            blocked=acknowledge_in_order,
            wake=next_one.set,
        )
        assert isinstance(woken, Refused)
        assert fake.texts() == ["one"]


def test_frames_of_one_request_go_one_after_the_other() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", 0.01, times=100)
        threads = [
            threading.Thread(
                target=reply, args=(channel, inbound, f"p{n}"), kwargs={"key": f"k{n}", "reply_to": None}
            )
            for n in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(fake.texts()) == 12
        assert fake.max_under_way == 1
        assert fake.complaints == []


def test_fifty_conversations_at_once_each_get_their_own_answer() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        for n in range(50):
            fake.say(f"q{n}", user=f"user{n}")
        host.wait_for(lambda: len(host.messages) == 50)
        acknowledge = threading.Event()
        fake.delay("aibot_respond_msg", gate=acknowledge, times=50)
        threads = [
            threading.Thread(target=reply, args=(channel, one, f"for {one.address.conversation}"))
            for one in host.messages
        ]
        for thread in threads:
            thread.start()
        # All of them leave before the first is acknowledged.
        fake.wait_for(lambda: len(fake.frames("aibot_respond_msg")) == 50)
        acknowledge.set()
        for thread in threads:
            thread.join(20)
        assert all(fake.texts(f"user{n}") == [f"for user{n}"] for n in range(50))


@pytest.mark.parametrize("code", [846605, 846606, 846608, 40058, 999999])
@pytest.mark.parametrize("group", [None, "room"])
def test_a_reply_that_is_refused_is_pushed_once_to_its_conversation(code: int, group: str | None) -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host, group=group)
        fake.fail("aibot_respond_msg", code)
        reply(channel, inbound, "answer")
        (push,) = fake.pushes
        assert (push.conversation, push.chat_type, push.text) == (
            group or "zhangsan",
            2 if group else 1,
            "answer",
        )
        assert fake.texts() == ["answer"]


@pytest.mark.parametrize("code", [846605, 846606])
def test_a_spent_request_is_not_tried_again(code: int) -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", code)
        reply(channel, inbound, "one")
        reply(channel, inbound, "two", reply_to=None)
        assert len(fake.frames("aibot_respond_msg")) == 1
        assert [push.text for push in fake.pushes] == ["one", "two"]


def test_an_expired_stream_does_not_spend_the_request() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", 846608)
        reply(channel, inbound, "one")
        reply(channel, inbound, "two", reply_to=None)
        assert fake.texts() == ["one", "two"]
        assert len(fake.pushes) == 1


def test_a_push_that_is_refused_too_is_the_end() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", 999999, "strange, hint: [H1], from ip: 9.9.9.9")
        fake.fail("aibot_send_msg", 999998, "stranger, hint: [H2], from ip: 9.9.9.9")
        with pytest.raises(Refused) as caught:
            reply(channel, inbound, "answer")
        assert caught.value.code == "999998"
        assert "H2" in str(caught.value)
        assert "9.9.9.9" not in str(caught.value)
        assert ("reply_refused", {"code": 999999, "reason": "strange (hint H1)"}) in host.notes
        assert len(fake.received) == 3


def test_what_the_spam_check_refuses_is_not_sent_another_way() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", 40201)
        with pytest.raises(Refused):
            reply(channel, inbound, "answer")
        assert fake.frames("aibot_send_msg") == []


def test_an_unknown_conversation_is_refused_with_the_platforms_code() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, _, _):
        with pytest.raises(Refused) as caught:
            send(channel, "stranger", "hello")
        assert caught.value.code == "93006"


def test_a_push_names_the_type_of_chat_only_when_it_is_known() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        fake.allow_unknown()
        send(channel, "stranger", "a")
        inbound = heard(fake, host, group="room")
        reply(channel, inbound, "b")
        send(channel, "room", "c", key="k2")
        assert [(push.conversation, push.chat_type) for push in fake.pushes] == [
            ("stranger", None),
            ("room", 2),
        ]


def test_a_subscription_that_the_platform_forgot_ends_the_connection_and_sends_once_on_the_next() -> None:
    with FakeWeCom() as fake:
        channel, host = make_channel(fake), RecordingHost()
        run = Running(channel, host)
        host.wait_for(lambda: host.identities)
        inbound = heard(fake, host)
        fake.forget_subscription()
        with pytest.raises(Unreachable) as caught:
            reply(channel, inbound, "answer")
        assert caught.value.maybe_processed is False
        assert isinstance(run.ended(), Unreachable)
        with served(channel, host):
            host.wait_for(lambda: len(host.identities) == 2)
            reply(channel, inbound, "answer")
            assert fake.texts() == ["answer"]


def test_a_push_that_left_before_the_platform_forgot_us_may_have_arrived() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        heard(fake, host), heard(fake, host, user="lisi")
        fake.delay("aibot_send_msg", lost=True)

        def be_forgotten() -> None:
            fake.fail("aibot_send_msg", 846609)
            with pytest.raises(Unreachable) as refused:
                send(channel, "lisi", "late", key="k-2")
            assert refused.value.maybe_processed is False

        fault = raised_when_woken(
            lambda: send(channel, "zhangsan", "early"), blocked=lambda: fake.pushes, wake=be_forgotten
        )
        assert isinstance(fault, Unreachable) and fault.maybe_processed


@pytest.mark.parametrize("code", ["846607", 846607.0, True, "no", [0]])
def test_a_code_that_is_no_number_is_no_success(code: object) -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", code)  # type: ignore[arg-type]
        kind = Throttled if str(code).startswith("8") else BadAnswer
        with pytest.raises(kind):
            reply(channel, inbound, "answer")
        assert fake.pushes == []


def test_a_request_of_an_earlier_connection_and_process_is_still_answered() -> None:
    with FakeWeCom() as fake:
        with online(fake) as (_, host, _):
            inbound = heard(fake, host)
        with online(fake) as (channel, _, _):
            reply(channel, inbound, "late")
            assert fake.texts() == ["late"]
            assert fake.pushes == []
            fake.advance(90_000)
            reply(channel, inbound, "very late", reply_to=None)
            assert [push.text for push in fake.pushes] == ["very late"]


@pytest.mark.parametrize("repeats_replace", [True, False])
def test_a_connection_that_breaks_before_the_acknowledgement_costs_no_second_answer(
    repeats_replace: bool,
) -> None:
    with FakeWeCom(repeats_replace=repeats_replace) as fake:
        channel, host = make_channel(fake), RecordingHost()
        run = Running(channel, host)
        host.wait_for(lambda: host.identities)
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", lost=True)
        threading.Timer(0.1, fake.drop).start()
        with pytest.raises(Unreachable) as caught:
            reply(channel, inbound, "answer")
        assert caught.value.maybe_processed
        run.ended()
        with served(channel, host):
            host.wait_for(lambda: len(host.identities) == 2)
            reply(channel, inbound, "answer")
            assert fake.texts() == ["answer"]


def test_the_platforms_limit_is_a_wait_that_grows() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", 846607, times=6)
        waits = []
        for _ in range(6):
            with pytest.raises(Throttled) as caught:
                reply(channel, inbound, "answer")
            assert not caught.value.whole_account
            waits.append(caught.value.retry_after_s)
        assert waits == [3, 6, 12, 24, 48, 60]
        reply(channel, inbound, "answer")
        assert fake.texts() == ["answer"]
        fake.fail("aibot_respond_msg", 846607)
        with pytest.raises(Throttled) as caught:
            reply(channel, inbound, "next", reply_to=None)
        assert caught.value.retry_after_s == 3


def test_our_own_count_keeps_a_conversation_below_the_limit() -> None:
    now = Time()
    with FakeWeCom() as fake, online(fake, now) as (channel, host, _):
        fake.say("known")
        host.wait_for(lambda: host.messages)
        waited = 0
        for n in range(95):
            while True:
                try:
                    send(channel, "zhangsan", f"m{n}", key=f"k{n}")
                except Throttled as fault:
                    waited += 1
                    now.ahead_s += fault.retry_after_s
                    fake.advance(fault.retry_after_s)
                else:
                    break
        assert fake.texts() == [f"m{n}" for n in range(95)]
        assert waited >= 3
        assert all(one.code == 0 for one in fake.received)


def test_a_text_that_the_server_finds_too_long_is_cut_smaller() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        text = "".join(f"line {n} 你好\n" for n in range(600))
        fake.fail("aibot_respond_msg", 45002)
        receipt = reply(channel, inbound, text)
        assert "".join(fake.texts()) == text
        assert len(receipt.message_ids) == len(fake.texts()) > 2


def test_cutting_smaller_goes_on_where_it_stopped() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        text = "".join(f"line {n}\n" for n in range(1500))
        fake.fail("aibot_respond_msg", 45002)
        fake.fail("aibot_respond_msg", 846607, skip=1)
        with pytest.raises(Throttled):
            reply(channel, inbound, text)
        assert len(fake.texts()) == 1
        fake.fail("aibot_respond_msg", 45002)
        reply(channel, inbound, text)
        assert "".join(fake.texts()) == text


@pytest.mark.parametrize(("code", "kind"), [(45009, Throttled), (-1, Overloaded), (846607, Throttled)])
def test_what_should_only_wait_is_not_pushed(code: int, kind: type[Exception]) -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", code)
        with pytest.raises(kind):
            reply(channel, inbound, "answer")
        assert fake.frames("aibot_send_msg") == []


def test_a_push_without_an_answer_is_a_time_out_of_unknown_fate() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        heard(fake, host)
        fake.delay("aibot_send_msg", lost=True)
        with pytest.raises(TimedOut) as caught:
            send(channel, "zhangsan", "x", seconds=0.2)
        assert caught.value.maybe_processed


def test_a_stop_wakes_a_send() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", lost=True)
        stop = StopToken()
        woken = raised_when_woken(
            lambda: reply(channel, inbound, "x", stop=stop),
            blocked=lambda: fake.frames("aibot_respond_msg"),
            wake=stop.set,
        )
        assert isinstance(woken, Interrupted)


@pytest.mark.parametrize("target", ["", "a\nb", "x" * 1000])
def test_a_target_that_can_be_none_is_refused_here(target: str) -> None:
    with FakeWeCom() as fake, online(fake) as (channel, _, _):
        with pytest.raises(Refused) as caught:
            send(channel, target, "x")
        assert caught.value.code == "bad_target"


def test_no_fault_holds_the_secret_or_the_text() -> None:
    with FakeWeCom() as fake, online(fake) as (channel, host, _):
        inbound = heard(fake, host)
        for code in (40201, 846607, 45009, -1):
            fake.fail("aibot_respond_msg", code, f"refused {fake.secret[:0]}")
            with pytest.raises(Exception) as caught:
                reply(channel, inbound, "private words")
            assert fake.secret not in str(caught.value)
            assert "private words" not in str(caught.value)
        assert fake.secret not in repr(host.notes)
