"""Frames of the long connection: published vectors and every bound."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from loong_channels.feishu import frames
from loong_channels.feishu.frames import CONTROL, DATA, Fragments, Frame, FrameInvalid, decode, encode
from tests.clocks import HandClock
from tests.fakes.feishu_wire import pack, unpack

PING = "0800100018f681801020002a0c0a0474797065120470696e67"
EVENT = (
    "08ac0210ffffffffffffffffff0118f681801020012a0d0a047479706512056576656e742a110a0a6d6573736167655f696412036d2d31"
    "2a080a0373756d1201312a080a037365711201302a0e0a0874726163655f69641202653142107b22736368656d61223a22322e30227d4a024c31"
)
ACK = (
    "08ac0210ffffffffffffffffff0118f681801020012a0d0a047479706512056576656e742a110a0a6d6573736167655f696412036d2d31"
    "2a080a0373756d1201312a080a037365711201302a0e0a0874726163655f6964120265312a0c0a0662697a5f727412023132420c7b22636f6465223a"
    "3230307d4a024c31"
)
NEGATIVE = "0801100218ffffffffffffffffff0120012a0d0a047479706512056576656e744200"
SERVICE = 33554678


def fragment(payload: bytes, total: object, index: object, push: str = "p-1") -> Frame:
    headers = (("type", "event"), ("message_id", push), ("sum", str(total)), ("seq", str(index)))
    return Frame(1, 2, SERVICE, DATA, headers, payload=payload)


def test_a_ping_is_written_as_published() -> None:
    assert encode(frames.ping(SERVICE)).hex() == PING
    ping = decode(bytes.fromhex(PING))
    assert ping == Frame(0, 0, SERVICE, CONTROL, (("type", "ping"),))


def test_an_event_and_its_acknowledgement_are_read_and_written_as_published() -> None:
    event = decode(bytes.fromhex(EVENT))
    assert (event.seq_id, event.log_id, event.service, event.method) == (300, 2**64 - 1, SERVICE, DATA)
    assert dict(event.headers) == {
        "type": "event",
        "message_id": "m-1",
        "sum": "1",
        "seq": "0",
        "trace_id": "e1",
    }
    assert (event.payload, event.log_id_new, event.payload_type) == (b'{"schema":"2.0"}', "L1", None)
    assert encode(event).hex() == EVENT
    ack = replace(event, headers=(*event.headers, ("biz_rt", "12")), payload=b'{"code":200}')
    assert encode(ack).hex() == ACK


def test_a_negative_service_takes_ten_bytes() -> None:
    frame = decode(bytes.fromhex(NEGATIVE))
    assert (frame.service, frame.payload) == (-1, b"")
    assert encode(frame).hex() == NEGATIVE


def test_strings_and_byte_fields_are_kept_as_they_came_present_or_absent() -> None:
    # Header value and LogIDNew are not UTF-8; an acknowledgement must still be an echo.
    data = bytes.fromhex("0800100018002001") + b"\x2a\x07\x0a\x01k\x12\x02\xff\xfe" + b"\x32\x00\x4a\x01\xff"
    frame = decode(data)
    assert frame.payload_encoding == ""
    assert frame.payload is None
    assert encode(frame) == data


def test_unknown_fields_any_order_and_repeated_fields_are_read_like_everywhere() -> None:
    plain = decode(bytes.fromhex(EVENT))
    noise = b"\x78\x05" + b"\x81\x01" + b"x" * 8 + b"\x85\x01" + b"x" * 4 + b"\x7a\x03abc"
    assert decode(noise + bytes.fromhex(EVENT) + noise) == plain
    # A number where bytes belong, and bytes where a number belongs, are unknown fields.
    assert decode(bytes.fromhex(EVENT) + b"\x40\x01" + b"\x0a\x01x") == plain
    assert decode(bytes.fromhex(EVENT) + b"\x08\x07").seq_id == 7
    assert decode(b"\x20\x01").method == DATA
    assert decode(b"") == Frame()


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x08\x80",
        b"\x08" + b"\x80" * 10 + b"\x01",
        b"\x42\x05abcd",
        b"\x42\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x09abc",
        b"\x0d\x01",
        b"\x0b",
        b"\x0c",
        b"\x0e",
        b"\x0f",
        b"\x00\x00",
        b"\x80\x80\x80\x80\x10\x01",
        b"\x2a\x02\x0a\x05",
        b"\x2a\x00" * 257,
    ],
)
def test_what_breaks_a_bound_is_no_frame(data: bytes) -> None:
    with pytest.raises(FrameInvalid):
        decode(data)


def test_every_truncation_of_a_frame_is_read_or_refused() -> None:
    for size in range(len(EVENT) // 2):
        try:
            decode(bytes.fromhex(EVENT)[:size])
        except FrameInvalid:
            continue


def test_the_codec_of_the_double_and_ours_agree_on_random_frames() -> None:
    rng = random.Random(5)
    for _ in range(500):
        headers = tuple(
            (f"k{n}", "".join(rng.choices("aé漢😀 ", k=rng.randrange(6)))) for n in range(rng.randrange(6))
        )
        frame = Frame(
            rng.getrandbits(64),
            rng.getrandbits(rng.choice((1, 63, 64))),
            rng.randint(-(2**31), 2**31 - 1),
            rng.randrange(3),
            headers,
            rng.choice((None, "", "gzip")),
            rng.choice((None, "json")),
            rng.choice((None, b"", rng.randbytes(300))),
            rng.choice((None, "L")),
        )
        data = encode(frame)
        other = unpack(data)
        assert pack(other) == data
        assert decode(pack(other)) == frame
        assert (other["service"], other["log_id"]) == (frame.service, frame.log_id)


def test_pieces_in_any_order_make_the_whole_even_when_cut_within_a_character() -> None:
    rng = random.Random(2)
    whole = '{"text":"漢字😀é"}'.encode()
    for total in range(2, 18):
        gathered = Fragments()
        cuts = [0, *sorted(rng.sample(range(1, len(whole)), total - 1)), len(whole)]
        pieces = [(n, whole[cuts[n] : cuts[n + 1]]) for n in range(total)]
        rng.shuffle(pieces)
        results = [gathered.add(fragment(piece, total, n)) for n, piece in pieces]
        assert results == [None] * (total - 1) + [whole]
        assert (gathered.waiting, gathered.kept_bytes) == (0, 0)


def test_a_single_frame_is_whole_with_or_without_numbers() -> None:
    gathered = Fragments()
    assert gathered.add(fragment(b"x", 1, 0)) == b"x"
    assert gathered.add(Frame(method=DATA, payload=b"y")) == b"y"
    assert gathered.add(Frame(method=DATA)) == b""


@pytest.mark.parametrize(
    ("total", "index"),
    [
        (0, 0),
        (-1, 0),
        (2, 2),
        (2, -1),
        (4097, 0),
        (2000000000, 0),
        ("x", 0),
        ("", 0),
        (2, "1.0"),
        ("9" * 5000, 0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(total: object, index: object) -> None:
    gathered = Fragments()
    with pytest.raises(FrameInvalid):
        gathered.add(fragment(b"x", total, index))
    assert gathered.waiting == 0


def test_a_piece_that_comes_twice_replaces_itself() -> None:
    gathered = Fragments()
    gathered.add(fragment(b"old", 2, 0))
    gathered.add(fragment(b"new", 2, 0))
    assert gathered.add(fragment(b"!", 2, 1)) == b"new!"
    assert gathered.kept_bytes == 0


def test_pieces_that_disagree_about_their_number_are_dropped_together() -> None:
    gathered = Fragments()
    gathered.add(fragment(b"a", 2, 0))
    with pytest.raises(FrameInvalid):
        gathered.add(fragment(b"b", 3, 1))
    assert (gathered.waiting, gathered.kept_bytes) == (0, 0)
    gathered.add(fragment(b"a", 2, 0))
    assert gathered.add(fragment(b"b", 2, 1)) == b"ab"


def test_pieces_of_which_nothing_more_comes_are_forgotten_after_ten_seconds() -> None:
    clock = HandClock()
    gathered = Fragments(clock.monotonic_s)
    gathered.add(fragment(b"a", 3, 0))
    clock.advance(9)
    gathered.add(fragment(b"b", 3, 1))
    clock.advance(9)
    assert gathered.waiting == 1
    clock.advance(2)
    assert gathered.waiting == 0
    # What is left of the push starts anew.
    assert gathered.add(fragment(b"c", 3, 2)) is None
    assert gathered.waiting == 1


def test_sets_pieces_and_bytes_are_bounded_and_the_oldest_goes_first() -> None:
    gathered = Fragments()
    for n in range(frames.MAX_SETS + 10):
        gathered.add(fragment(b"a", 2, 0, f"p-{n}"))
    assert gathered.waiting == frames.MAX_SETS
    assert gathered.add(fragment(b"b", 2, 1, "p-9")) is None
    assert gathered.add(fragment(b"b", 2, 1, f"p-{frames.MAX_SETS + 9}")) == b"ab"
    gathered = Fragments()
    for n in range(40):
        gathered.add(fragment(b"x" * (1 << 20), 9, 0, f"q-{n}"))
        assert gathered.kept_bytes <= frames.MAX_KEPT_BYTES
    with pytest.raises(FrameInvalid):
        for n in range(9):
            gathered.add(fragment(b"x" * (1 << 20), 90, n, "large"))
    with pytest.raises(FrameInvalid):
        gathered.add(fragment(b"x", 2, 0, ""))
    with pytest.raises(FrameInvalid):
        gathered.add(fragment(b"x", 2, 0, "m" * 257))
