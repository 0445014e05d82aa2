"""Files out: what the double gets, what it refuses, and what a second try does."""

from __future__ import annotations

import base64
import hashlib
import os
import pathlib
import threading
from collections.abc import Iterator
from typing import Callable

import pytest

from loong_channels.contract import OutboundFile
from loong_channels.faults import Interrupted, Overloaded, Refused, Throttled, TimedOut, Unreachable
from loong_channels.waiting import StopToken
from loong_channels.wecom.channel import Channel
from loong_channels.wecom.uploads import CHUNK_BYTES
from tests.blocked_call import raised_when_woken
from tests.channels.wecom_rig import RecordingHost, Running, Time, heard, make_channel, online, send, served
from tests.fakes.wecom import FakeWeCom
from tests.fakes.wecom_uploads import MAX_CHUNK_BYTES, SIZES, Uploads

MB = 1 << 20
INIT, CHUNK, FINISH = Uploads.commands
Make = Callable[..., OutboundFile]
Online = tuple[FakeWeCom, Channel, RecordingHost, Running]


@pytest.fixture
def make(tmp_path: pathlib.Path) -> Make:
    """Writes a file that is to be sent."""

    def write(content: bytes = b"hello file", name: str = "a.pdf", kind: str = "file") -> OutboundFile:
        path = tmp_path / "stored"
        path.write_bytes(content)
        return OutboundFile(str(path), name, kind)

    return write


@pytest.fixture
def known() -> Iterator[Online]:
    """A channel that is subscribed, and a person who has written to it."""
    with FakeWeCom() as fake, online(fake) as (channel, host, run):
        heard(fake, host)
        yield fake, channel, host, run


def upload_frames(fake: FakeWeCom) -> list[str]:
    return [one.cmd for one in fake.received if one.cmd in Uploads.commands]


@pytest.mark.parametrize(
    ("kind", "word", "content"),
    [
        ("image", "image", b"\xff\xd8\xff\xe0 picture"),
        ("video", "video", b"....ftypmp42"),
        ("file", "file", b"%PDF-"),
        ("audio", "voice", b"#!AMR\nsound"),
        # Any other sound is not played there, but it arrives.
        ("audio", "file", b"ID3 sound"),
    ],
)
def test_each_kind_is_uploaded_and_pushed(
    known: Online, make: Make, kind: str, word: str, content: bytes
) -> None:
    fake, channel, _, _ = known
    receipt = send(channel, "zhangsan", "", file=make(content, "报告 1.bin", kind))
    assert len(receipt.message_ids) == 1
    (push,) = fake.pushes
    assert push.file is not None
    assert (push.file.kind, push.file.name, push.file.content) == (word, "报告 1.bin", content)
    assert (push.conversation, push.text) == ("zhangsan", "")
    assert upload_frames(fake) == [INIT, CHUNK, FINISH]
    assert fake.complaints == []


