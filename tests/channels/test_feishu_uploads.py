"""Files, pictures and what was uploaded before: what arrives as what, how often it goes up, and what refusals mean."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from loong_channels import faults
from loong_channels.contract import OutboundFile, Receipt
from loong_channels.feishu.channel import Channel
from loong_channels.feishu.spec import SPEC
from tests.channels.feishu_sending_rig import CHAT, make_channel, send
from tests.fakes.feishu import FakeFeishu

DATA = bytes(range(256)) * 40 + b"\r\n--x--\r\n"


@pytest.fixture
def fake():
    with FakeFeishu() as server:
        server.add_chat(CHAT, "ou_ann")
        yield server
        assert server.complaints == []
        assert server.server.crashes == []


def send_file(
    channel: Channel, tmp_path: pathlib.Path, name: str, kind: str = "file", data: bytes = DATA, **fields: Any
) -> Receipt:
    path = tmp_path / "copy"
    path.write_bytes(data)
    return send(channel, "", file=OutboundFile(str(path), name, kind), **fields)


@pytest.mark.parametrize(
    ("name", "kind", "extra", "file_type", "msg_type"),
    [
        ("a.png", "image", {}, None, "image"),
        ("a.pdf", "file", {}, "pdf", "file"),
        ("A.DOCX", "file", {}, "doc", "file"),
        ("a.xls", "file", {}, "xls", "file"),
        ("a.pptx", "file", {}, "ppt", "file"),
        ("a.mp4", "video", {}, "mp4", "media"),
        ("a.mp4", "file", {}, "mp4", "media"),
        ("a.opus", "audio", {}, "opus", "audio"),
        ("a.mp3", "audio", {}, "stream", "file"),
        ("a", "file", {}, "stream", "file"),
        ("a.bin", "file", {"file_type": "opus"}, "opus", "audio"),
        ("a.mp4", "video", {"file_type": "stream"}, "stream", "file"),
    ],
)
def test_a_file_goes_up_and_arrives_as_what_it_is(
    fake: FakeFeishu,
    tmp_path: pathlib.Path,
    name: str,
    kind: str,
    extra: dict[str, object],
    file_type: str | None,
    msg_type: str,
) -> None:
    receipt = send_file(make_channel(fake), tmp_path, name, kind, extra=extra)
    (sent,) = fake.messages
    ((key, (fields, data)),) = fake.uploads.items()
    assert (sent.msg_type, sent.content) == (
        msg_type,
        {"image_key" if kind == "image" else "file_key": key},
    )
    assert (fields.get("file_type"), data) == (file_type, DATA)
    assert receipt.message_ids == (sent.message_id,)


def test_a_name_of_any_kind_arrives_on_one_line(fake: FakeFeishu, tmp_path: pathlib.Path) -> None:
    send_file(make_channel(fake), tmp_path, 'Bericht "ü"\r\n漢字.xyz')
    ((fields, data),) = fake.uploads.values()
    assert (fields["file_name"], data) == ('Bericht "ü" 漢字.xyz', DATA)


@pytest.mark.parametrize("kind", ["lost", "reset", "html"])
def test_a_retry_of_the_message_does_not_upload_again_and_arrives_once(
    fake: FakeFeishu, tmp_path: pathlib.Path, kind: str
) -> None:
    channel = make_channel(fake)
    fake.fault("send", kind)
    with pytest.raises(faults.Unreachable):
        send_file(channel, tmp_path, "a.pdf")
    send_file(channel, tmp_path, "a.pdf")
    assert fake.names() == ["file", "send", "send"]
    assert [sent.msg_type for sent in fake.messages] == ["file"]


@pytest.mark.parametrize("kind", ["lost", "reset", "html", "null", "empty"])
def test_an_upload_that_fails_says_that_no_message_was_sent(
    fake: FakeFeishu, tmp_path: pathlib.Path, kind: str
) -> None:
    channel = make_channel(fake)
    fake.fault("file", kind)
    with pytest.raises(faults.Unreachable) as caught:
        send_file(channel, tmp_path, "a.pdf")
    assert not caught.value.maybe_processed
    send_file(channel, tmp_path, "a.pdf")
    assert [sent.msg_type for sent in fake.messages] == ["file"]


def test_another_part_uploads_for_itself(fake: FakeFeishu, tmp_path: pathlib.Path) -> None:
    channel = make_channel(fake)
    send_file(channel, tmp_path, "a.pdf", key="g-0")
    send_file(channel, tmp_path, "b.pdf", data=b"other", key="g-1")
    assert [data for _, data in fake.uploads.values()] == [DATA, b"other"]


@pytest.mark.parametrize(
    ("kind", "size", "code"),
    [
        ("image", 0, "empty"),
        ("file", 0, "empty"),
        ("image", SPEC.file_limit("image") + 1, "too_large"),
        ("file", SPEC.file_limit("file") + 1, "too_large"),
    ],
)
def test_what_cannot_be_uploaded_costs_no_request(
    fake: FakeFeishu, tmp_path: pathlib.Path, kind: str, size: int, code: str
) -> None:
    with pytest.raises(faults.Refused) as caught:
        send_file(make_channel(fake), tmp_path, "a", kind, bytes(size))
    assert caught.value.code == code
    assert fake.requests == []


def test_a_copy_that_is_gone_or_a_link_is_refused_for_good(fake: FakeFeishu, tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(__file__)
    for name in ("missing", "link", "."):
        with pytest.raises(faults.Refused) as caught:
            send(make_channel(fake), "", file=OutboundFile(str(tmp_path / name), "a.pdf"))
        assert caught.value.code == "no_file"
    assert fake.requests == []


@pytest.mark.parametrize("code", [234001, 234006])
def test_an_upload_that_is_refused_is_final(fake: FakeFeishu, tmp_path: pathlib.Path, code: int) -> None:
    fake.refuse("image", code)
    with pytest.raises(faults.Refused) as caught:
        send_file(make_channel(fake), tmp_path, "a.png", "image")
    assert caught.value.code == str(code)
    assert fake.names() == ["image"]


def test_a_file_may_answer_a_message(fake: FakeFeishu, tmp_path: pathlib.Path) -> None:
    said = fake.say(CHAT)
    send_file(make_channel(fake), tmp_path, "a.pdf", reply_to=said.message_id)
    assert fake.messages[0].parent_id == said.message_id


# --- what was uploaded before, and posts


def test_what_was_uploaded_before_is_sent_by_its_key(fake: FakeFeishu, tmp_path: pathlib.Path) -> None:
    channel = make_channel(fake)
    for number, (name, kind) in enumerate((("a.png", "image"), ("a.pdf", "file"), ("a.opus", "audio"))):
        send_file(channel, tmp_path, name, kind, key=f"up-{number}")
    image, file, sound = fake.uploads
    send(channel, "", extra={"image_key": image}, key="1")
    send(channel, "", extra={"file_key": file, "file_type": "pdf"}, key="2")
    send(channel, "", extra={"file_key": sound, "file_type": "opus"}, key="3")
    assert [sent.msg_type for sent in fake.messages[3:]] == ["image", "file", "audio"]
    with pytest.raises(faults.Refused) as caught:
        send(channel, "", extra={"file_key": sound}, key="4")
    assert caught.value.code == "230055"


def test_a_post_is_sent_as_it_is_given(fake: FakeFeishu) -> None:
    post = {"zh_cn": {"title": "T", "content": [[{"tag": "at", "user_id": "ou_ann", "text": "<at>"}]]}}
    send(make_channel(fake), "", extra={"post_json": post})
    assert [(sent.msg_type, sent.content) for sent in fake.messages] == [("post", post)]


def test_a_post_that_is_refused_is_final(fake: FakeFeishu) -> None:
    with pytest.raises(faults.Refused) as caught:
        send(make_channel(fake), "", extra={"post_json": {"post": {}}})
    assert caught.value.code == "230001"
    assert fake.names() == ["send"]


# --- whom and under which key


def test_an_operator_may_say_what_an_id_is(fake: FakeFeishu) -> None:
    fake.add_chat("oc_anns_own", "oc_looks_like_a_chat")
    send(make_channel(fake), "x", "oc_looks_like_a_chat", extra={"receive_id_type": "user_id"})
    assert fake.messages[0].receive_id_type == "user_id"


def test_a_chosen_uuid_is_the_platforms_key_and_sent_twice_appears_once(fake: FakeFeishu) -> None:
    for key in ("send-1-0", "send-2-0"):
        send(make_channel(fake), "x", key=key, extra={"uuid": "deploy-42"})
    assert [sent.uuid for sent in fake.messages] == ["deploy-42"]


def test_a_chosen_uuid_is_kept_out_of_what_is_said_in_its_place(fake: FakeFeishu) -> None:
    for key in ("send-1-0", "send-2-0"):
        fake.refuse("send", 230099)
        send(make_channel(fake), "**x**", key=key, extra={"uuid": "deploy-42", "card": True})
    (sent,) = fake.messages
    assert (sent.msg_type, len(str(sent.uuid))) == ("text", 40)


def test_a_chosen_uuid_that_became_too_long_still_makes_a_repetition_harmless(fake: FakeFeishu) -> None:
    for key in ("send-1-1", "send-2-1"):
        send(make_channel(fake), "x", key=key, extra={"uuid": "u" * 50 + "-1"})
    (sent,) = fake.messages
    assert len(str(sent.uuid)) == 40
