"""Frames of application/vnd.amazon.eventstream, whole, cut and damaged."""

from __future__ import annotations

import json
import struct
import zlib

import pytest

from loong_gateway.providers.event_frames import FrameDecoder
from tests.fakes.model_bedrock import frame

HELLO = frame(b'{"x": 1}', message_type="event", event_type="hello", content_type="application/json")


def sealed(size: int, block: bytes, payload: bytes = b"") -> bytes:
    """A frame that says it has `size` bytes, with sums that fit."""
    prelude = struct.pack(">II", size, len(block))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return body + struct.pack(">I", zlib.crc32(body))


def events(data: bytes) -> list[object]:
    return [json.loads(event.data) for event in FrameDecoder().feed(data)]


def test_frames_come_one_by_one_and_in_pieces() -> None:
    assert events(HELLO * 2) == [{"hello": {"x": 1}}] * 2
    decoder = FrameDecoder()
    found = [event for place in range(len(HELLO)) for event in decoder.feed(HELLO[place : place + 1])]
    assert [json.loads(event.data) for event in found] == [{"hello": {"x": 1}}] and decoder.finish() == []


def test_an_exception_is_an_error() -> None:
    raised = frame(b'{"message": "slow"}', message_type="exception", exception_type="throttlingException")
    failed = frame(b"", message_type="error", error_code="InternalError", error_message="oh")
    assert events(raised + failed) == [
        {"error": {"type": "throttlingException", "message": "slow"}},
        {"error": {"type": "InternalError", "message": "oh"}},
    ]


def test_headers_of_every_type_are_passed_over() -> None:
    block = b""
    for kind, size in {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}.items():
        block += b"\x01a" + bytes([kind]) + bytes(size)
    block += b"\x01b\x06\x00\x02\xff\xff" + b"\x0b:event-type\x07\x00\x02hi"
    assert events(sealed(16 + len(block), block)) == [{"hi": {}}]


@pytest.mark.parametrize("place", range(len(HELLO)))
def test_damage_anywhere_is_noticed(place: int) -> None:
    broken = bytearray(HELLO)
    broken[place] ^= 1
    with pytest.raises(ValueError, match="frame"):
        FrameDecoder().feed(bytes(broken))


@pytest.mark.parametrize(
    "data",
    [
        sealed((1 << 20) + 1, b""),
        sealed(15, b""),
        sealed(18, b"\x01a"),
        sealed(19, b"\x01a\x0a"),
        sealed(21, b"\x01a\x07\x00\x09"),
        sealed(19, b"\x01\xff\x00"),
        frame(b"{}", message_type="event", event_type='a": 1, "b'),
        frame(b"{}", message_type="event"),
    ],
    ids=["long", "short", "no-type", "odd-type", "cut-value", "no-text", "bad-name", "no-name"],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        FrameDecoder().feed(data)


def test_a_stream_has_an_end() -> None:
    big = frame(b'"' + b"x" * 1_000_000 + b'"', message_type="event", event_type="hello")
    decoder = FrameDecoder()
    with pytest.raises(ValueError, match="too long"):
        for _ in range(9):
            decoder.feed(big)
