"""Previews: paced, replaced by the final text exactly once, and never more important than the answer."""

from __future__ import annotations

import pytest

from loong_channels import faults
from loong_channels.net import Egress, HttpClient
from loong_channels.telegram.api import BotApi
from loong_channels.telegram.messages import Messages, Place, Text
from loong_channels.telegram.pacing import PreviewPaces
from loong_channels.telegram.preview import DraftSupport, GrowingMessage
from loong_channels.waiting import Deadline
from tests.channels.telegram_rig import address, make_channel, send
from tests.fakes.telegram import FakeTelegram

GROUP = -1001234567890


@pytest.fixture
def fake():
    with FakeTelegram() as server:
        server.add_private(1001)
        server.add_supergroup(GROUP, topics=(77,))
        yield server
        assert server.complaints == []
        assert server.early_sends == {}


class Stage:
    """Previews on a clock that the test moves."""

    def __init__(self, fake: FakeTelegram, *, drafts: bool = True) -> None:
        self.now = 1000.0
        self.paces = PreviewPaces(lambda: self.now)
        self.drafts = DraftSupport()
        self.drafts.available = drafts
        api = BotApi(HttpClient(Egress()), fake.base_url, fake.token)
        self.messages = Messages(api, lambda event: None)

    def preview(self, chat: int, thread: int | None = None, reply_to: int | None = None) -> GrowingMessage:
        return GrowingMessage(self.messages, self.paces, self.drafts, Place(str(chat), thread), reply_to)


def sends(fake: FakeTelegram) -> list[str]:
    return [request.method for request in fake.requests if request.method != "getme"]


def test_an_account_without_previews_has_none(fake: FakeTelegram) -> None:
    assert make_channel(fake).preview(address(1001), reply_to=None, extra={}) is None
    assert make_channel(fake, streaming_mode="off").preview(address(1001), reply_to=None, extra={}) is None
    drafting = make_channel(fake, streaming_mode="draft")
    assert drafting.preview(address("no chat"), reply_to=None, extra={}) is None
    assert drafting.preview(address(1001), reply_to=None, extra={}) is not None


def test_a_private_chat_sees_a_draft_and_the_answer_is_one_message(fake: FakeTelegram) -> None:
    stage = Stage(fake)
    preview = stage.preview(1001)
    for text in ("Hel", "Hello **wor", "Hello **world**"):
        preview.update(text)
        stage.now += 1
    assert [draft[3] for draft in fake.drafts] == ["Hel", "Hello **wor", "Hello world"]
    assert len({draft[2] for draft in fake.drafts}) == 1
    assert preview.finish() == {}
    send(make_channel(fake), 1001, "Hello **world**!", extra=preview.finish())
    assert fake.texts(1001) == ["Hello world!"]


def test_a_server_without_drafts_gets_a_message_that_is_edited_from_then_on(fake: FakeTelegram) -> None:
    fake.has_drafts = False
    stage = Stage(fake)
    stage.preview(1001).update("one")
    stage.now += 1
    stage.preview(1001).update("two")
    assert sends(fake) == ["sendmessagedraft", "sendmessage", "sendmessage"]


def test_a_group_sees_one_message_that_becomes_the_answer(fake: FakeTelegram) -> None:
    stage = Stage(fake)
    said = fake.say("question", GROUP, thread_id=77)
    preview = stage.preview(GROUP, 77, said.message_id)
    preview.update("Hel")
    stage.now += 3
    preview.update("Hello **wor")
    (shown,) = fake.messages
    assert (shown.thread_id, shown.reply_to) == (77, said.message_id)
    extra = preview.finish()
    assert extra == {"preview_message_id": str(shown.message_id)}
    receipt = send(make_channel(fake), GROUP, "Hello **world**", thread="77", extra=extra)
    assert fake.texts(GROUP) == ["Hello world"]
    assert receipt.message_ids == (str(shown.message_id),)
    assert [text for _, text in shown.edits] == ["Hello **wor", "Hello world"]


