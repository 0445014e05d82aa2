"""The double's own codec of long-connection frames, written from the published field table; shared with nobody."""

from __future__ import annotations

import io
from typing import Any

_SINGLE = {6: "payload_encoding", 7: "payload_type", 9: "log_id_new"}


def pack(frame: dict[str, Any]) -> bytes:
    """Serialise {"seq_id", "log_id", "service", "method", "headers": [(key, value)], ...}."""
    out = io.BytesIO()
    for number, name in enumerate(("seq_id", "log_id", "service", "method"), 1):
        _number(out, number << 3)
        _number(out, int(frame.get(name, 0)) % (1 << 64))
    for key, value in frame.get("headers", ()):
        inner = io.BytesIO()
        _chunk(inner, 1, key.encode())
        _chunk(inner, 2, value.encode())
        _chunk(out, 5, inner.getvalue())
    for number, name in (
        (6, "payload_encoding"),
        (7, "payload_type"),
        (8, "payload"),
        (9, "log_id_new"),
    ):
        value = frame.get(name)
        if value is not None:
            _chunk(out, number, value if isinstance(value, bytes) else value.encode())
    return out.getvalue()


def unpack(data: bytes) -> dict[str, Any]:
    """Parse what a client sent. Raises ValueError for anything the platform's own parser would not take."""
    source = io.BytesIO(data)
    frame: dict[str, Any] = {"headers": []}
    while source.tell() < len(data):
        number, wire = divmod(_read(source), 8)
        if number in (1, 2, 3, 4):
            _must(wire == 0, "a number field with another wire type")
            value = _read(source)
            if number > 2:
                value = (value + (1 << 31)) % (1 << 32) - (1 << 31)
            frame[("seq_id", "log_id", "service", "method")[number - 1]] = value
            continue
        _must(wire == 2 and 5 <= number <= 9, f"field {number} with wire type {wire}")
        size = _read(source)
        piece = source.read(size)
        _must(len(piece) == size, "a truncated field")
        if number == 5:
            frame["headers"].append(_pair(piece))
        else:
            frame[_SINGLE.get(number, "payload")] = piece if number == 8 else piece.decode()
    missing = [name for name in ("seq_id", "log_id", "service", "method") if name not in frame]
    _must(not missing, f"required fields are missing: {missing}")
    return frame


def _pair(data: bytes) -> tuple[str, str]:
    source = io.BytesIO(data)
    parts = {}
    while source.tell() < len(data):
        tag = _read(source)
        _must(tag in (0x0A, 0x12), "a header field that is none")
        parts[tag] = source.read(_read(source)).decode()
    _must(len(parts) == 2, "a header without key or value")
    return parts[0x0A], parts[0x12]


def _must(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _chunk(out: io.BytesIO, number: int, data: bytes) -> None:
    _number(out, number * 8 + 2)
    _number(out, len(data))
    out.write(data)


def _number(out: io.BytesIO, value: int) -> None:
    while True:
        value, low = divmod(value, 128)
        out.write(bytes([low + 128 if value else low]))
        if not value:
            return


def _read(source: io.BytesIO) -> int:
    value = 0
    for place in range(10):
        byte = source.read(1)
        _must(byte != b"", "a truncated number")
        value += (byte[0] % 128) << (7 * place)
        if byte[0] < 128:
            return value % (1 << 64)
    raise ValueError("a number that does not end")
