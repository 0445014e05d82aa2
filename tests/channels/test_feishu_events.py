"""Events become messages, or a word for why not; nothing that comes makes the reader fall over."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from loong_channels.contract import Inbound
from loong_channels.decoding import load_json
from loong_channels.feishu.events import EventReader, Reading, Recalled, Skipped
from loong_channels.feishu.identity import BotIdentity

APP = "cli_a1b2c3"
BOT = BotIdentity("ou_bot", "loong-bot")
NOW_MS = 1_774_004_600_000
OURS = {
    "key": "@_user_1",
    "id": {"union_id": "on_b", "user_id": "", "open_id": "ou_bot"},
    "mentioned_type": "bot",
    "name": "loong-bot",
    "tenant_key": "t",
}
ANN = {"key": "@_user_10", "id": {"open_id": "ou_ann"}, "mentioned_type": "user", "name": "Ann\nLee"}


def event(
    content: object = None,
    kind: str = "text",
    *,
    chat_type: str = "p2p",
    mentions: list[dict[str, Any]] | None = None,
    sender_type: str = "user",
    sender: str | None = "ou_sender",
    event_id: str = "ev-1",
    **fields: object,
) -> dict[str, Any]:
    message: dict[str, Any] = {
        "message_id": "om_1",
        "create_time": "1774004591214",
        "update_time": "1774004591214",
        "chat_id": "oc_chat",
        "chat_type": chat_type,
        "message_type": kind,
        "content": content if isinstance(content, str) else json.dumps(content, ensure_ascii=False),
        **fields,
    }
    if mentions is not None:
        message["mentions"] = mentions
    return {
        "schema": "2.0",
        "header": {
            "event_id": event_id,
            "token": "",
            "create_time": "1774004591300",
            "event_type": "im.message.receive_v1",
            "tenant_key": "t",
            "app_id": APP,
        },
        "event": {
            "sender": {"sender_id": {"open_id": sender, "user_id": None}, "sender_type": sender_type},
            "message": message,
        },
    }


def read(envelope: object, bot: BotIdentity = BOT, *, ignore_bots: bool = True) -> Inbound | Skipped:
    return EventReader("work", APP, bot, ignore_bots=ignore_bots).read(envelope, NOW_MS)


def taken(envelope: object, bot: BotIdentity = BOT, **options: Any) -> Inbound:
    reading = read(envelope, bot, **options)
    assert isinstance(reading, Inbound), reading
    return reading


def text_of(content: object, kind: str = "text", **fields: Any) -> str:
    return taken(event(content, kind, **fields)).text


def test_a_direct_message_carries_everything_that_is_known() -> None:
    inbound = taken(event({"text": 'hi\n"there" \\ 😀'}))
    assert inbound.address.lane == "feishu:work:oc_chat"
    assert (inbound.event_id, inbound.message_id, inbound.sender_id) == ("ev-1", "om_1", "ou_sender")
    assert inbound.text == 'hi\n"there" \\ 😀'
    assert (inbound.sent_ms, inbound.received_ms) == (1_774_004_591_214, NOW_MS)
    assert (inbound.kind, inbound.addressed, inbound.sender_is_bot, inbound.edited) == (
        "direct",
        True,
        False,
        False,
    )
    assert (inbound.attachments, inbound.extra, inbound.sender_name) == ((), {}, None)


@pytest.mark.parametrize(
    ("chat_type", "kind"),
    [
        ("p2p", "direct"),
        ("private", "direct"),
        ("group", "group"),
        ("topic", "group"),
        ("public", "group"),
        ("topic_group", "group"),
        (None, "group"),
    ],
)
def test_kinds_of_chats(chat_type: Any, kind: str) -> None:
    inbound = taken(event({"text": "x"}, chat_type=chat_type))
    assert (inbound.kind, inbound.addressed) == (kind, kind == "direct")


def test_a_topic_is_a_thread_and_its_answers_know_what_to_reply_to() -> None:
    inbound = taken(
        event({"text": "x"}, chat_type="group", thread_id="omt_7", root_id="om_0", parent_id="om_0")
    )
    assert inbound.address.thread == "omt_7"
    assert inbound.extra == {"message_id": "om_1"}
    # A reply without a topic stays in the conversation.
    assert taken(event({"text": "x"}, root_id="om_0", parent_id="om_0")).address.thread is None


def test_our_mention_addresses_and_is_taken_out_and_the_others_become_names() -> None:
    inbound = taken(
        event({"text": "@_user_1 ask @_user_10 about @_user_2"}, chat_type="group", mentions=[OURS, ANN])
    )
    assert inbound.addressed
    assert inbound.text == "ask @Ann Lee about @_user_2"
    assert text_of({"text": "@_user_1 /status"}, mentions=[OURS]) == "/status"
    assert text_of({"text": "@_user_1, /status  "}, mentions=[OURS]) == "/status"
    assert text_of({"text": "tell me @_user_1"}, mentions=[OURS]) == "tell me"
    assert text_of({"text": ", not ours"}) == ", not ours"
    assert text_of({"text": "@_user_1"}, mentions=[OURS]) == "@loong-bot"


def test_a_mention_of_somebody_else_or_of_everybody_does_not_address() -> None:
    other_bot = {**ANN, "key": "@_user_1", "mentioned_type": "bot"}
    everybody = {"key": "@_all", "id": {"user_id": "all"}, "name": "Everyone"}
    for text, mentions in (
        ("@_user_10 hi", [ANN]),
        ("@_user_1 hi", [other_bot]),
        ("@_all hi", [everybody]),
        ("@_all hi", None),
        ("hi", None),
    ):
        inbound = taken(event({"text": text}, chat_type="group", mentions=mentions))
        assert not inbound.addressed, text
    assert text_of({"text": "@_all hi"}, chat_type="group") == "@all hi"
    assert text_of({"text": "mail@_allies hi"}, chat_type="group") == "mail@_allies hi"


def test_without_knowing_ourselves_a_mentioned_bot_is_us() -> None:
    envelope = event({"text": "@_user_1 hi"}, chat_type="group", mentions=[OURS])
    assert taken(envelope, BotIdentity("")).addressed
    assert not taken(envelope, BotIdentity("ou_someone_else")).addressed
    person = event({"text": "@_user_10 hi"}, chat_type="group", mentions=[ANN])
    assert not taken(person, BotIdentity("")).addressed


def test_bots_are_marked_and_answered_only_when_wanted_and_called() -> None:
    for kind in ("app", "bot"):
        plain = event({"text": "beep"}, chat_type="group", sender_type=kind)
        call = event({"text": "@_user_1 beep"}, chat_type="group", sender_type=kind, mentions=[OURS])
        assert taken(plain).sender_is_bot
        assert taken(call).sender_is_bot
        assert taken(plain, ignore_bots=False).sender_is_bot
        assert not taken(call, ignore_bots=False).sender_is_bot
    own = event({"text": "echo"}, sender="ou_bot", sender_type="app")
    assert read(own, ignore_bots=False) == Skipped("self", "oc_chat")


def test_posts_become_paragraphs_with_their_files() -> None:
    post = {
        "title": "Report",
        "content": [
            [
                {"tag": "at", "user_id": "@_user_1", "user_name": "loong-bot"},
                {"tag": "text", "text": " look at "},
            ],
            [
                {"tag": "a", "text": "this", "href": "https://x.example/"},
                {"tag": "emotion", "emoji_type": "SMILE"},
            ],
            [{"tag": "at", "user_id": "@_user_10", "user_name": "Ann"}, {"tag": "at", "user_id": "@_all"}],
            [
                {"tag": "img", "image_key": "img_1"},
                {"tag": "media", "file_key": "file_1", "image_key": "img_2"},
            ],
            [{"tag": "code_block", "language": "PYTHON", "text": "print(1)\n"}, {"tag": "hr"}],
            [{"tag": "md", "text": "**bold**"}, {"tag": "of_the_future", "text": "!"}, "garbage", {"tag": 5}],
        ],
    }
    inbound = taken(event(post, "post", chat_type="group", mentions=[OURS, ANN]))
    assert inbound.addressed
    assert inbound.text == (
        "Report\nlook at\n[this](https://x.example/)[SMILE]\n@Ann Lee@all\n[image][video]\n"
        "```python\nprint(1)\n```\n\n---\n**bold**!"
    )
    assert [(a.kind, a.ref.get("file_key"), a.ref.get("type")) for a in inbound.attachments] == [
        ("image", "img_1", "image"),
        ("video", "file_1", "file"),
    ]
    wrapped = event({"zh_cn": post}, "post", chat_type="group", mentions=[OURS, ANN])
    assert taken(wrapped).text == inbound.text
    by_id = {"content": [[{"tag": "at", "user_id": "ou_bot"}, {"tag": "text", "text": ", hello"}]]}
    called = taken(event(by_id, "post", chat_type="group"))
    assert (called.addressed, called.text) == (True, "hello")


@pytest.mark.parametrize(
    ("kind", "content", "text", "attachment"),
    [
        ("image", {"image_key": "img_1"}, "[image]", ("image", None, "img_1", "image")),
        ("file", {"file_key": "f", "file_name": "a.pdf"}, "[file: a.pdf]", ("file", "a.pdf", "f", "file")),
        (
            "file",
            {"file_key": "f", "file_name": "../../x\u0007/a\nb"},
            "[file: a b]",
            ("file", "a b", "f", "file"),
        ),
        ("audio", {"file_key": "f", "duration": 2000}, "[audio]", ("audio", None, "f", "file")),
        ("audio", {"file_key": "f", "text": "hello"}, "[audio] hello", ("audio", None, "f", "file")),
        (
            "media",
            {"file_key": "f", "image_key": "i", "file_name": "v.mp4", "duration": 1},
            "[video: v.mp4]",
            ("video", "v.mp4", "f", "file"),
        ),
        ("sticker", {"file_key": "s"}, "[sticker]", None),
        ("share_chat", {"chat_id": "oc_2"}, "[shared chat oc_2]", None),
        ("share_user", {"user_id": "ou_2"}, "[shared contact ou_2]", None),
        ("location", {"name": "Here", "latitude": "1.5", "longitude": "2"}, "[location Here, 1.5, 2]", None),
        ("todo", {"task_id": "t"}, "[todo]", None),
        ("video_chat", {}, "[video chat]", None),
        (
            "merge_forward",
            "Merged and Forwarded Message",
            "[forwarded messages]",
            ("forward", None, None, None),
        ),
        (
            "interactive",
            {"title": "T", "elements": [[{"tag": "text", "text": "a"}, {"tag": "text", "text": "b"}]]},
            "T\na\nb",
            ("card", None, None, None),
        ),
        (
            "interactive",
            {
                "header": {"title": {"tag": "plain_text", "content": "H"}},
                "body": {"elements": [{"content": "c"}]},
            },
            "H\nc",
            ("card", None, None, None),
        ),
        ("interactive", {"card_id": "7"}, "[card]", ("card", None, None, None)),
    ],
)
def test_other_contents(kind: str, content: object, text: str, attachment: tuple[object, ...] | None) -> None:
    inbound = taken(event(content, kind))
    assert inbound.text == text
    found = [(a.kind, a.name, a.ref.get("file_key"), a.ref.get("type")) for a in inbound.attachments]
    assert found == ([] if attachment is None else [attachment])
    assert all(a.ref["message_id"] == "om_1" for a in inbound.attachments)


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (None, "no_object"),
        ([], "no_object"),
        ("x", "no_object"),
        ({}, "old_schema"),
        ({"uuid": "u", "token": "t", "type": "event_callback", "event": {"type": "message"}}, "old_schema"),
        (
            {"schema": "2.0", "header": {"app_id": "cli_other", "event_type": "im.message.receive_v1"}},
            "foreign_app",
        ),
        ({"schema": "2.0", "header": {"event_type": "bad type\n"}}, "no_event_type"),
        ({"schema": "2.0", "header": {"event_type": ["x"]}}, "no_event_type"),
        ({"schema": "2.0", "header": {"event_type": "im.message.receive_v1"}}, "im.message.receive_v1"),
        (
            {"schema": "2.0", "header": {"event_type": "im.message.receive_v1"}, "event": {}},
            "unreadable:KeyError",
        ),
        (event("not json"), "unreadable_content"),
        (event("[1]"), "unreadable_content"),
        (event("[" * 100_000), "unreadable_content"),
        (event({"text": "x"}, chat_id=""), "unreadable:ValueError"),
        (event({"text": "x"}, chat_id="a b"), "unreadable:ValueError"),
        (event({"text": "x"}, message_id=5), "unreadable:ValueError"),
        (event({}, "system"), "system_message"),
    ],
)
def test_what_is_no_message_has_a_reason(envelope: object, reason: str) -> None:
    reading = read(envelope)
    assert isinstance(reading, Skipped)
    assert reading.reason == reason


def test_other_events_are_named_with_their_chat_and_the_everyday_ones_are_quiet() -> None:
    def other(kind: str) -> Skipped:
        reading = read(
            {"schema": "2.0", "header": {"event_type": kind, "app_id": APP}, "event": {"chat_id": "oc_1"}}
        )
        assert isinstance(reading, Skipped)
        return reading

    for kind in (
        "im.chat.member.bot.added_v1",
        "im.chat.disbanded_v1",
        "of.the_future",
    ):
        assert other(kind) == Skipped(kind, "oc_1")
    assert other("im.message.message_read_v1").everyday
    assert other("im.message.reaction.created_v1").everyday


def test_a_message_that_is_taken_back_is_named() -> None:
    def recall(**event: object) -> Reading:
        header = {"event_type": "im.message.recalled_v1", "app_id": APP}
        return read({"schema": "2.0", "header": header, "event": event})

    whole = {"chat_id": "oc_1", "message_id": "om_1", "recall_time": "1774004591214", "recall_type": "x"}
    assert recall(**whole) == Recalled("oc_1", "om_1")
    for broken in ({}, {"chat_id": "oc_1"}, {**whole, "message_id": ["x"]}):
        assert isinstance(recall(**broken), Skipped)


def test_a_moment_that_makes_no_sense_is_none() -> None:
    for moment in (None, "", "x", "-5", "0", "9" * 30, True, 1.5, [], "٣"):
        assert taken(event({"text": "x"}, create_time=moment)).sent_ms is None
    assert taken(event({"text": "x"}, create_time=1774004591214)).sent_ms == 1774004591214


def test_ids_may_be_missing() -> None:
    envelope = event({"text": "x"}, sender=None)
    del envelope["header"]["event_id"]
    inbound = taken(envelope)
    assert (inbound.sender_id, inbound.event_id) == (None, "message:om_1")
    del envelope["event"]["sender"]
    assert taken(envelope).sender_id is None


def test_a_lone_surrogate_does_not_reach_the_store() -> None:
    inbound = taken(event('{"text":"a\\ud800b \\ud83d\\ude00"}'))
    assert inbound.text == "a\ufffdb 😀"


def test_random_damage_never_raises() -> None:
    rng = random.Random(9)
    junk: list[object] = [None, 0, -1, 1.5, True, "", "x", [], {}, [[]], {"a": {}}, "\ud800", 10**30]
    seeds = [
        event({"text": "@_user_1 hi"}, chat_type="group", mentions=[OURS, ANN]),
        event(
            {"content": [[{"tag": "at", "user_id": "@_user_1"}, {"tag": "img", "image_key": "i"}]]}, "post"
        ),
        event({"elements": [[{"text": "a"}]]}, "interactive"),
        event({"file_key": "f", "file_name": "n"}, "file"),
    ]

    def places(value: Any) -> list[tuple[Any, Any]]:
        found: list[tuple[Any, Any]] = []
        keys = (
            list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        )
        for key in keys:
            found.append((value, key))
            found += places(value[key])
        return found

    for _ in range(5000):
        envelope = copy.deepcopy(rng.choice(seeds))
        message = envelope["event"]["message"]
        inner = json.loads(message["content"])
        for target in (envelope, inner):
            if rng.random() < 0.7:
                holder, key = rng.choice(places(target))
                holder[key] = rng.choice(junk)
        if isinstance(message, dict) and rng.random() < 0.8:
            message["content"] = json.dumps(inner)
        reading = read(envelope)
        assert isinstance(reading, (Inbound, Skipped))
        if isinstance(reading, Inbound):
            json.dumps([reading.text, reading.extra, [dict(a.ref) for a in reading.attachments]]).encode()


def test_json_is_read_in_time_that_grows_with_its_length() -> None:
    assert load_json(b'{"a":[1,-2,18446744073709551615]}') == {"a": [1, -2, 2**64 - 1]}
    for data in (b"", b"\xff", b"{", b"[" * 200_000, b'{"a":' + b"9" * 1_000_000 + b"}", "nothing"):
        with pytest.raises(ValueError):
            load_json(data)
