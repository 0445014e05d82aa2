"""What an update means: a message, a move, or the reason why it is none of the bot's business."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from loong_channels.contract import Inbound
from loong_channels.telegram.updates import BotIdentity, ChatMoved, Skipped, UpdateReader, message_number

BOT = BotIdentity(42, "Loong_Bot")
GROUP = {"id": -1001234567890, "type": "supergroup", "title": "G"}
NOW = 1_800_000_000_000


def reader(**settings: bool) -> UpdateReader:
    return UpdateReader("work", BOT, **settings)


def message(text: str | None = "hi", **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "message_id": 5,
        "date": 1_799_999_999,
        "chat": {"id": 7, "type": "private"},
        "from": {"id": 7, "is_bot": False, "first_name": "Ann", "last_name": "Lee"},
    }
    if text is not None:
        made["text"] = text
    made.update(fields)
    return {"update_id": 1, "message": made}


def entity(kind: str, text: str, part: str, **fields: Any) -> dict[str, Any]:
    start = text.index(part)
    return {
        "type": kind,
        "offset": len(text[:start].encode("utf-16-le")) // 2,
        "length": len(part.encode("utf-16-le")) // 2,
        **fields,
    }


def read(update: dict[str, Any], **settings: bool) -> Inbound:
    reading = reader(**settings).read(update, NOW)
    assert isinstance(reading, Inbound), reading
    return reading


def test_a_private_text_becomes_a_direct_message() -> None:
    inbound = read(message("hello"))
    assert inbound.address.lane == "telegram:work:7"
    assert inbound.event_id == inbound.message_id == "7:5"
    assert (inbound.sender_id, inbound.sender_name) == ("7", "Ann Lee")
    assert (inbound.kind, inbound.addressed, inbound.edited) == ("direct", True, False)
    assert (inbound.received_ms, inbound.sent_ms) == (NOW, 1_799_999_999_000)
    assert inbound.text == "hello"


def test_numbers_of_messages_repeat_between_chats_but_ids_do_not() -> None:
    assert read(message(chat=GROUP)).message_id != read(message()).message_id
    assert message_number("7:5", "7") == 5
    assert message_number("7:5:1799-abc", "7") == 5
    assert message_number("7:5", "8") is None
    assert message_number("55", "7") == 55
    assert message_number(None, "7") is None
    assert message_number("x", "7") is None


@pytest.mark.parametrize("mention", ["@Loong_Bot", "@loong_bot", "@LOONG_BOT"])
def test_a_mention_behind_emoji_is_found_by_utf16_offsets_and_taken_out(mention: str) -> None:
    text = f"\U0001f600\U0001f468\u200d\U0001f469 {mention} what is it?"
    inbound = read(message(text, chat=GROUP, entities=[entity("mention", text, mention)]))
    assert inbound.addressed
    assert inbound.text == "\U0001f600\U0001f468\u200d\U0001f469 what is it?"


def test_a_mention_at_the_start_goes_with_its_comma() -> None:
    text = "@Loong_Bot, do this"
    assert read(message(text, entities=[entity("mention", text, "@Loong_Bot")])).text == "do this"


def test_several_mentions_are_all_taken_out() -> None:
    text = "@Loong_Bot a \U0001f600 @loong_bot b"
    entities = [entity("mention", text, "@Loong_Bot"), entity("mention", text, "@loong_bot")]
    assert read(message(text, chat=GROUP, entities=entities)).text == "a \U0001f600 b"


def test_nothing_but_a_mention_keeps_the_text() -> None:
    text = "@Loong_Bot"
    inbound = read(message(text, chat=GROUP, entities=[entity("mention", text, text)]))
    assert inbound.addressed
    assert inbound.text == text


def test_the_name_in_plain_text_is_no_mention() -> None:
    for text in ("@Loong_Botany is nice", "mail@Loong_Bot", "`@Loong_Bot`"):
        assert not read(message(text, chat=GROUP)).addressed
    text = "see @Loong_Botany"
    assert not read(message(text, chat=GROUP, entities=[entity("mention", text, "@Loong_Botany")])).addressed


def test_a_mention_in_a_caption_counts() -> None:
    caption = "\U0001f600 @loong_bot look"
    inbound = read(
        message(
            None,
            chat=GROUP,
            caption=caption,
            caption_entities=[entity("mention", caption, "@loong_bot")],
            photo=[{"file_id": "s", "file_size": 1}, {"file_id": "L", "file_size": 9}],
        )
    )
    assert inbound.addressed
    assert inbound.text == "\U0001f600 look\n[photo]"
    assert inbound.attachments[0].ref == {"file_id": "L"}


def test_a_mention_by_user_counts_only_for_the_bot() -> None:
    text = "hey Loong, x"
    ours = entity("text_mention", text, "Loong", user={"id": 42})
    other = entity("text_mention", text, "Loong", user={"id": 43})
    assert read(message(text, chat=GROUP, entities=[ours])).addressed
    assert not read(message(text, chat=GROUP, entities=[other])).addressed


def test_a_reply_to_the_bot_addresses_it_but_a_message_in_its_topic_does_not() -> None:
    reply = {"message_id": 1, "from": {"id": 42, "is_bot": True}}
    assert read(message(chat=GROUP, reply_to_message=reply)).addressed
    assert not read(message(chat=GROUP, reply_to_message={**reply, "forum_topic_created": {}})).addressed
    assert not read(message(chat=GROUP, reply_to_message={"message_id": 1, "from": {"id": 8}})).addressed


def test_commands_for_the_bot_lose_its_name_and_those_for_others_are_skipped() -> None:
    text = "/status@Loong_Bot now"
    inbound = read(message(text, chat=GROUP, entities=[entity("bot_command", text, "/status@Loong_Bot")]))
    assert inbound.addressed
    assert inbound.text == "/status now"
    text = "/status@other_bot now"
    reading = reader().read(
        message(text, chat=GROUP, entities=[entity("bot_command", text, "/status@other_bot")]), NOW
    )
    assert reading == Skipped("command_for_another_bot", "-1001234567890")
    text = "/status"
    assert not read(message(text, chat=GROUP, entities=[entity("bot_command", text, text)])).addressed


def test_a_topic_is_a_thread_but_a_thread_of_replies_is_not() -> None:
    forum = {**GROUP, "is_forum": True}
    topic = read(message(chat=forum, message_thread_id=77, is_topic_message=True))
    assert topic.address.thread == "77"
    assert read(message(chat=GROUP, message_thread_id=77)).address.thread is None
    general = read(message(chat=forum))
    assert general.address.thread is None
    assert general.extra == {"forum": True}


def test_bots_and_the_bot_itself_are_skipped() -> None:
    robot = {"id": 9, "is_bot": True, "first_name": "B"}
    assert reader().read(message(**{"from": robot}), NOW) == Skipped("bot", "7")
    assert reader().read(message(**{"from": {**robot, "id": 42}}), NOW) == Skipped("self", "7")


def test_an_anonymous_administrator_is_a_person_but_a_posting_channel_is_not() -> None:
    anonymous = {"id": 1087968824, "is_bot": True, "username": "GroupAnonymousBot"}
    inbound = read(message(chat=GROUP, sender_chat=GROUP, **{"from": anonymous}))
    assert inbound.sender_id == "1087968824"
    forged = message(chat=GROUP, sender_chat={"id": -5, "type": "channel"}, **{"from": anonymous})
    assert isinstance(reader().read(forged, NOW), Skipped)
    channel = {"id": 136817688, "is_bot": True, "username": "Channel_Bot"}
    posting = message(chat=GROUP, sender_chat={"id": -100999, "type": "channel"}, **{"from": channel})
    assert reader().read(posting, NOW) == Skipped("bot", "-1001234567890")
    forward = message(chat=GROUP, is_automatic_forward=True, **{"from": {"id": 777000, "is_bot": False}})
    assert reader().read(forward, NOW) == Skipped("channel_forward", "-1001234567890")


def test_edits_are_skipped_unless_wanted_and_then_count_only_when_the_text_changed() -> None:
    original = message("one")
    edit = {"update_id": 2, "edited_message": {**original["message"], "edit_date": 1_800_000_000}}
    assert reader().read(edit, NOW) == Skipped("edited_message")
    edits = reader(handle_edits=True)
    first = edits.read(original, NOW)
    assert edits.read(edit, NOW) == Skipped("edit_without_change", "7")
    edit["edited_message"]["text"] = "two"
    second = edits.read(edit, NOW)
    assert isinstance(first, Inbound)
    assert isinstance(second, Inbound)
    assert second.edited
    assert second.text == "two"
    assert second.event_id != first.event_id
    assert second.message_id != first.message_id
    # A new connection reads it under the same id.
    again = reader(handle_edits=True).read(edit, NOW)
    assert isinstance(again, Inbound)
    assert again.event_id == second.event_id


def test_channel_posts_are_skipped_unless_wanted() -> None:
    post = {
        "update_id": 3,
        "channel_post": {
            "message_id": 4,
            "date": 1,
            "chat": {"id": -100777, "type": "channel"},
            "sender_chat": {"id": -100777},
            "text": "news",
        },
    }
    assert reader().read(post, NOW) == Skipped("channel_post")
    inbound = read(post, handle_channel_posts=True)
    assert (inbound.kind, inbound.sender_id) == ("broadcast", None)


@pytest.mark.parametrize(
    "kind", ["my_chat_member", "callback_query", "edited_channel_post", "new_thing_of_2027"]
)
def test_other_types_are_skipped_by_name(kind: str) -> None:
    assert reader().read({"update_id": 1, kind: {}}, NOW) == Skipped(kind)


def test_service_messages_are_skipped_except_the_moves_of_groups() -> None:
    for field in ("new_chat_members", "left_chat_member", "pinned_message", "forum_topic_created"):
        assert reader().read(message(None, chat=GROUP, **{field: {}}), NOW) == Skipped(
            "service", str(GROUP["id"])
        )
    old = {"id": -55, "type": "group"}
    assert reader().read(message(None, chat=old, migrate_to_chat_id=-1001), NOW) == ChatMoved("-55", "-1001")
    new = {"id": -1001, "type": "supergroup"}
    assert reader().read(message(None, chat=new, migrate_from_chat_id=-55), NOW) == ChatMoved("-55", "-1001")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"voice": {"file_id": "v"}}, "[voice]"),
        ({"video_note": {"file_id": "v"}}, "[video note]"),
        (
            {"document": {"file_id": "d", "file_name": "../../etc/pass\u202ewd.txt"}},
            "[document ../../etc/pass wd.txt]",
        ),
        ({"sticker": {"file_id": "s", "emoji": "\U0001f600"}}, "[sticker \U0001f600]"),
        ({"location": {"latitude": 52.5, "longitude": 13.25}}, "[location 52.500000, 13.250000]"),
        ({"contact": {"first_name": "Bob", "phone_number": "1"}}, "[contact Bob]"),
        ({"poll": {"question": "Why?"}}, "[poll Why?]"),
        ({"dice": {"emoji": "\U0001f3b2", "value": 4}}, "[dice \U0001f3b2 4]"),
        ({"animation": {"file_id": "a"}, "document": {"file_id": "a"}}, "[animation]"),
    ],
)
def test_what_is_no_text_gets_a_placeholder(fields: dict[str, Any], text: str) -> None:
    assert read(message(None, **fields)).text == text


def test_names_of_files_are_cut_to_their_last_part() -> None:
    inbound = read(
        message(
            None,
            document={
                "file_id": "d",
                "file_name": "..\\..//x\ny.txt",
                "mime_type": "text/plain",
                "file_size": 3,
            },
        )
    )
    (attachment,) = inbound.attachments
    assert (attachment.kind, attachment.name, attachment.mime, attachment.size_bytes) == (
        "document",
        "x y.txt",
        "text/plain",
        3,
    )


def test_lone_surrogates_never_get_through() -> None:
    update = json.loads(json.dumps(message("a\ud83d b")))
    update["message"]["from"]["first_name"] = "\udc00x"
    inbound = read(update)
    inbound.text.encode("utf-8")
    assert inbound.sender_name is not None
    inbound.sender_name.encode("utf-8")


@pytest.mark.parametrize(
    "broken",
    [
        {"update_id": 1},
        {"update_id": 1, "message": None},
        {"update_id": 1, "message": []},
        {"update_id": 1, "message": "x"},
        {"update_id": 1, "message": {}},
        message(chat={"id": "7", "type": "private"}),
        message(chat={"id": 7.5, "type": "private"}),
        message(5),
        message(date=None),
        message(date=-1),
        message(date=10**30),
        message(chat={"id": 10**30, "type": "private"}),
        message(message_id=-(2**60)),
        message(**{"from": []}),
        message(entities=[{"type": "mention"}]),
        message(None, photo=[]),
    ],
)
def test_a_broken_update_is_skipped_and_never_raises(broken: dict[str, Any]) -> None:
    assert isinstance(reader().read(broken, NOW), Skipped)


def test_random_damage_never_raises() -> None:
    rng = random.Random(3)
    text = "hi @Loong_Bot"
    whole = message(
        text,
        chat=GROUP,
        entities=[entity("mention", text, "@Loong_Bot")],
        reply_to_message={"from": {"id": 42}},
    )
    for _ in range(2000):
        update = json.loads(json.dumps(whole))
        node: Any = update
        while isinstance(node, dict) and node:
            key = rng.choice(list(node))
            if rng.random() < 0.4 or not isinstance(node[key], dict):
                node[key] = rng.choice([None, 0, -1, "x", [], {}, [None], True, 1.5, 10**30])
                break
            node = node[key]
        assert reader(handle_edits=True).read(update, NOW) is not None
