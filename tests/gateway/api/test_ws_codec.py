"""The WebSocket codec: the same events however the bytes arrive, and every refusal with its close code."""

from __future__ import annotations

import random
import struct
import tracemalloc

import pytest

from loong_gateway.api.ws.codec import (
    Close,
    Decoder,
    Event,
    Message,
    Ping,
    Pong,
    ProtocolError,
    close_frame,
    frame,
)
from tests.gateway.api.ws_kit import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    close_payload,
)

LIMIT = 1 << 20
HEART = "\u2665\U0001f409".encode()


def decoder(**limits: int) -> Decoder:
    return Decoder(**{"max_message_bytes": LIMIT, **limits})


def drained(reader: Decoder, data: bytes) -> list[Event]:
    reader.feed(data)
    events = []
    while (event := reader.next_event()) is not None:
        events.append(event)
    return events


def refused(data: bytes, **limits: int) -> int:
    with pytest.raises(ProtocolError) as raised:
        drained(decoder(**limits), data)
    assert raised.value.reason.isascii()
    return raised.value.code


CONVERSATION = b"".join(
    [
        client_frame(TEXT, b"hello"),
        client_frame(BINARY, bytes(range(256))),
        client_frame(TEXT, HEART[:2], final=False),
        client_frame(PING, b"are you there"),
        client_frame(CONTINUATION, b"", final=False),
        client_frame(CONTINUATION, HEART[2:5], final=False, mask=b"\0\0\0\0"),
        client_frame(PONG),
        client_frame(CONTINUATION, HEART[5:]),
        client_frame(TEXT),
        client_frame(BINARY, b"", final=False),
        client_frame(CONTINUATION, b"\xff"),
        client_frame(CLOSE, close_payload(1000, "für heute".encode())),
    ]
)
EVENTS = [
    Message("hello"),
    Message(bytes(range(256))),
    Ping(b"are you there"),
    Pong(b""),
    Message(HEART.decode()),
    Message(""),
    Message(b"\xff"),
    Close(1000, "für heute"),
]


def test_a_conversation_is_the_same_at_every_byte_boundary() -> None:
    assert drained(decoder(), CONVERSATION) == EVENTS
    for at in range(1, len(CONVERSATION)):
        reader = decoder()
        assert drained(reader, CONVERSATION[:at]) + drained(reader, CONVERSATION[at:]) == EVENTS, at


def test_a_conversation_is_the_same_byte_by_byte_and_in_any_pieces() -> None:
    chance = random.Random(6455)
    for most in [1, 2, 3, 5, 8, 50] * 5:
        reader, events, at = decoder(), [], 0
        while at < len(CONVERSATION):
            size = chance.randint(1, most)
            events += drained(reader, CONVERSATION[at : at + size])
            at += size
        assert events == EVENTS


def test_random_messages_come_out_as_they_were_however_they_are_fragmented() -> None:
    chance = random.Random(13)
    for _ in range(60):
        text = "".join(
            chance.choice("ab\u00e9\u20ac\U0001f409") for _ in range(chance.choice((0, 3, 200, 9_000)))
        )
        binary = chance.random() < 0.5
        payload = text.encode()
        cuts = sorted(chance.randrange(len(payload) + 1) for _ in range(chance.randrange(5)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)])]
        data = b""
        for number, part in enumerate(parts):
            opcode = CONTINUATION if number else (BINARY if binary else TEXT)
            final = number == len(parts) - 1
            data += client_frame(opcode, part, final=final, mask=chance.randbytes(4))
        half = chance.randrange(len(data))
        reader = decoder()
        assert drained(reader, data[:half]) + drained(reader, data[half:]) == [
            Message(payload if binary else text)
        ]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 65_537])
def test_every_form_of_a_length_is_read_and_written(length: int) -> None:
    payload = b"x" * length
    assert drained(decoder(), client_frame(BINARY, payload)) == [Message(payload)]
    written = frame(BINARY, payload)
    head = 2 if length < 126 else 4 if length < 65_536 else 10
    assert len(written) == head + length
    assert written[0] == 0x82
    announced = written[1] if head == 2 else int.from_bytes(written[2:head], "big")
    assert announced == length


