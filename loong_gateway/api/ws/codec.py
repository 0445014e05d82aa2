"""WebSocket frames as a server reads and writes them: bytes in, events out. No socket, no clock.

https://www.rfc-editor.org/rfc/rfc6455 sections 5, 7 and 8.1; without extensions, so every reserved bit is an error.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Union

__all__ = [
    "BINARY",
    "CLOSE",
    "GOING_AWAY",
    "INVALID_DATA",
    "MAX_FRAGMENTS",
    "NO_STATUS",
    "PING",
    "PONG",
    "PROTOCOL_BROKEN",
    "TEXT",
    "TOO_BIG",
    "Close",
    "Decoder",
    "Event",
    "Message",
    "Ping",
    "Pong",
    "ProtocolError",
    "close_frame",
    "frame",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_KNOWN = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})
GOING_AWAY, PROTOCOL_BROKEN, NO_STATUS, INVALID_DATA, TOO_BIG = 1001, 1002, 1005, 1007, 1009
MAX_FRAGMENTS = 16_384
_MAX_CONTROL_BYTES = 125
_MAX_REASON_BYTES = 120


class ProtocolError(Exception):
    """Raised for what may not be answered but with a close frame. `reason` is constant and may be sent."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Message:
    """A whole message: text as str, binary as bytes."""

    data: str | bytes


@dataclass(frozen=True)
class Ping:
    """To be answered by a pong with the same payload."""

    payload: bytes


@dataclass(frozen=True)
class Pong:
    """The answer to a ping, or unasked."""

    payload: bytes


@dataclass(frozen=True)
class Close:
    """The peer's last frame. `code` is 1005 when it gave none."""

    code: int
    reason: str


Event = Union[Message, Ping, Pong, Close]