@pytest.mark.parametrize(("chat", "requests"), [(1001, 10), (GROUP, 4)])
def test_updates_that_come_too_early_are_left_out(fake: FakeTelegram, chat: int, requests: int) -> None:
    stage = Stage(fake, drafts=False)
    preview = stage.preview(chat)
    text = ""
    for _ in range(80):
        text += "word "
        preview.update(text)
        stage.now += 0.125
    # Ten seconds, one request each second; in groups one each third.
    assert len(sends(fake)) == requests


def test_two_answers_in_one_chat_share_its_pace(fake: FakeTelegram) -> None:
    stage = Stage(fake)
    stage.preview(1001).update("a")
    stage.preview(1001).update("b")
    assert len(sends(fake)) == 1


def test_what_shows_nothing_new_costs_no_request(fake: FakeTelegram) -> None:
    stage = Stage(fake, drafts=False)
    preview = stage.preview(1001)
    for text in ("", "  ", "a", "a ", "a\n"):
        preview.update(text)
        stage.now += 1
    assert sends(fake) == ["sendmessage"]


def test_a_long_text_shows_what_its_first_part_will_be(fake: FakeTelegram) -> None:
    stage = Stage(fake, drafts=False)
    preview = stage.preview(1001)
    text = "word " * 2000
    preview.update(text)
    stage.now += 1
    preview.update(text + "more")
    assert sends(fake) == ["sendmessage"]
    assert len(fake.messages[0].text) <= 4000


def test_a_preview_that_is_told_to_wait_waits_and_then_goes_on(fake: FakeTelegram) -> None:
    stage = Stage(fake, drafts=False)
    preview = stage.preview(1001)
    fake.fault("sendMessage", "too_many", retry_after=5)
    preview.update("one")
    stage.now += 4
    preview.update("one two")
    assert len(sends(fake)) == 1
    assert preview.finish() == {}
    fake.chats[1001].flood_until = 0
    stage.now += 1
    preview.update("one two three")
    assert fake.texts(1001) == ["one two three"]


def test_a_preview_that_is_told_to_wait_does_not_hold_up_the_answer(fake: FakeTelegram) -> None:
    stage = Stage(fake, drafts=False)
    fake.fault("sendMessage", "too_many", retry_after=5)
    stage.preview(1001).update("one")
    fake.chats[1001].flood_until = 0
    stage.messages.send(Place("1001"), Text("the answer"), None, deadline=Deadline(5))
    assert fake.texts(1001) == ["the answer"]


@pytest.mark.parametrize("kind", ["status", "reset", "html", "null"])
def test_trouble_with_a_preview_is_never_raised_and_soon_ends_it(fake: FakeTelegram, kind: str) -> None:
    stage = Stage(fake, drafts=False)
    preview = stage.preview(1001)
    fake.fault("sendMessage", kind, times=None)
    for n in range(6):
        preview.update(f"text {n}")
        stage.now += 1
    assert 1 <= len(sends(fake)) <= 2
    assert preview.finish() == {}
    preview.abandon()


def test_a_first_preview_whose_answer_was_lost_is_not_sent_twice(fake: FakeTelegram) -> None:
    stage = Stage(fake, drafts=False)
    preview = stage.preview(1001)
    fake.fault("sendMessage", "lost")
    preview.update("one")
    stage.now += 5
    preview.update("two")
    assert sends(fake) == ["sendmessage"]


def test_an_abandoned_preview_is_taken_away(fake: FakeTelegram) -> None:
    stage = Stage(fake)
    preview = stage.preview(GROUP)
    preview.update("half an ans")
    preview.abandon()
    stage.now += 10
    preview.update("more")
    assert fake.texts(GROUP) == []
    assert sends(fake) == ["sendmessage", "deletemessage"]


