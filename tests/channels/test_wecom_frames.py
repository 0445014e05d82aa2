"""Frames of the long connection. `python -m tests.channels.test_wecom_frames 100000` reads that many broken ones."""

from __future__ import annotations

import json
import random
import sys

import pytest

from loong_channels.contract import Inbound
from loong_channels.wecom.events import CallbackReader, Entered, Noted, Skipped, TakenOver
from loong_channels.wecom.frames import Frame, build, new_req_id, parse, tidy_message

CALLBACK = {
    "cmd": "aibot_msg_callback",
    "headers": {"req_id": "REQ"},
    "body": {
        "msgid": "m1",
        "aibotid": "bot",
        "chatid": "room",
        "chattype": "group",
        "from": {"userid": "zhangsan"},
        "create_time": 1700000000,
        "msgtype": "mixed",
        "mixed": {
            "msg_item": [
                {"msgtype": "text", "text": {"content": "@Robot 你好"}},
                {"msgtype": "image", "image": {"url": "https://x/y", "aeskey": "k"}},
            ]
        },
        "quote": {"msgtype": "text", "text": {"content": "before"}},
    },
}
EVENT = {
    "cmd": "aibot_event_callback",
    "headers": {"req_id": "EVT"},
    "body": {
        "msgid": "e1",
        "aibotid": "bot",
        "from": {"userid": "zhangsan"},
        "chattype": "single",
        "msgtype": "event",
        "event": {"eventtype": "template_card_event", "template_card_event": {"task_id": "t"}},
    },
}
ACK = {"headers": {"req_id": "REQ"}, "errcode": 846607, "errmsg": "too often, hint: [123], from ip: 1.2.3.4"}
STRANGE = [None, True, 0, -1, 1 << 70, 1.5, "", "x" * 600, "\ud800", [], [[]], {}, {"a": {}}, "group", "text"]


def test_a_request_is_one_line_of_json() -> None:
    text = build("aibot_send_msg", "id-1", {"markdown": {"content": "你好\n"}})
    assert json.loads(text) == {
        "cmd": "aibot_send_msg",
        "headers": {"req_id": "id-1"},
        "body": {"markdown": {"content": "你好\n"}},
    }
    assert "你好" in text
    assert "body" not in json.loads(build("ping", "p"))


def test_own_ids_are_short_and_never_the_same() -> None:
    ids = {new_req_id("aibot_subscribe") for _ in range(1000)}
    assert len(ids) == 1000
    assert max(len(one) for one in ids) < 128


def test_an_answer_and_a_callback() -> None:
    ack = parse(json.dumps(ACK))
    assert ack is not None
    assert (ack.cmd, ack.req_id, ack.code) == ("", "REQ", 846607)
    callback = parse(json.dumps(CALLBACK, ensure_ascii=False).encode())
    assert callback is not None
    assert (callback.cmd, callback.req_id, callback.code) == ("aibot_msg_callback", "REQ", 0)
    assert callback.body["msgid"] == "m1"


@pytest.mark.parametrize(
    "data", ["", "x", "null", "[]", '"a"', "{}", b"\xff\xfe", "{" * 100_000, '{"headers":[]}', "1" * 10_000]
)
def test_what_is_no_frame_is_none(data: str | bytes) -> None:
    assert parse(data) is None


def test_people_see_the_words_and_the_hint_but_no_address() -> None:
    shown = tidy_message(
        "invalid bot_id or secret, hint: [17736_AB], from ip: 1.2.3.4, more info at https://open.x/?e=1"
    )
    assert shown == "invalid bot_id or secret (hint 17736_AB)"
    assert tidy_message("") == "no reason given"
    assert len(tidy_message("x\n" * 10_000)) <= 120


def mutated(rng: random.Random, value: object) -> object:
    """The value with a few of its parts replaced by strange ones."""
    if rng.random() < 0.08:
        return rng.choice(STRANGE)
    if isinstance(value, dict):
        return {key: mutated(rng, one) for key, one in value.items() if rng.random() > 0.04}
    if isinstance(value, list):
        return [mutated(rng, one) for one in value] * rng.choice((1, 1, 1, 2, 0))
    return value


def broken(rng: random.Random) -> str | bytes:
    """Something like a frame."""
    text = json.dumps(mutated(rng, rng.choice((CALLBACK, EVENT, ACK))), ensure_ascii=rng.random() < 0.5)
    kind = rng.random()
    if kind < 0.6:
        return text
    data = bytearray(text.encode("utf-8", "replace"))
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        if kind < 0.8:
            data[at:at] = rng.randbytes(rng.randrange(1, 4))
        else:
            del data[at : at + rng.randrange(1, 9)]
    return bytes(data)


def read_broken_frames(count: int, seed: int) -> dict[str, int]:
    """Read that many; how many were what. Raises nothing, or the reader has a defect."""
    rng = random.Random(seed)
    reader = CallbackReader("work", "bot")
    kinds: dict[str, int] = {}
    for _ in range(count):
        frame = parse(broken(rng))
        if frame is None:
            kinds["none"] = kinds.get("none", 0) + 1
            continue
        assert isinstance(frame, Frame)
        reading = reader.read(frame, 1)
        assert isinstance(reading, (Inbound, Skipped, Entered, Noted, TakenOver))
        if isinstance(reading, Inbound):
            assert reading.address.conversation
            reading.text.encode("utf-8")
            json.dumps(reading.extra)
        if isinstance(reading, Skipped):
            assert not reading.reason.startswith("unreadable"), (frame, reading)
        name = type(reading).__name__
        kinds[name] = kinds.get(name, 0) + 1
    return kinds


def test_no_broken_frame_breaks_the_reader() -> None:
    kinds = read_broken_frames(5000, 20261120)
    assert min(kinds.get(name, 0) for name in ("none", "Inbound", "Skipped", "Noted")) > 50, kinds


if __name__ == "__main__":
    print(read_broken_frames(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
