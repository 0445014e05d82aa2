"""Frames of the long connection: a protobuf message of nine fields, read and written by hand; and their fragments.

    Header: 1 key (string), 2 value (string)
    Frame:  1 SeqID (uint64), 2 LogID (uint64), 3 service (int32), 4 method (int32), 5 headers (Header, repeated),
            6 payload_encoding, 7 payload_type (strings), 8 payload (bytes), 9 LogIDNew (string)

Fields 1 to 4 are required, so they are written even when they are 0. The encoding is that of
https://protobuf.dev/programming-guides/encoding/ and the fields are those of the platform's own clients.
Nothing here opens a connection; a clock is handed in.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Callable

__all__ = ["CONTROL", "DATA", "Fragments", "Frame", "FrameInvalid", "decode", "encode", "ping"]

CONTROL = 0
DATA = 1

MAX_HEADERS = 256
MAX_PIECES = 4096
MAX_SETS = 64
MAX_SET_BYTES = 4 << 20
MAX_KEPT_BYTES = 8 << 20
FORGET_AFTER_S = 10.0
# What a piece costs besides its bytes, so that empty ones are not free.
_PIECE_BYTES = 128
_MAX_ID = 256

_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_MAX_VARINT_BYTES = 10
_MAX_FIELD = (1 << 29) - 1
_64_BITS = (1 << 64) - 1
_NUMBERS = {1: "seq_id", 2: "log_id", 3: "service", 4: "method"}
_STRINGS = {6: "payload_encoding", 7: "payload_type", 9: "log_id_new"}


class FrameInvalid(ValueError):
    """Raised for bytes that are no frame, and for fragments that cannot belong together. Holds nothing of them."""


@dataclass(frozen=True)
class Frame:
    """One frame. `method` is CONTROL or DATA; None marks an optional field that is absent.

    Bytes of a string that are not UTF-8 are kept as surrogate escapes, so that a frame that is sent back is the same.
    """

    seq_id: int = 0
    log_id: int = 0
    service: int = 0
    method: int = 0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    payload_encoding: str | None = None
    payload_type: str | None = None
    payload: bytes | None = field(default=None, repr=False)
    log_id_new: str | None = None

    def header(self, name: str) -> str | None:
        """The first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)


def ping(service: int) -> Frame:
    """The heartbeat of the client."""
    return Frame(service=service, method=CONTROL, headers=(("type", "ping"),))


def decode(data: bytes) -> Frame:
    """Read a frame. Fields may come in any order and unknown ones are skipped; an absent number counts as 0.

    Linear in the length of `data`. Raises FrameInvalid.
    """
    values: dict[str, int | str | bytes] = {}
    headers: list[tuple[str, str]] = []
    for number, value in _fields(data):
        if isinstance(value, int):
            if number in (1, 2):
                values[_NUMBERS[number]] = value
            elif number in (3, 4):
                values[_NUMBERS[number]] = _signed_32(value)
        elif number == 5:
            if len(headers) == MAX_HEADERS:
                raise FrameInvalid("too many headers")
            headers.append(_header(value))
        elif number == 8:
            values["payload"] = value
        elif number in _STRINGS:
            values[_STRINGS[number]] = _text(value)
    return Frame(headers=tuple(headers), **values)  # type: ignore[arg-type]


def encode(frame: Frame) -> bytes:
    """Write a frame, its fields in the order of their numbers and only those that are present."""
    out = bytearray()
    for number, value in ((1, frame.seq_id), (2, frame.log_id), (3, frame.service), (4, frame.method)):
        out += _varint(number << 3 | _VARINT) + _varint(value & _64_BITS)
    for key, text in frame.headers:
        out += _counted(5, _counted(1, _raw(key)) + _counted(2, _raw(text)))
    for number, name in ((6, frame.payload_encoding), (7, frame.payload_type)):
        if name is not None:
            out += _counted(number, _raw(name))
    if frame.payload is not None:
        out += _counted(8, frame.payload)
    if frame.log_id_new is not None:
        out += _counted(9, _raw(frame.log_id_new))
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The varints and byte strings of a message; fields of a fixed width are passed over."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_FIELD:
            raise FrameInvalid("a field number out of range")
        if wire == _VARINT:
            value, position = _read_varint(data, position)
            yield number, value
            continue
        if wire == _BYTES:
            length, position = _read_varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise FrameInvalid("a wire type that is not in use")
        end = position + length
        if end > len(data):
            raise FrameInvalid("a field that reaches beyond the end")
        if wire == _BYTES:
            yield number, data[position:end]
        position = end


