"""Files to Telegram: by which method they go, and what becomes of those that are refused."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from loong_channels import faults
from loong_channels.contract import OutboundFile, Receipt
from loong_channels.telegram.channel import Channel
from tests.channels.telegram_rig import make_channel, send
from tests.fakes.telegram import FakeTelegram

CHAT = 1001
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + b"\r\n--x--\r\n"


@pytest.fixture
def fake():
    with FakeTelegram() as server:
        server.add_private(CHAT)
        yield server
        assert server.complaints == []
        assert server.early_sends == {}
        assert server.server.crashes == []


def send_file(
    channel: Channel, tmp_path: pathlib.Path, name: str, kind: str = "file", data: bytes = PNG, **fields: Any
) -> Receipt:
    path = tmp_path / "copy"
    path.write_bytes(data)
    return send(channel, fields.pop("chat", CHAT), "", file=OutboundFile(str(path), name, kind), **fields)


@pytest.mark.parametrize(
    ("name", "kind", "method", "part"),
    [
        ("a.png", "image", "sendPhoto", "photo"),
        ("a.pdf", "file", "sendDocument", "document"),
        ("a.mp3", "audio", "sendAudio", "audio"),
        ("a.opus", "audio", "sendDocument", "document"),
        ("a.MP4", "video", "sendVideo", "video"),
        ("a.avi", "video", "sendDocument", "document"),
        ('報告 "1"\r\n.pdf', "file", "sendDocument", "document"),
    ],
)
def test_a_file_arrives_as_what_it_is(
    fake: FakeTelegram, tmp_path: pathlib.Path, name: str, kind: str, method: str, part: str
) -> None:
    receipt = send_file(make_channel(fake), tmp_path, name, kind)
    (sent,) = fake.messages
    assert len(fake.calls(method)) == 1
    assert sent.file is not None
    assert (sent.kind, sent.file.data) == (part, PNG)
    assert sent.file.name == " ".join(name.split()).replace('"', "%22")
    assert receipt.message_ids == (str(sent.message_id),)


def test_a_file_goes_into_its_topic_and_may_answer_a_message(
    fake: FakeTelegram, tmp_path: pathlib.Path
) -> None:
    fake.add_supergroup(-1007, topics=(7,))
    asked = fake.say("question", -1007, 5001, thread_id=7)
    send_file(make_channel(fake), tmp_path, "a.pdf", chat=-1007, thread="7", reply_to=str(asked.message_id))
    assert [(sent.thread_id, sent.reply_to) for sent in fake.messages] == [(7, asked.message_id)]


def test_a_picture_that_is_none_for_the_platform_goes_as_a_document(
    fake: FakeTelegram, tmp_path: pathlib.Path
) -> None:
    send_file(make_channel(fake), tmp_path, "drawing.svg", "image", b"<svg/>")
    assert [sent.kind for sent in fake.messages] == ["document"]
    assert [request.method for request in fake.requests] == ["sendphoto", "senddocument"]


@pytest.mark.parametrize(
    ("status", "description", "code"),
    [
        (413, "Request Entity Too Large", "413"),
        (400, "Bad Request: chat not found", "chat_not_found"),
        (403, "Forbidden: bot was blocked by the user", "forbidden"),
    ],
)
def test_a_refusal_is_final(
    fake: FakeTelegram, tmp_path: pathlib.Path, status: int, description: str, code: str
) -> None:
    fake.fault("sendPhoto", "status", status=status, description=description)
    with pytest.raises(faults.Refused) as caught:
        send_file(make_channel(fake), tmp_path, "a.png", "image")
    assert caught.value.code == code
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("too_many", faults.Throttled), ("lost", faults.Unreachable), ("html", faults.Unreachable)],
)
def test_trouble_is_told_to_the_gateway(
    fake: FakeTelegram, tmp_path: pathlib.Path, kind: str, expected: type[faults.Fault]
) -> None:
    fake.fault("sendDocument", kind, retry_after=3)
    with pytest.raises(expected) as caught:
        send_file(make_channel(fake), tmp_path, "a.pdf")
    assert getattr(caught.value, "maybe_processed", True)


def test_a_group_that_moved_says_where_to(fake: FakeTelegram, tmp_path: pathlib.Path) -> None:
    fake.add_group(-5)
    fake.migrate(-5, -1005)
    with pytest.raises(faults.Moved) as caught:
        send_file(make_channel(fake), tmp_path, "a.pdf", chat=-5)
    assert caught.value.conversation == "-1005"


@pytest.mark.parametrize(("size", "code"), [(0, "empty"), ((10 << 20) + 1, "too_large")])
def test_what_cannot_be_sent_costs_no_request(
    fake: FakeTelegram, tmp_path: pathlib.Path, size: int, code: str
) -> None:
    with pytest.raises(faults.Refused) as caught:
        send_file(make_channel(fake), tmp_path, "a.png", "image", bytes(size))
    assert caught.value.code == code
    assert fake.requests == []
