"""Answers that grow: one bubble, cumulative frames, and exactly one end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from loong_channels.contract import Inbound, Preview
from loong_channels.faults import Throttled
from loong_channels.waiting import Deadline
from loong_channels.wecom.channel import Channel
from loong_channels.wecom.preview import PLACEHOLDER
from tests.channels.wecom_rig import RecordingHost, Time, heard, online, reply
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


@contextmanager
def streaming(fake: FakeWeCom, **options: Any) -> Iterator[tuple[Channel, RecordingHost, Time]]:
    """A channel that streams, on a clock of the test."""
    now = Time()
    with online(fake, now, streaming_mode="stream", **options) as (channel, host, _):
        yield channel, host, now


def acknowledged(fake: FakeWeCom) -> None:
    """Wait until nothing is under way; then give the answer time to be read, by a frame that comes after it."""
    fake.wait_for(lambda: fake.answers_sent("aibot_respond_msg") == len(frames(fake)))


def grow(
    fake: FakeWeCom, channel: Channel, preview: Preview, now: Time, text: str, seconds: float = 1.0
) -> None:
    """Let time pass and show more, with every earlier frame acknowledged and read."""
    acknowledged(fake)
    channel.probe(deadline=Deadline(5))
    now.ahead_s += seconds
    fake.advance(seconds)
    preview.update(text)


def test_a_growing_answer_is_one_stream_with_one_end() -> None:
    with FakeWeCom() as fake, streaming(fake) as (channel, host, now):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        channel.show_typing(inbound.address, deadline=Deadline(1))
        text = ""
        for _ in range(60):
            text += "word "
            grow(fake, channel, preview, now, text, 0.1)
        assert preview.finish() == {}
        receipt = reply(channel, inbound, text + "end")
        bubble = bubble_of(fake)
        assert receipt.message_ids == (bubble.stream_id,)
        assert bubble.frames[0] == PLACEHOLDER
        # Six seconds, and at most a frame in 0.8 of them.
        assert 7 <= len(bubble.frames) <= 10
        assert all(later.startswith(earlier) for earlier, later in zip(bubble.frames[1:], bubble.frames[2:]))
        assert bubble.text == text + "end"
        assert [one.body["stream"]["finish"] for one in frames(fake)].count(True) == 1
        assert fake.complaints == []
        assert fake.texts() == [bubble.text]


def test_a_stream_has_eighty_five_frames_at_most_in_all_its_time() -> None:
    with FakeWeCom() as fake, streaming(fake) as (channel, host, now):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        for second in range(0, 700, 2):
            grow(fake, channel, preview, now, f"text {second}", 2.0)
        shown = len(frames(fake))
        assert 70 <= shown <= 85
        # None after the time in which the platform would show it.
        assert bubble_of(fake).frames[-1] <= "text 572"
        assert all(one.code == 0 for one in fake.received)


def test_a_quick_answer_has_no_preview_at_all() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        preview.finish()
        reply(channel, inbound, "quick")
        assert len(frames(fake)) == 1


def test_updates_never_wait_for_slow_acknowledgements_and_the_end_is_never_left_out() -> None:
    with FakeWeCom() as fake, streaming(fake) as (channel, host, now):
        inbound = heard(fake, host)
        acknowledge = threading.Event()
        fake.delay("aibot_respond_msg", gate=acknowledge)
        preview = begun(channel, inbound)
        for number in range(1, 50):
            now.ahead_s += 0.05
            preview.update("x" * number)
        assert len(frames(fake)) <= 1
        preview.finish()
        acknowledge.set()
        reply(channel, inbound, "whole")
        assert fake.texts() == ["whole"]
        assert fake.max_under_way == 1


@pytest.mark.parametrize("lost", [True, False])
def test_an_acknowledgement_of_the_preview_that_is_lost_or_late_hides_no_refusal(lost: bool) -> None:
    with FakeWeCom() as fake, streaming(fake, ack_s=0.4) as (channel, host, _):
        inbound = heard(fake, host)
        late, last = threading.Event(), threading.Event()
        fake.delay("aibot_respond_msg", gate=late, lost=lost)
        fake.fail("aibot_respond_msg", 846608, finish=True)
        fake.delay("aibot_respond_msg", gate=last, finish=True)
        preview = begun(channel, inbound)
        preview.update("one")
        fake.wait_for(lambda: len(frames(fake)) == 1)
        preview.finish()
        thread = threading.Thread(target=reply, args=(channel, inbound, "one two"))
        thread.start()
        fake.wait_for(lambda: len(frames(fake)) == 2)
        late.set()
        fake.wait_for(lambda: lost or fake.answers_sent("aibot_respond_msg") == 1)
        last.set()
        thread.join(10)
        assert [push.text for push in fake.pushes] == ["one two"]


@pytest.mark.parametrize("code", [846605, 846606, 846607, 846608, 999999])
def test_a_preview_that_is_refused_in_the_middle_is_over(code: int) -> None:
    with FakeWeCom() as fake, streaming(fake) as (channel, host, now):
        inbound = heard(fake, host, group="room")
        fake.fail("aibot_respond_msg", code, times=1, skip=1)
        preview = begun(channel, inbound)
        for number in range(30):
            grow(fake, channel, preview, now, f"text {number}", 20.0)
            channel.show_typing(inbound.address, deadline=Deadline(1))
        assert [one.code for one in frames(fake)] == [0, code]
        preview.finish()
        # It is the text that is tried again, as patiently as it takes.
        fake.advance(-600)
        if code == 846607:
            fake.fail("aibot_respond_msg", code)
            with pytest.raises(Throttled) as caught:
                reply(channel, inbound, "the whole text")
            assert caught.value.retry_after_s == 3
        elif code in (846605, 846606):
            fake.fail("aibot_respond_msg", code)
        reply(channel, inbound, "the whole text")
        assert fake.texts() == ["the whole text"]
        assert [(push.conversation, push.chat_type) for push in fake.pushes] == (
            [("room", 2)] if code in (846605, 846606) else []
        )


def test_a_stream_is_left_alone_when_its_time_is_over_and_the_answer_is_pushed() -> None:
    with FakeWeCom() as fake, streaming(fake) as (channel, host, now):
        inbound = heard(fake, host)
        preview = begun(channel, inbound)
        preview.update("one")
        acknowledged(fake)
        channel.probe(deadline=Deadline(5))
        for seconds, count in ((230, 1), (20, 2), (100, 2), (150, 3)):
            now.ahead_s += seconds
            fake.advance(seconds)
            # A long silence is broken by the same text once more.
            channel.show_typing(inbound.address, deadline=Deadline(1))
            assert bubble_of(fake).frames == ["one"] * len(bubble_of(fake).frames)
            fake.wait_for(lambda n=count: len(frames(fake)) == n)
            acknowledged(fake)
            channel.probe(deadline=Deadline(5))
        grow(fake, channel, preview, now, "one two", 110)
        channel.show_typing(inbound.address, deadline=Deadline(1))
        assert len(frames(fake)) == 3
        preview.finish()
        reply(channel, inbound, "one two three")
        assert fake.texts() == ["one two three"]
        assert len(fake.pushes) == 1


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


def test_what_is_no_answer_to_a_message_has_no_preview() -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        assert channel.preview(inbound.address, reply_to=None, extra=inbound.extra) is None
        assert channel.preview(inbound.address, reply_to="m", extra={}) is None