def shown(fake: FakeTelegram) -> dict[str, object]:
    preview = Stage(fake).preview(GROUP)
    preview.update("Half an ans")
    return dict(preview.finish())


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("status", {"status": 400, "description": "Bad Request: message to edit not found"}),
        ("status", {"status": 400, "description": "Bad Request: message can't be edited"}),
        ("status", {"status": 400, "description": "Bad Request: whatever is new in 2027"}),
        ("status", {"status": 500, "times": 2}),
        ("html", {"times": 2}),
        ("lost", {"times": 2}),
        ("null", {"times": 2}),
    ],
)
def test_whatever_fails_in_the_last_edit_the_answer_is_there_exactly_once(
    fake: FakeTelegram, kind: str, details: dict[str, object]
) -> None:
    extra = shown(fake)
    fake.fault("editMessageText", kind, **details)
    send(make_channel(fake), GROUP, "The **whole** answer", extra=extra)
    assert fake.texts(GROUP) == ["The whole answer"]


def test_a_last_edit_whose_answer_was_lost_is_recognised(fake: FakeTelegram) -> None:
    extra = shown(fake)
    fake.fault("editMessageText", "lost")
    receipt = send(make_channel(fake), GROUP, "The whole answer", extra=extra)
    assert fake.texts(GROUP) == ["The whole answer"]
    assert receipt.message_ids == (extra["preview_message_id"],)
    assert sends(fake) == ["sendmessage", "editmessagetext", "editmessagetext"]


def test_a_last_edit_that_changes_nothing_is_a_success(fake: FakeTelegram) -> None:
    extra = shown(fake)
    send(make_channel(fake), GROUP, "Half an ans", extra=extra)
    assert fake.texts(GROUP) == ["Half an ans"]
    assert sends(fake) == ["sendmessage", "editmessagetext"]


def test_a_last_edit_with_refused_markup_falls_back_to_plain_text(fake: FakeTelegram) -> None:
    extra = shown(fake)
    fake.fault("editMessageText", "status", status=400, description="Bad Request: can't parse entities: x")
    send(make_channel(fake), GROUP, "**all**", extra=extra)
    assert fake.texts(GROUP) == ["**all**"]
    assert sends(fake) == ["sendmessage", "editmessagetext", "editmessagetext"]


def test_a_last_edit_that_must_wait_says_how_long_and_succeeds_later(fake: FakeTelegram) -> None:
    extra = shown(fake)
    fake.fault("editMessageText", "too_many", retry_after=3)
    with pytest.raises(faults.Throttled) as caught:
        send(make_channel(fake), GROUP, "The whole answer", extra=extra)
    assert caught.value.retry_after_s == 3
    assert fake.texts(GROUP) == ["Half an ans"]
    fake.chats[GROUP].flood_until = 0
    send(make_channel(fake), GROUP, "The whole answer", extra=extra)
    assert fake.texts(GROUP) == ["The whole answer"]


def test_a_preview_that_cannot_be_deleted_does_not_fail_the_answer(fake: FakeTelegram) -> None:
    extra = shown(fake)
    fake.fault("editMessageText", "status", status=400, description="Bad Request: message can't be edited")
    fake.fault("deleteMessage", "status", status=400, description="Bad Request: message can't be deleted")
    send(make_channel(fake), GROUP, "The whole answer", extra=extra)
    assert fake.texts(GROUP)[-1] == "The whole answer"


def test_only_the_first_of_several_parts_replaces_the_preview(fake: FakeTelegram) -> None:
    extra = shown(fake)
    channel = make_channel(fake)
    send(channel, GROUP, "part one", extra=extra, key="a")
    send(channel, GROUP, "part two", key="b")
    assert fake.texts(GROUP) == ["part one", "part two"]


@pytest.mark.parametrize("value", ["", "x", None, -1, {}, "12:x"])
def test_a_preview_id_that_is_none_is_ignored(fake: FakeTelegram, value: object) -> None:
    send(make_channel(fake), GROUP, "answer", extra={"preview_message_id": value})
    assert fake.texts(GROUP) == ["answer"]
    assert sends(fake) == ["sendmessage"]
