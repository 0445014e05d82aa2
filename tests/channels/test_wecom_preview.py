"""Answers that grow: one bubble, cumulative frames, and exactly one end."""

from __future__ import annotations

import time

import pytest

from loong_channels.contract import Inbound, Preview
from loong_channels.waiting import Deadline
from loong_channels.wecom.channel import Channel
from loong_channels.wecom.preview import PLACEHOLDER
from tests.channels.wecom_rig import RecordingHost, Running, heard, make_channel, online, reply
from tests.fakes.wecom import Bubble, FakeWeCom, Received


def begun(channel: Channel, inbound: Inbound) -> Preview:
    preview = channel.preview(inbound.address, reply_to=inbound.message_id, extra=inbound.extra)
    assert preview is not None
    return preview


def frames(fake: FakeWeCom) -> list[Received]:
    return fake.frames("aibot_respond_msg")


def bubble_of(fake: FakeWeCom) -> Bubble:
    (bubble,) = fake.bubbles.values()
    return bubble


class Time:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


def test_a_growing_answer_is_one_stream_with_one_end() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        channel.show_typing(inbound.address, deadline=Deadline(1))
        fake.wait_for(lambda: len(frames(fake)) == 1)
        text = ""
        end = time.monotonic() + 3
        while time.monotonic() < end:
            text += "word "
            preview.update(text)
            time.sleep(0.01)
        assert preview.finish() == {}
        receipt = reply(channel, inbound, text + "end")
        bubble = bubble_of(fake)
        assert receipt.message_ids == (bubble.stream_id,)
        assert bubble.frames[0] == PLACEHOLDER
        assert 4 <= len(bubble.frames) <= 7
        assert all(later.startswith(earlier) for earlier, later in zip(bubble.frames[1:], bubble.frames[2:]))
        assert bubble.text == text + "end"
        assert [one.body["stream"]["finish"] for one in frames(fake)].count(True) == 1
        assert fake.complaints == []
        assert fake.texts() == [bubble.text]


def test_a_quick_answer_has_no_preview_at_all() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        preview.finish()
        reply(channel, inbound, "quick")
        assert len(frames(fake)) == 1


def test_updates_never_wait_for_slow_acknowledgements_and_the_end_is_never_left_out() -> None:
    now = Time()
    with FakeWeCom() as fake:
        channel, host = make_channel(fake, now, streaming_mode="stream"), RecordingHost()
        run = Running(channel, host)
        host.wait_for(lambda: host.identities)
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", 0.5)
        preview = begun(channel, inbound)
        before = time.monotonic()
        for number in range(1, 50):
            now.ahead_s += 0.05
            preview.update("x" * number)
        assert time.monotonic() - before < 0.4
        assert len(frames(fake)) <= 1
        preview.finish()
        reply(channel, inbound, "whole")
        assert fake.texts() == ["whole"]
        assert fake.max_under_way == 1
        run.stop.set("over")
        run.ended(2)
        channel.interrupt()


@pytest.mark.parametrize("lost", [True, False])
def test_an_acknowledgement_of_the_preview_that_is_lost_or_late_hides_no_refusal(lost: bool) -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        fake.delay("aibot_respond_msg", 5.5, lost=lost)
        fake.fail("aibot_respond_msg", 846608, finish=True)
        fake.delay("aibot_respond_msg", 2.0, finish=True)
        preview = begun(channel, inbound)
        preview.update("one")
        fake.wait_for(lambda: len(frames(fake)) == 1)
        preview.finish()
        reply(channel, inbound, "one two")
        assert [push.text for push in fake.pushes] == ["one two"]


@pytest.mark.parametrize("code", [846605, 846606, 846608])
def test_a_stream_that_dies_in_the_middle_ends_as_one_push(code: int) -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host, group="room")
        fake.fail("aibot_respond_msg", code, times=10, skip=1)
        preview = begun(channel, inbound)
        preview.update("one")
        fake.wait_for(lambda: len(frames(fake)) == 1)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            preview.update(f"one two {time.monotonic()}")
            time.sleep(0.02)
        assert len(frames(fake)) == 2
        preview.finish()
        reply(channel, inbound, "one two three")
        (push,) = fake.pushes
        assert (push.conversation, push.chat_type, push.text) == ("room", 2, "one two three")