@pytest.mark.parametrize("size", [5, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7])
def test_a_file_arrives_whole_in_pieces_of_the_right_size(known: Online, make: Make, size: int) -> None:
    fake, channel, _, _ = known
    content = os.urandom(size)
    send(channel, "zhangsan", "", file=make(content))
    assert fake.pushes[0].file is not None
    assert fake.pushes[0].file.content == content
    (begin,) = fake.frames(INIT)
    assert begin.body == {
        "type": "file",
        "filename": "a.pdf",
        "total_size": size,
        "total_chunks": -(-size // CHUNK_BYTES),
        "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
    }
    assert [one.body["chunk_index"] for one in fake.frames(CHUNK)] == list(range(begin.body["total_chunks"]))


def test_the_largest_file_fits_into_the_pieces_that_are_allowed() -> None:
    assert SIZES["file"] <= 100 * CHUNK_BYTES
    assert CHUNK_BYTES <= MAX_CHUNK_BYTES


def test_a_file_is_never_a_reply_and_goes_to_the_right_kind_of_chat(known: Online, make: Make) -> None:
    fake, channel, host, _ = known
    inbound = heard(fake, host, group="room")
    send(channel, "room", "", file=make(), extra=inbound.extra, reply_to=inbound.message_id)
    (push,) = fake.pushes
    assert (push.conversation, push.chat_type) == ("room", 2)
    assert fake.frames("aibot_respond_msg") == []
    # The request can still be answered.
    send(channel, "room", "text", extra=inbound.extra, reply_to=inbound.message_id, key="k2")
    assert fake.texts("room") == ["", "text"]
    assert len(fake.pushes) == 1


@pytest.mark.parametrize(
    ("kind", "size", "code", "words"),
    [
        ("image", 10 * MB + 1, "too_large", "10 MB"),
        ("video", 10 * MB + 1, "too_large", "10 MB"),
        ("file", 20 * MB + 1, "too_large", "20 MB"),
        ("file", 4, "empty", "less than 5"),
        ("image", 0, "empty", "empty"),
        ("hologram", 10, "file_kind", "hologram"),
    ],
)
def test_what_the_platform_would_refuse_is_not_begun(
    known: Online, make: Make, kind: str, size: int, code: str, words: str
) -> None:
    fake, channel, _, _ = known
    file = make(b"", "big.bin", kind)
    os.truncate(file.path, size)
    with pytest.raises(Refused, match=words) as caught:
        send(channel, "zhangsan", "", file=file)
    assert caught.value.code == code
    assert upload_frames(fake) == []
    assert fake.pushes == []


def test_a_voice_message_may_be_smaller_than_other_sounds(known: Online, make: Make) -> None:
    fake, channel, _, _ = known
    with pytest.raises(Refused, match="2 MB"):
        send(channel, "zhangsan", "", file=make(b"#!AMR\n" + bytes(2 * MB), kind="audio"))
    send(channel, "zhangsan", "", file=make(b"ID3..." + bytes(2 * MB), kind="audio"), key="k2")
    assert fake.pushes[0].file is not None
    assert fake.pushes[0].file.kind == "file"


def test_a_file_that_is_none_is_refused_and_nothing_waits_for_it(
    known: Online, tmp_path: pathlib.Path
) -> None:
    fake, channel, _, _ = known
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (str(tmp_path / "gone"), str(tmp_path), str(pipe), "/dev/null", "nul\0byte"):
        with pytest.raises(Refused) as caught:
            send(channel, "zhangsan", "", file=OutboundFile(path, "x.bin"))
        assert caught.value.code == "no_file"
        assert "x.bin" in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
    assert upload_frames(fake) == []


def test_a_file_that_is_changed_while_it_is_sent_arrives_as_it_was(known: Online, make: Make) -> None:
    fake, channel, _, _ = known
    content = os.urandom(3 * CHUNK_BYTES)
    file = make(content)
    fake.on_frame = lambda cmd: os.truncate(file.path, CHUNK_BYTES) if cmd == CHUNK else None
    send(channel, "zhangsan", "", file=file)
    assert fake.pushes[0].file is not None
    assert fake.pushes[0].file.content == content


@pytest.mark.parametrize(
    ("name", "shown"), [("../../etc/passwd", "passwd"), ("", "file"), ("a\nb.txt", "a b.txt")]
)
def test_the_name_is_one_line_without_a_path(known: Online, make: Make, name: str, shown: str) -> None:
    fake, channel, _, _ = known
    send(channel, "zhangsan", "", file=make(name=name))
    assert fake.frames(INIT)[0].body["filename"] == shown


def test_a_media_id_that_the_platform_no_longer_knows_is_renewed_once(known: Online, make: Make) -> None:
    fake, channel, _, _ = known
    fake.fail("aibot_send_msg", 40007)
    send(channel, "zhangsan", "", file=make())
    assert upload_frames(fake) == [INIT, CHUNK, FINISH] * 2
    assert len(fake.pushes) == 1
    fake.fail("aibot_send_msg", 40007, times=5)
    with pytest.raises(Refused) as caught:
        send(channel, "zhangsan", "", file=make(), key="k2")
    assert caught.value.code == "40007"
    assert upload_frames(fake) == [INIT, CHUNK, FINISH] * 4


def test_a_second_try_uses_what_is_there_and_uploads_again_after_its_time(make: Make) -> None:
    now = Time()
    with FakeWeCom() as fake, online(fake, now) as (channel, host, _):
        heard(fake, host)
        fake.fail("aibot_send_msg", 846607)
        with pytest.raises(Throttled):
            send(channel, "zhangsan", "", file=make())
        send(channel, "zhangsan", "", file=make())
        assert upload_frames(fake) == [INIT, CHUNK, FINISH]
        now.ahead_s += 3 * 86_400
        fake.advance(3 * 86_400)
        send(channel, "zhangsan", "", file=make())
        assert upload_frames(fake) == [INIT, CHUNK, FINISH] * 2
        # Another file under the same key is another file.
        send(channel, "zhangsan", "", file=make(b"something else"))
        assert fake.pushes[-1].file is not None
        assert fake.pushes[-1].file.content == b"something else"


def test_an_upload_goes_on_over_the_next_connection_where_it_broke_off(make: Make) -> None:
    content = os.urandom(4 * CHUNK_BYTES)
    with FakeWeCom() as fake:
        channel, host = make_channel(fake), RecordingHost()
        first = Running(channel, host)
        host.wait_for(lambda: host.identities)
        heard(fake, host)
        fake.on_frame = lambda _: fake.drop() if len(fake.frames(CHUNK)) == 3 else None
        with pytest.raises(Unreachable) as caught:
            send(channel, "zhangsan", "", file=make(content))
        # Nobody has seen anything of it, so it may be tried again as often as it takes.
        assert caught.value.maybe_processed is False
        fake.on_frame = None
        first.ended()
        with served(channel, host):
            host.wait_for(lambda: len(host.identities) == 2)
            send(channel, "zhangsan", "", file=make(content))
        assert len(fake.frames(INIT)) == 1
        assert [one.body["chunk_index"] for one in fake.frames(CHUNK)][:2] == [0, 1]
        assert fake.frames(CHUNK)[-1].body["chunk_index"] == 3
        assert len(fake.frames(CHUNK)) < 7
        assert fake.pushes[0].file is not None
        assert fake.pushes[0].file.content == content


def test_a_piece_that_fails_for_a_moment_costs_only_itself(known: Online, make: Make) -> None:
    fake, channel, _, _ = known
    content = os.urandom(4 * CHUNK_BYTES)
    fake.fail(CHUNK, -1, skip=2)
    with pytest.raises(Overloaded):
        send(channel, "zhangsan", "", file=make(content))
    send(channel, "zhangsan", "", file=make(content))
    assert [one.body["chunk_index"] for one in fake.frames(CHUNK)] == [0, 1, 2, 2, 3]
    assert fake.pushes[0].file is not None
    assert fake.pushes[0].file.content == content


def test_an_upload_that_the_platform_has_forgotten_is_begun_again(known: Online, make: Make) -> None:
    fake, channel, _, _ = known
    content = os.urandom(3 * CHUNK_BYTES)
    fake.fail(CHUNK, -1, skip=1)
    with pytest.raises(Overloaded):
        send(channel, "zhangsan", "", file=make(content))
    fake.uploads.forget_all()
    send(channel, "zhangsan", "", file=make(content))
    assert len(fake.frames(INIT)) == 2
    assert fake.pushes[0].file is not None
    assert fake.pushes[0].file.content == content


def test_what_is_refused_is_not_tried_for_ever(known: Online, make: Make) -> None:
    fake, channel, _, _ = known
    fake.fail(FINISH, 40058, times=9)
    with pytest.raises(Refused) as caught:
        send(channel, "zhangsan", "", file=make())
    assert caught.value.code == "40058"
    assert upload_frames(fake) == [INIT, CHUNK, FINISH]


def test_the_limit_on_uploads_waits_a_minute_and_stops_no_text(make: Make) -> None:
    now = Time()
    with FakeWeCom() as fake, online(fake, now) as (channel, host, _):
        heard(fake, host)
        fake.fail(INIT, 45009)
        for _ in range(3):
            with pytest.raises(Throttled) as caught:
                send(channel, "zhangsan", "", file=make())
            assert 59 <= caught.value.retry_after_s <= 60
            assert not caught.value.whole_account
        assert len(fake.frames(INIT)) == 1
        send(channel, "zhangsan", "words", key="k2")
        now.ahead_s += 60
        send(channel, "zhangsan", "", file=make())
        assert fake.texts() == ["words", ""]


def test_our_own_count_keeps_below_the_limit_on_uploads(make: Make) -> None:
    now = Time()
    with FakeWeCom() as fake, online(fake, now, quota_per_min=0) as (channel, host, _):
        fake.per_minute = 1000
        heard(fake, host)
        file = make()
        for number in range(30):
            send(channel, "zhangsan", "", file=file, key=f"k{number}")
        with pytest.raises(Throttled) as caught:
            send(channel, "zhangsan", "", file=file, key="k30")
        now.ahead_s += caught.value.retry_after_s
        fake.advance(caught.value.retry_after_s)
        send(channel, "zhangsan", "", file=file, key="k30")
        assert all(one.code == 0 for one in fake.received)


@pytest.mark.parametrize("cmd", [INIT, CHUNK, FINISH])
def test_an_upload_without_an_answer_is_surely_not_sent(make: Make, cmd: str) -> None:
    with FakeWeCom() as fake, online(fake, ack_s=0.2) as (channel, host, _):
        heard(fake, host)
        fake.delay(cmd, lost=True)
        with pytest.raises(TimedOut) as caught:
            send(channel, "zhangsan", "", file=make())
        assert caught.value.maybe_processed is False
        send(channel, "zhangsan", "", file=make())
        assert len(fake.pushes) == 1


def test_a_push_of_a_file_without_an_answer_may_have_arrived(make: Make) -> None:
    with FakeWeCom() as fake, online(fake, ack_s=0.2) as (channel, host, _):
        heard(fake, host)
        fake.delay("aibot_send_msg", lost=True)
        with pytest.raises(TimedOut) as caught:
            send(channel, "zhangsan", "", file=make())
        assert caught.value.maybe_processed is True


def test_uploads_go_one_after_the_other(known: Online, tmp_path: pathlib.Path) -> None:
    fake, channel, _, _ = known
    files = []
    for number in range(4):
        path = tmp_path / f"f{number}"
        path.write_bytes(os.urandom(2 * CHUNK_BYTES))
        files.append(OutboundFile(str(path), f"{number}.bin"))
    threads = [
        threading.Thread(target=send, args=(channel, "zhangsan", ""), kwargs={"file": one, "key": one.name})
        for one in files
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert upload_frames(fake) == [INIT, CHUNK, CHUNK, FINISH] * 4
    assert {push.file.name for push in fake.pushes if push.file} == {one.name for one in files}


def test_a_stop_and_an_interrupt_wake_an_upload(known: Online, make: Make) -> None:
    fake, channel, _, _ = known
    stop = StopToken()
    fake.delay(CHUNK, lost=True, times=2)
    woken = raised_when_woken(
        lambda: send(channel, "zhangsan", "", file=make(), stop=stop),
        blocked=lambda: fake.frames(CHUNK),
        wake=stop.set,
    )
    assert isinstance(woken, Interrupted)
    fake.reset_record()
    woken = raised_when_woken(
        lambda: send(channel, "zhangsan", "", file=make()),
        blocked=lambda: fake.frames(CHUNK),
        wake=channel.interrupt,
    )
    assert isinstance(woken, Interrupted)


def test_the_bubble_of_an_answer_that_is_only_a_file_is_ended(make: Make) -> None:
    with FakeWeCom() as fake, online(fake, streaming_mode="stream") as (channel, host, _):
        inbound = heard(fake, host)
        preview = channel.preview(inbound.address, reply_to=inbound.message_id, extra=inbound.extra)
        assert preview is not None
        preview.update("let me see")
        fake.wait_for(lambda: fake.bubbles)
        preview.finish()
        send(channel, "zhangsan", "", file=make(), extra=inbound.extra, reply_to=inbound.message_id)
        fake.wait_for(lambda: all(one.finished for one in fake.bubbles.values()))


def test_without_an_owner_a_file_goes_over_a_connection_of_its_own(make: Make) -> None:
    with FakeWeCom() as fake:
        fake.say("known now")
        send(make_channel(fake), "zhangsan", "", file=make())
        fake.wait_for(lambda: fake.owner is None)
        assert [one.cmd for one in fake.received] == [
            "aibot_subscribe",
            INIT,
            CHUNK,
            FINISH,
            "aibot_send_msg",
        ]


def test_the_double_refuses_what_is_not_as_announced() -> None:
    double = Uploads(lambda: 0.0)
    about = {
        "type": "file",
        "filename": "a",
        "total_size": 10,
        "total_chunks": 2,
        "md5": hashlib.md5(b"0123456789", usedforsecurity=False).hexdigest(),
    }
    for wrong in (
        {"type": "audio"},
        {"filename": ""},
        {"total_size": 4},
        {"total_size": 21 * MB},
        {"total_size": "10"},
        {"total_chunks": 0},
        {"total_chunks": 101},
        {"md5": "x"},
        {"total_size": 2 * MB, "total_chunks": 3},
    ):
        assert double.take(INIT, {**about, **wrong})[0] != 0, wrong

    def piece(index: object, data: bytes, upload_id: str) -> int:
        encoded = base64.b64encode(data).decode()
        return double.take(CHUNK, {"upload_id": upload_id, "chunk_index": index, "base64_data": encoded})[0]

    code, answer = double.take(INIT, about)
    upload_id = str(answer["upload_id"])
    assert code == 0
    assert piece(0, b"01234", "strange") != 0
    assert piece(2, b"01234", upload_id) != 0
    assert piece(0, bytes(MAX_CHUNK_BYTES + 1), upload_id) != 0
    assert double.take(CHUNK, {"upload_id": upload_id, "chunk_index": 0, "base64_data": "%%%"})[0] != 0
    assert double.take(FINISH, {"upload_id": upload_id})[0] != 0
    assert piece(1, b"56789", upload_id) == piece(0, b"0123X", upload_id) == 0
    assert double.take(FINISH, {"upload_id": upload_id})[0] != 0
    assert piece(0, b"01234", upload_id) == 0
    code, answer = double.take(FINISH, {"upload_id": upload_id})
    assert code == 0
    media_id = str(answer["media_id"])
    assert double.find(media_id, "image") is None
    assert double.find(media_id, "file") is not None