HEADS = {
    "not masked": b"\x81\x05hello",
    "first reserved bit": client_frame(TEXT, b"x", bits=0x40),
    "second reserved bit": client_frame(TEXT, b"x", bits=0x20),
    "third reserved bit": client_frame(PING, b"", bits=0x10),
    **{f"opcode {n}": client_frame(n, b"x") for n in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "fragmented ping": client_frame(PING, b"x", final=False),
    "fragmented close": client_frame(CLOSE, b"", final=False),
    "long ping": client_frame(PING, b"x" * 126),
    "continuation of nothing": client_frame(CONTINUATION, b"x"),
    "message within a message": client_frame(TEXT, b"a", final=False) + client_frame(TEXT, b"b"),
    "two bytes for a short length": b"\x81\xfe\x00\x7d" + b"\0" * 4,
    "eight bytes for a middling length": b"\x81\xff" + struct.pack("!Q", 65_535) + b"\0" * 4,
    "sign bit in a length": b"\x81\xff" + struct.pack("!Q", 1 << 63) + b"\0" * 4,
    "one byte in a close": client_frame(CLOSE, b"\x03"),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_no_client_may_send_is_refused_with_1002(name: str) -> None:
    assert refused(HEADS[name]) == 1002


def test_a_bad_head_is_refused_before_its_payload_has_come() -> None:
    assert refused(b"\x83\x80") == 1002
    assert refused(b"\x89\xfe") == 1002


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_close_codes_that_none_may_send_are_refused(code: int) -> None:
    assert refused(client_frame(CLOSE, close_payload(code))) == 1002


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_close_codes_that_are_in_use_are_read(code: int) -> None:
    payload = close_payload(code, b"bye")
    assert drained(decoder(), client_frame(CLOSE, payload)) == [Close(code, "bye")]


def test_a_close_without_a_code_is_1005_and_nothing_behind_it_is_read() -> None:
    reader = decoder()
    assert drained(reader, client_frame(CLOSE) + b"\x83anything") == [Close(1005, "")]
    assert drained(reader, client_frame(TEXT, b"more")) == []


BAD_TEXTS = [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"abc\xff", b"\xe2\x82", b"\x80"]


@pytest.mark.parametrize("payload", BAD_TEXTS, ids=[bad.hex() for bad in BAD_TEXTS])
def test_text_that_is_not_utf8_is_refused_with_1007(payload: bytes) -> None:
    assert refused(client_frame(TEXT, payload)) == 1007
    parts = [client_frame(CONTINUATION, bytes((byte,)), final=False) for byte in payload]
    assert refused(client_frame(TEXT, b"ok", final=False) + b"".join(parts) + client_frame(0)) == 1007
    assert refused(client_frame(CLOSE, close_payload(1000, payload))) == 1007


def test_text_that_cannot_become_valid_is_refused_at_its_first_bad_byte() -> None:
    whole = client_frame(TEXT, b"good \xf4\x90\x80\x80 and much more that has yet to come")
    reader = decoder()
    assert drained(reader, whole[: 6 + 6]) == []
    with pytest.raises(ProtocolError) as raised:
        drained(reader, whole[6 + 6 : 6 + 7])
    assert raised.value.code == 1007


def test_what_came_whole_before_a_bad_frame_is_still_given_out() -> None:
    reader = decoder()
    reader.feed(client_frame(TEXT, b"first") + b"\x83\x80" + client_frame(TEXT, b"never"))
    assert reader.next_event() == Message("first")
    with pytest.raises(ProtocolError):
        reader.next_event()
    assert drained(reader, client_frame(TEXT, b"never")) == []


def test_a_length_over_the_limit_is_refused_before_a_byte_of_it_is_kept() -> None:
    announced = b"\x82\xff" + struct.pack("!Q", 1 << 40)
    assert refused(announced) == 1009
    assert refused(client_frame(BINARY, b"x" * 101)[:4], max_message_bytes=100) == 1009
    assert drained(decoder(max_message_bytes=100), client_frame(BINARY, b"x" * 100)) == [Message(b"x" * 100)]


def test_the_limit_counts_over_all_fragments_and_begins_anew_with_each_message() -> None:
    half = client_frame(BINARY, b"x" * 60, final=False)
    assert refused(half + client_frame(CONTINUATION, b"x" * 41), max_message_bytes=100) == 1009
    fits = half + client_frame(PING, b"y" * 125) + client_frame(CONTINUATION, b"x" * 40)
    events = drained(decoder(max_message_bytes=100), fits * 3)
    assert [event for event in events if isinstance(event, Message)] == [Message(b"x" * 100)] * 3


def test_the_limit_may_be_raised_between_two_messages_that_came_together() -> None:
    reader = decoder(max_message_bytes=10)
    reader.feed(client_frame(TEXT, b"connect") + client_frame(TEXT, b"x" * 1000))
    assert reader.next_event() == Message("connect")
    reader.max_message_bytes = 1000
    assert reader.next_event() == Message("x" * 1000)


def test_one_fragment_too_many_is_refused_even_if_all_are_empty() -> None:
    first, more = client_frame(TEXT, b"", final=False), client_frame(CONTINUATION, b"", final=False)
    assert drained(decoder(max_fragments=5), first + more * 4) == []
    assert refused(first + more * 5, max_fragments=5) == 1009
    whole = first + more * 3 + client_frame(CONTINUATION)
    assert drained(decoder(max_fragments=5), whole * 2) == [Message("")] * 2


def test_a_message_that_drips_takes_little_more_memory_than_it_has_bytes() -> None:
    data = client_frame(TEXT, b"\xc3\xa9" * 6_000)
    reader = decoder()
    reader.feed(data[:8])
    tracemalloc.start()
    for at in range(8, len(data) - 2, 2):
        reader.feed(data[at : at + 2])
        assert reader.next_event() is None
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 3 * len(data)
    assert drained(reader, data[-2:]) == [Message("\u00e9" * 6_000)]


def test_between_messages_nothing_of_the_last_one_is_held() -> None:
    data = client_frame(TEXT, b"x" * 50_000)
    reader = decoder()
    tracemalloc.start()
    assert drained(reader, bytes(bytearray(data))) == [Message("x" * 50_000)]
    assert drained(reader, data[:20_000]) == []
    assert len(drained(reader, data[20_000:])) == 1
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000


def test_sixteen_megabytes_are_unmasked_as_they_were() -> None:
    payload = random.Random(16).randbytes(1 << 12) * (1 << 12)
    reader = decoder(max_message_bytes=len(payload))
    assert drained(reader, client_frame(BINARY, payload)) == [Message(payload)]


def test_a_close_frame_carries_a_reason_cut_between_characters() -> None:
    assert close_frame(1005) == b"\x88\x00"
    assert close_frame(1000) == b"\x88\x02\x03\xe8"
    cut = close_frame(1008, "a" + "\u20ac" * 60)
    assert cut[4:].decode() == "a" + "\u20ac" * 39
    assert close_frame(1008, "x" * 500)[4:] == b"x" * 120
    assert close_frame(1008, "\ud800")[4:] == b"?"


def test_a_long_control_frame_is_never_written() -> None:
    assert len(frame(PING, b"x" * 125)) == 127
    with pytest.raises(ValueError, match="too long"):
        frame(PING, b"x" * 126)
