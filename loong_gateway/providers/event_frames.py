"""Streams of the media type application/vnd.amazon.eventstream: bytes in, events out, no socket.

https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator

from loong_gateway.providers.sse import MAX_LINE_BYTES, MAX_STREAM_BYTES, SseEvent

__all__ = ["FrameDecoder"]

_PRELUDE = struct.Struct(">III")
_CRC_BYTES = 4
# Sizes of header values by their type; types 6 and 7 say their own.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED = (6, 7)
_NAME = re.compile(r"\w{1,64}", re.ASCII)


class FrameDecoder:
    """Decodes one stream; see answer.Decoder. Not thread-safe. Bytes may be cut anywhere.

    The data of an event is a JSON object with one member, named by the type of the event; "error" for exceptions.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = MAX_STREAM_BYTES

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes; returns the events they complete. Raises ValueError for a broken or too long frame."""
        self._left -= len(chunk)
        if self._left < 0:
            raise ValueError("the stream is too long")
        self._buffer += chunk
        events = []
        while len(self._buffer) >= _PRELUDE.size:
            size, header_size, check = _PRELUDE.unpack_from(self._buffer)
            if zlib.crc32(self._buffer[: _PRELUDE.size - _CRC_BYTES]) != check:
                raise ValueError("the beginning of a frame is damaged")
            if size > MAX_LINE_BYTES:
                raise ValueError("a frame of the stream is too long")
            if header_size + _PRELUDE.size + _CRC_BYTES > size:
                raise ValueError("a frame is shorter than its headers")
            if len(self._buffer) < size:
                break
            frame = bytes(self._buffer[:size])
            del self._buffer[:size]
            if zlib.crc32(frame[:-_CRC_BYTES]) != int.from_bytes(frame[-_CRC_BYTES:], "big"):
                raise ValueError("a frame is damaged")
            body = _PRELUDE.size + header_size
            events.append(_event(_headers(frame[_PRELUDE.size : body]), frame[body:-_CRC_BYTES]))
        return events

    def finish(self) -> list[SseEvent]:
        """The stream has ended; a frame that is still open says nothing."""
        return []


def _headers(block: bytes) -> dict[str, str]:
    """The headers that are text."""
    try:
        return dict(_walk(block))
    except (IndexError, KeyError, UnicodeDecodeError):
        raise ValueError("the headers of a frame are damaged") from None


def _walk(block: bytes) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(block):
        end = place + 1 + block[place]
        name, kind = block[place + 1 : end].decode(), block[end]
        place = end + 1
        if kind in _SIZED:
            size = int.from_bytes(block[place : place + 2], "big")
            place += 2
        else:
            size = _FIXED[kind]
        if place + size > len(block):
            raise IndexError
        if kind == _SIZED[-1]:
            yield name, block[place : place + size].decode()
        place += size


def _event(headers: dict[str, str], payload: bytes) -> SseEvent:
    kind = headers.get(":message-type", "event")
    if kind == "event":
        name = headers.get(":event-type", "")
        if not _NAME.fullmatch(name):
            raise ValueError("a frame does not say what it is")
        return SseEvent("", f'{{"{name}": {payload.decode("utf-8", "replace") or "{}"}}}')
    message = headers.get(":error-message", "")
    try:
        said = json.loads(payload) if payload else {}
    except (ValueError, RecursionError):
        said = {}
    if isinstance(said, dict) and isinstance(said.get("message"), str):
        message = said["message"]
    code = headers.get(":exception-type") or headers.get(":error-code") or "unknown"
    return SseEvent("", json.dumps({"error": {"type": code, "message": message}}))