def _header(data: bytes) -> tuple[str, str]:
    parts = {1: "", 2: ""}
    for number, value in _fields(data):
        if number in parts and isinstance(value, bytes):
            parts[number] = _text(value)
    return parts[1], parts[2]


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[position : position + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & _64_BITS, position + index + 1
    raise FrameInvalid("a number that does not end")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _counted(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def _signed_32(value: int) -> int:
    low = value & 0xFFFFFFFF
    return low - (1 << 32) if low >= 1 << 31 else low


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Set:
    """The pieces of one push that have arrived. `size` counts what they cost, `touched_s` is when the last one came."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.pieces: dict[int, bytes] = {}
        self.size = 0
        self.touched_s = 0.0


class Fragments:
    """Puts the pieces of pushes together; belongs to one connection. Not thread-safe.

    Sets of which nothing came for 10 s are forgotten, and the oldest when there are more than 64 or they hold more than
    8 MiB. A forgotten push was never acknowledged, so the platform sends it again. `clock` returns monotonic seconds;
    `lost` is told the id of a push that is forgotten, how many pieces of it came and how many there are.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        lost: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self._clock = clock
        self._lost = lost
        self._sets: OrderedDict[str, _Set] = OrderedDict()
        self._kept_bytes = 0

    @property
    def waiting(self) -> int:
        """How many pushes are incomplete."""
        self.forget()
        return len(self._sets)

    @property
    def kept_bytes(self) -> int:
        """What the pieces at hand cost; never above 8 MiB after `add`."""
        return self._kept_bytes

    def add(self, frame: Frame) -> bytes | None:
        """The whole payload when this frame completes it, else None. Raises FrameInvalid for one that fits nowhere."""
        total, index = _count(frame.header("sum"), 1), _count(frame.header("seq"), 0)
        if not (1 <= total <= MAX_PIECES and 0 <= index < total):
            raise FrameInvalid("a fragment number out of range")
        payload = frame.payload or b""
        if total == 1:
            return payload
        key = frame.header("message_id") or ""
        if not 0 < len(key) <= _MAX_ID:
            raise FrameInvalid("a fragment of no push")
        self.forget()
        return self._keep(key, total, index, payload)

    def forget(self) -> None:
        """Drop the sets that have waited too long."""
        limit_s = self._clock() - FORGET_AFTER_S
        while self._sets:
            key, oldest = next(iter(self._sets.items()))
            if oldest.touched_s > limit_s:
                return
            self._lose(key)

    def _keep(self, key: str, total: int, index: int, payload: bytes) -> bytes | None:
        pieces = self._sets.get(key)
        if pieces is None:
            pieces = self._sets[key] = _Set(total)
        elif pieces.total != total:
            self._lose(key)
            raise FrameInvalid("fragments that disagree about their number")
        replaced = pieces.pieces.get(index)
        cost = len(payload) + _PIECE_BYTES - (0 if replaced is None else len(replaced) + _PIECE_BYTES)
        pieces.pieces[index] = payload
        pieces.size += cost
        self._kept_bytes += cost
        pieces.touched_s = self._clock()
        self._sets.move_to_end(key)
        if len(pieces.pieces) == total:
            self._drop(key)
            return b"".join(pieces.pieces[number] for number in range(total))
        if pieces.size > MAX_SET_BYTES:
            self._lose(key)
            raise FrameInvalid("a push that is too large")
        while len(self._sets) > MAX_SETS or self._kept_bytes > MAX_KEPT_BYTES:
            self._lose(next(iter(self._sets)))
        return None

    def _lose(self, key: str) -> None:
        pieces = self._sets[key]
        self._drop(key)
        self._lost(key, len(pieces.pieces), pieces.total)

    def _drop(self, key: str) -> None:
        self._kept_bytes -= self._sets.pop(key).size


def _count(value: str | None, absent: int) -> int:
    if value is None:
        return absent
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise FrameInvalid("a fragment number that is none")
    return int(value)