class Decoder:
    """Reads what a client sends; keeps no more of it than `max_message_bytes`, whatever is announced. Not thread-safe.

    `max_message_bytes` may be changed between two events; it counts over all fragments of a message. `max_fragments`
    counts the frames of one message.
    """

    def __init__(self, *, max_message_bytes: int, max_fragments: int = MAX_FRAGMENTS) -> None:
        self.max_message_bytes = max_message_bytes
        self._max_fragments = max_fragments
        self._data = b""
        self._at = 0
        self._ended = False
        # The frame whose payload is being read. A control frame is taken whole, and never gets here.
        self._in_frame = False
        self._final = False
        self._left = 0
        self._mask = b""
        # The message that is being read: TEXT or BINARY, or CONTINUATION between messages.
        self._kind = CONTINUATION
        self._fragments = 0
        self._message_bytes = 0
        self._collected = bytearray()
        self._utf8: codecs.IncrementalDecoder | None = None

    def feed(self, data: bytes) -> None:
        """Take what arrived. To be followed by `next_event` until it gives None."""
        if not self._ended:
            self._data = self._data[self._at :] + data
            self._at = 0

    def next_event(self) -> Event | None:
        """The next event; None until more was fed, and for ever after a Close or a ProtocolError, which it raises."""
        try:
            while not self._ended:
                if not self._in_frame:
                    event = self._begin_frame()
                    if event is not None:
                        self._ended = isinstance(event, Close)
                        return event
                    if not self._in_frame:
                        return None
                message = self._take_payload()
                if message is not None:
                    return message
                if self._in_frame:
                    return None
        except ProtocolError:
            self._ended = True
            raise
        finally:
            if self._ended:
                self._collected = bytearray()
            if self._ended or self._at == len(self._data):
                # Between messages a connection holds nothing of the last one.
                self._data, self._at = b"", 0
        return None

    def _begin_frame(self) -> Event | None:
        """Read a frame's head, and a control frame whole. Changes nothing while bytes are missing."""
        data, at = self._data, self._at
        if len(data) - at < 2:
            return None
        first, second = data[at], data[at + 1]
        opcode, final, length = first & 0x0F, bool(first & 0x80), second & 0x7F
        self._check_head(first, second)
        at += 2
        if length > _MAX_CONTROL_BYTES:
            size = 2 if length == 126 else 8
            if len(data) - at < size:
                return None
            length = int.from_bytes(data[at : at + size], "big")
            if length < (126 if size == 2 else 65_536) or length >= 1 << 63:
                raise ProtocolError(PROTOCOL_BROKEN, "bad length")
            at += size
        if opcode < CLOSE and self._message_bytes + length > self.max_message_bytes:
            raise ProtocolError(TOO_BIG, "message too big")
        if len(data) - at < (4 if opcode < CLOSE else 4 + length):
            return None
        mask, at = data[at : at + 4], at + 4
        if opcode >= CLOSE:
            self._at = at + length
            return _control(opcode, _unmasked(data[at : at + length], mask))
        self._at = at
        self._begin_fragment(opcode, length)
        self._in_frame, self._final, self._left, self._mask = True, final, length, mask
        return None

    def _check_head(self, first: int, second: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise ProtocolError(PROTOCOL_BROKEN, "reserved bit")
        if opcode not in _KNOWN:
            raise ProtocolError(PROTOCOL_BROKEN, "unknown opcode")
        if not second & 0x80:
            raise ProtocolError(PROTOCOL_BROKEN, "frame not masked")
        if opcode >= CLOSE:
            if not first & 0x80 or second & 0x7F > _MAX_CONTROL_BYTES:
                raise ProtocolError(PROTOCOL_BROKEN, "bad control frame")
        elif (opcode == CONTINUATION) != (self._kind != CONTINUATION):
            raise ProtocolError(PROTOCOL_BROKEN, "bad continuation")

    def _begin_fragment(self, opcode: int, length: int) -> None:
        if opcode != CONTINUATION:
            self._kind = opcode
        self._fragments += 1
        if self._fragments > self._max_fragments:
            raise ProtocolError(TOO_BIG, "too many fragments")
        self._message_bytes += length

    def _take_payload(self) -> Message | None:
        """Take what is there of a data frame's payload; the message when it is whole."""
        piece = self._data[self._at : self._at + self._left]
        self._at += len(piece)
        self._left -= len(piece)
        piece = _unmasked(piece, self._mask)
        turn = len(piece) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        self._in_frame = self._left > 0
        whole = self._final and not self._in_frame
        data: bytes | bytearray = piece
        if not whole or self._fragments > 1 or self._collected:
            self._collect(piece)
            data = self._collected
        if not whole:
            return None
        try:
            message = Message(data.decode("utf-8") if self._kind == TEXT else bytes(data))
        except UnicodeDecodeError:
            raise ProtocolError(INVALID_DATA, "invalid UTF-8") from None
        self._kind, self._fragments, self._message_bytes, self._utf8 = CONTINUATION, 0, 0, None
        self._collected = bytearray()
        return message

    def _collect(self, piece: bytes) -> None:
        """Keep a part of a message, and refuse text that can no longer become valid at once.

        Bytes are kept, not the text made of them: a list of strings would take fifty times as much when they drip.
        """
        if self._kind == TEXT:
            if self._utf8 is None:
                self._utf8 = codecs.getincrementaldecoder("utf-8")()
            try:
                self._utf8.decode(piece)
            except UnicodeDecodeError:
                raise ProtocolError(INVALID_DATA, "invalid UTF-8") from None
        self._collected += piece


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole message or control frame, unmasked as a server's must be. A control payload has at most 125 bytes."""
    length = len(payload)
    if length <= _MAX_CONTROL_BYTES:
        return bytes((0x80 | opcode, length)) + payload
    if opcode >= CLOSE:
        raise ValueError("a control frame is too long")
    if length < 65_536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; 1005 stands for one without a code. The reason is cut to 120 bytes between two characters."""
    if code == NO_STATUS:
        return frame(CLOSE, b"")
    text = reason.encode("utf-8", "replace")[:_MAX_REASON_BYTES].decode("utf-8", "ignore")
    return frame(CLOSE, code.to_bytes(2, "big") + text.encode("utf-8"))


def _control(opcode: int, payload: bytes) -> Event:
    if opcode == PING:
        return Ping(payload)
    if opcode == PONG:
        return Pong(payload)
    if not payload:
        return Close(NO_STATUS, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not _may_be_sent(code):
        raise ProtocolError(PROTOCOL_BROKEN, "bad close code")
    try:
        return Close(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise ProtocolError(INVALID_DATA, "invalid UTF-8") from None


def _may_be_sent(code: int) -> bool:
    # 1012 to 1014 came later: https://www.iana.org/assignments/websocket/websocket.xhtml
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def _unmasked(data: bytes, mask: bytes) -> bytes:
    """Both as one number each: byte by byte, 16 MiB would take seconds."""
    length = len(data)
    if not length or mask == b"\0\0\0\0":
        return data
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(length, "little")
