"""Event streams, cut at every byte."""

from __future__ import annotations

import pytest

from loong_gateway.providers.sse import SseDecoder, SseEvent, SseOversize


def decode(*chunks: bytes) -> list[SseEvent]:
    decoder = SseDecoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.finish()


STREAM = (
    "\ufeff: keep-alive\n"
    'data: {"a": "\u4e2d\u6587 \U0001f600 \u2028 \u0085"}\n\n'
    "event: error\ndata:first\ndata:  second\nid: 7\nretry: 5\nfield without colon\n\n"
    "event: nothing to dispatch\n\n"
    "data\n\n"
    "data: [DONE]\n\n"
)
EVENTS = [
    SseEvent("", '{"a": "\u4e2d\u6587 \U0001f600 \u2028 \u0085"}'),
    SseEvent("error", "first\n second"),
    SseEvent("", ""),
    SseEvent("", "[DONE]"),
]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_stream_may_be_cut_at_any_byte(line_end: str) -> None:
    raw = STREAM.replace("\n", line_end).encode()
    for cut in range(len(raw) + 1):
        assert decode(raw[:cut], raw[cut:]) == EVENTS, cut


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_stream_may_come_byte_by_byte(line_end: str) -> None:
    raw = STREAM.replace("\n", line_end).encode()
    assert decode(*[bytes([byte]) for byte in raw]) == EVENTS


def test_events_are_handed_out_as_soon_as_they_are_complete() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [SseEvent("", "a")]
    assert decoder.feed(b"data: b\r") == []
    assert decoder.feed(b"\n\r") == [SseEvent("", "b")]
    assert decoder.feed(b"\ndata: c\n\ndata") == [SseEvent("", "c")]


def test_an_event_whose_blank_line_is_missing_comes_at_the_end() -> None:
    assert decode(b"data: a\n\ndata: b") == [SseEvent("", "a"), SseEvent("", "b")]
    assert decode(b"data: a\n\ndata: b\n") == [SseEvent("", "a"), SseEvent("", "b")]


def test_broken_utf8_does_not_end_the_stream() -> None:
    assert decode(b"data: a\xffb\n\ndata: c\n\n") == [SseEvent("", "a\ufffdb"), SseEvent("", "c")]


@pytest.mark.parametrize("chunk", [b"x" * 64, b"x" * 2000, b"data: y\n\n" * 300, b"x" * 101 + b"\n"])
def test_what_is_too_long_is_refused(chunk: bytes) -> None:
    decoder = SseDecoder(max_line_bytes=100, max_stream_bytes=1000)
    with pytest.raises(SseOversize):
        for _ in range(2):
            decoder.feed(chunk)
