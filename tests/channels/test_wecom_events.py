"""What callbacks mean."""

from __future__ import annotations

from typing import Any

import pytest

from loong_channels.contract import Inbound
from loong_channels.wecom.events import CallbackReader, Entered, Noted, Reading, Skipped, TakenOver
from loong_channels.wecom.frames import Frame

READER = CallbackReader("work", "bot")


def read(cmd: str = "aibot_msg_callback", **body: Any) -> Reading:
    base = {"msgid": "m1", "aibotid": "bot", "chattype": "single", "from": {"userid": "zhangsan"}}
    return READER.read(Frame(cmd, "REQ", {**base, **body}), 1000)


def message(**body: Any) -> Inbound:
    reading = read(**body)
    assert isinstance(reading, Inbound), reading
    return reading


def text(content: str, **body: Any) -> Inbound:
    return message(msgtype="text", text={"content": content}, **body)


def event(eventtype: str, **fields: Any) -> Reading:
    return read("aibot_event_callback", msgtype="event", event={"eventtype": eventtype, **fields})


def test_a_direct_message() -> None:
    inbound = text(" hello ", create_time=1700000000)
    assert inbound.address.lane == "wecom:work:zhangsan"
    assert (inbound.event_id, inbound.message_id, inbound.sender_id) == ("m1", "m1", "zhangsan")
    assert (inbound.kind, inbound.addressed, inbound.text) == ("direct", True, "hello")
    assert (inbound.sent_ms, inbound.received_ms) == (1700000000000, 1000)
    assert inbound.extra == {"req_id": "REQ", "chat_type": "single"}


def test_in_a_group_the_conversation_is_the_chat_and_the_mention_is_taken_off() -> None:
    inbound = text("@Robot\u2005what is @Ann doing", chattype="group", chatid="room")
    assert inbound.address.conversation == "room"
    assert (inbound.kind, inbound.text, inbound.sender_id) == ("group", "what is @Ann doing", "zhangsan")
    assert inbound.extra["chat_type"] == "group"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ("@Robot hello", "hello"),
        ("@Robot @Ann hello", "@Ann hello"),
        ("hello @Robot", "hello @Robot"),
        ("@Robot\nhello", "hello"),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_one_leading_mention_is_taken_off(content: str, shown: str) -> None:
    assert text(content, chattype="group", chatid="room").text == shown


def test_a_person_may_write_an_at_sign_in_a_direct_message() -> None:
    assert text("@Robot hello").text == "@Robot hello"


def test_a_mention_alone_is_no_question() -> None:
    assert read(msgtype="text", text={"content": "@Robot "}, chattype="group", chatid="room") == Skipped(
        "empty", "room"
    )


def test_without_a_chat_type_a_chat_id_makes_it_a_group() -> None:
    assert text("x", chattype=None, chatid="room").address.conversation == "room"
    assert text("x", chattype=None).address.conversation == "zhangsan"
    assert read(msgtype="text", text={"content": "x"}, chattype="group") == Skipped("no_sender")


def test_a_user_named_like_a_group_is_another_conversation_type() -> None:
    person, group = text("x", **{"from": {"userid": "room"}}), text("x", chattype="group", chatid="room")
    assert person.extra["chat_type"] != group.extra["chat_type"]


@pytest.mark.parametrize(
    ("body", "shown", "kinds"),
    [
        ({"msgtype": "voice", "voice": {"content": "spoken"}}, "spoken", []),
        ({"msgtype": "image", "image": {"url": "https://x/secret", "aeskey": "k"}}, "[image]", ["image"]),
        ({"msgtype": "file", "file": {"url": "https://x/secret", "aeskey": "k"}}, "[file]", ["file"]),
        ({"msgtype": "video", "video": {"url": "https://x/secret"}}, "[video]", ["video"]),
        (
            {
                "msgtype": "mixed",
                "mixed": {
                    "msg_item": [
                        {"msgtype": "text", "text": {"content": "look"}},
                        {"msgtype": "image", "image": {"url": "https://x/secret", "aeskey": "k"}},
                    ]
                },
            },
            "look\n[image]",
            ["image"],
        ),
    ],
)
def test_every_type_has_a_text_without_addresses(body: dict[str, Any], shown: str, kinds: list[str]) -> None:
    inbound = message(**body)
    assert inbound.text == shown
    assert [one.kind for one in inbound.attachments] == kinds
    assert all(one.ref["url"] == "https://x/secret" for one in inbound.attachments)


def test_a_quote_stands_before_the_text() -> None:
    inbound = text("why?", quote={"msgtype": "text", "text": {"content": "a\nb"}})
    assert inbound.text == "> a\n> b\n\nwhy?"
    assert text("why?", quote={"msgtype": "strange"}).text == "why?"


def test_a_quoted_picture_can_be_fetched_like_one_of_the_message() -> None:
    quote = {"msgtype": "image", "image": {"url": "https://x/quoted", "aeskey": "k"}}
    inbound = text("what is this?", quote=quote)
    assert inbound.text == "> [image]\n\nwhat is this?"
    assert [one.ref["url"] for one in inbound.attachments] == ["https://x/quoted"]
    both = message(msgtype="image", image={"url": "https://x/own"}, quote=quote)
    assert [one.ref["url"] for one in both.attachments] == ["https://x/own", "https://x/quoted"]


def test_the_older_name_of_the_callback_is_known() -> None:
    reading = read("aibot_callback", msgtype="text", text={"content": "x"})
    assert isinstance(reading, Inbound)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"msgtype": "hologram", "hologram": {}}, "unknown_msgtype"),
        ({"msgtype": "text", "text": {"content": "x"}, "aibotid": "other"}, "for_another_robot"),
        ({"msgtype": "text", "text": {"content": "x"}, "from": {}}, "no_sender"),
        ({"msgtype": "text", "text": {"content": "   "}}, "empty"),
        ({"msgtype": "text", "text": {"content": 5}}, "unknown_msgtype"),
    ],
)
def test_what_cannot_be_answered_is_skipped_by_a_name(body: dict[str, Any], reason: str) -> None:
    reading = read(**body)
    assert isinstance(reading, Skipped)
    assert reading.reason == reason


def test_a_message_without_an_id_still_has_one_for_the_store() -> None:
    assert text("x", msgid=None).event_id == "req:REQ"


def test_events() -> None:
    assert event("enter_chat") == Entered("REQ", "zhangsan", "zhangsan")
    assert event("disconnected_event") == TakenOver()
    nested = event("template_card_event", template_card_event={"task_id": "t", "event_key": "secret words"})
    assert nested == Noted("card_clicked", {"task_id": "t"})
    assert event("template_card_event", task_id="flat") == Noted("card_clicked", {"task_id": "flat"})
    assert event("feedback_event", feedback_event={"id": "trace_1", "type": 1}) == Noted(
        "feedback", {"id": "trace_1", "type": 1}
    )
    assert event("auth_change_event") == Skipped("event:auth_change_event")
    assert isinstance(READER.read(Frame("new_cmd", "x"), 1), Skipped)


def test_the_takeover_names_nobody() -> None:
    body = {"msgid": "x", "aibotid": "bot", "msgtype": "event", "event": {"eventtype": "disconnected_event"}}
    assert READER.read(Frame("aibot_event_callback", "r", body), 1) == TakenOver()
    other = {**body, "aibotid": "other"}
    assert READER.read(Frame("aibot_event_callback", "r", other), 1) == Skipped("for_another_robot")