def test_a_stream_is_left_alone_when_its_time_is_over_and_the_answer_is_pushed() -> None:
    now = Time()
    with FakeWeCom() as fake:
        channel, host = make_channel(fake, now, streaming_mode="stream"), RecordingHost()
        run = Running(channel, host)
        host.wait_for(lambda: host.identities)
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        preview.update("one")
        fake.wait_for(lambda: preview._waiting.settled)  # type: ignore[attr-defined]
        now.ahead_s += 300
        fake.advance(300)
        # A long silence is broken by the same text once more.
        channel.show_typing(inbound.address, deadline=Deadline(1))
        fake.wait_for(lambda: len(frames(fake)) == 2)
        assert bubble_of(fake).frames == ["one", "one"]
        # An answer that comes after its time could be taken for the next one's.
        fake.wait_for(lambda: preview._waiting.settled)  # type: ignore[attr-defined]
        now.ahead_s += 310
        fake.advance(310)
        preview.update("one two")
        channel.show_typing(inbound.address, deadline=Deadline(1))
        assert len(frames(fake)) == 2
        preview.finish()
        reply(channel, inbound, "one two three")
        assert fake.texts() == ["one two three"]
        assert len(fake.pushes) == 1
        run.stop.set("over")
        run.ended(2)
        channel.interrupt()


def test_the_failure_text_takes_over_the_bubble_of_an_answer_that_was_given_up() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        preview.update("half an ans")
        preview.abandon()
        preview.update("more")
        reply(channel, inbound, "Sorry, that did not work.")
        assert bubble_of(fake).frames == ["half an ans", "Sorry, that did not work."]
        assert bubble_of(fake).finished


def test_a_second_try_goes_on_in_the_same_bubble_even_in_another_process() -> None:
    with FakeWeCom() as fake:
        with online(fake, streaming_mode="stream") as (channel, host, _):
            inbound = heard(fake, host)
            begun(channel, inbound).update("first tr")
            fake.wait_for(lambda: fake.bubbles)
        with online(fake, streaming_mode="stream") as (channel, _, _):
            preview = begun(channel, inbound)
            preview.update("second try")
            preview.finish()
            reply(channel, inbound, "second try works")
        assert bubble_of(fake).frames == ["first tr", "second try", "second try works"]
        assert fake.texts() == ["second try works"]


def test_a_bubble_that_nobody_continues_is_ended_when_the_conversation_goes_on() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        first = heard(fake, host, "long question")
        preview = begun(channel, first)
        preview.update("half an ans")
        preview.abandon()
        second = heard(fake, host, "/stop")
        reply(channel, second, "stopped")
        fake.wait_for(lambda: all(one.finished for one in fake.bubbles.values()))
        assert sorted(fake.texts()) == ["half an ans", "stopped"]


def test_the_preview_of_a_long_answer_shows_its_first_part() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        preview.update("你好。" * 20_000)
        fake.wait_for(lambda: fake.bubbles)
        shown = bubble_of(fake).text
        assert 10_000 < len(shown.encode()) <= 20_480


def test_a_preview_without_a_connection_is_quiet() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, run):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        fake.drop()
        run.ended()
        preview.update("x")
        channel.show_typing(inbound.address, deadline=Deadline(1))
        preview.abandon()


def test_a_preview_that_is_too_much_for_the_platform_pauses() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        fake.fail("aibot_respond_msg", 846607)
        preview = begun(channel, inbound)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            preview.update(f"text {time.monotonic()}")
            time.sleep(0.02)
        assert len(frames(fake)) == 1
        preview.finish()
        reply(channel, inbound, "answer")
        assert fake.texts() == ["answer"]


def test_what_is_no_answer_to_a_message_has_no_preview() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        assert channel.preview(inbound.address, reply_to=None, extra=inbound.extra) is None
        assert channel.preview(inbound.address, reply_to="m", extra={}) is None
