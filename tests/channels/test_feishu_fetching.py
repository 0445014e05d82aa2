"""What came with a message is fetched when asked for: files as they are, forwarded messages and cards as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from loong_channels import faults
from loong_channels.contract import Attachment, Media
from loong_channels.waiting import Deadline, StopToken
from tests.channels.feishu_sending_rig import CHAT, make_channel
from tests.fakes.feishu import FakeFeishu
from tests.fakes.feishu_state import Said


@pytest.fixture
def fake() -> Iterator[FakeFeishu]:
    with FakeFeishu() as platform:
        platform.add_chat(CHAT)
        yield platform


def fetch(fake: FakeFeishu, kind: str, max_bytes: int = 1 << 20, **ref: object) -> Media:
    return make_channel(fake).fetch(
        Attachment(kind, ref=ref), max_bytes=max_bytes, deadline=Deadline(10), stop=StopToken()
    )


def item(
    number: int, upper: str, kind: str = "text", content: object = None, sender: str = "ou_1", **more: Any
) -> dict[str, object]:
    body = {"text": f"m{number}"} if content is None else content
    return {
        "message_id": f"om_{number}",
        "upper_message_id": upper,
        "msg_type": kind,
        "sender": {"id": sender, "id_type": "open_id", "sender_type": "user"},
        "body": {"content": body if isinstance(body, str) else json.dumps(body)},
        **more,
    }


def forwarded(fake: FakeFeishu, *children: dict[str, object]) -> Said:
    """A forwarded message; in `children` the id of the whole is written "top"."""
    said = fake.say(CHAT)
    said.items = [item(0, "", "merge_forward", "Merged and Forwarded Message")]
    said.items[0]["message_id"] = said.message_id
    for child in children:
        upper = said.message_id if child["upper_message_id"] == "top" else child["upper_message_id"]
        said.items.append({**child, "upper_message_id": upper})
    return said


def text_of(fake: FakeFeishu, said: Said) -> str:
    found = fetch(fake, "forward", message_id=said.message_id)
    assert found.mime == "text/plain"
    return found.content.decode()


def test_a_file_comes_with_its_name_and_kind_and_within_its_limit(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    key = fake.attach(said, "file", bytes(5000), "application/pdf", "a.pdf")
    ref = {"message_id": said.message_id, "file_key": key, "type": "file"}
    assert fetch(fake, "video", **ref) == Media(bytes(5000), "a.pdf", "application/pdf")
    with pytest.raises(faults.Refused) as caught:
        fetch(fake, "video", 4999, **ref)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("ref", [{}, {"message_id": "om_1"}, {"message_id": 5, "file_key": "k"}])
def test_what_has_no_handle_costs_no_request(fake: FakeFeishu, ref: dict[str, object]) -> None:
    with pytest.raises(faults.Refused) as caught:
        fetch(fake, "image", **ref)
    assert caught.value.code == "no_handle"
    assert fake.requests == []


def test_forwarded_messages_are_told_apart_by_who_wrote_them(fake: FakeFeishu) -> None:
    mention = {"key": "@_user_1", "id": "ou_9", "id_type": "open_id", "name": "Ann"}
    said = forwarded(
        fake,
        item(1, "top", content={"text": "@_user_1 hello\nworld"}, mentions=[mention]),
        item(2, "top", sender="ou_2"),
        item(3, "top", "image", {"image_key": "k"}),
        item(4, "top", sender="cli_1") | {"sender": {"id": "cli_1", "sender_type": "app"}},
        item(5, "top", "text", "no JSON"),
        item(6, "another"),
    )
    assert text_of(fake, said).split("\n") == [
        "Person 1: @Ann hello",
        "  world",
        "Person 2: m2",
        "Person 1: [image]",
        "Bot: m4",
        "Person 1: [unreadable]",
    ]


def test_what_was_forwarded_within_is_set_in_three_levels_deep(fake: FakeFeishu) -> None:
    inner = [item(n, f"om_{n - 1}" if n > 1 else "top", "merge_forward", "x") for n in range(1, 6)]
    said = forwarded(fake, *inner, item(9, "om_1"), item(10, "top"))
    assert text_of(fake, said).split("\n") == [
        "Person 1: [forwarded messages]",
        "  Person 1: [forwarded messages]",
        "    Person 1: [forwarded messages]",
        "  Person 1: m9",
        "Person 1: m10",
    ]


def test_a_tree_without_an_end_is_cut(fake: FakeFeishu) -> None:
    said = forwarded(fake, *(item(n, "top") for n in range(1, 51)))
    assert text_of(fake, said).count("\n") == 49
    said = forwarded(fake, *(item(n, "top") for n in range(1, 200)))
    lines = text_of(fake, said).split("\n")
    assert (len(lines), lines[49], lines[50]) == (51, "Person 1: m50", "[more messages were left out]")
    circle = forwarded(fake, item(1, "top", "merge_forward", "x"), item(1, "om_1", "merge_forward", "x"))
    assert text_of(fake, circle).count("forwarded") == 3


def test_a_whole_card_is_read(fake: FakeFeishu) -> None:
    said = fake.say(CHAT)
    card = {"header": {"title": {"content": "Title"}}, "elements": [[{"tag": "text", "text": "all of it"}]]}
    said.items = [item(1, "", "interactive", card)]
    found = fetch(fake, "card", message_id=said.message_id)
    assert (found.content, found.mime) == (b"Title\nall of it", "text/plain")


def test_what_cannot_be_had_is_a_fault(fake: FakeFeishu) -> None:
    empty = forwarded(fake)
    nothing = fake.say(CHAT)
    gone = forwarded(fake, item(1, "top"))
    fake.recall(gone.message_id)
    long = forwarded(fake, item(1, "top", content={"text": "x" * 200}))
    for message_id, code in (
        (empty.message_id, "empty"),
        (gone.message_id, "230110"),
        ("om_unknown", "230001"),
    ):
        with pytest.raises(faults.Refused) as caught:
            fetch(fake, "forward", message_id=message_id)
        assert caught.value.code == code
    with pytest.raises(faults.Refused) as caught:
        fetch(fake, "forward", 100, message_id=long.message_id)
    assert caught.value.code == "too_large"
    with pytest.raises(faults.BadAnswer):
        fetch(fake, "forward", message_id=nothing.message_id)
