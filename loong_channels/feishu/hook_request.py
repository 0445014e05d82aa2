"""One HTTP/1.1 request that delivers something: a strict parser, bytes in, values or a refusal out. No socket.

Only what a platform or a proxy before us sends is understood, and whatever two programs could read differently is
refused: no chunks, no folded lines, no second copy of a field that matters. https://www.rfc-editor.org/rfc/rfc9112
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from loong_channels.contract import WebhookAnswer

__all__ = ["Head", "RequestRefused", "check_kind", "encoded", "read_head"]

MAX_LINE_BYTES = 4096
MAX_HEAD_BYTES = 16384
MAX_FIELDS = 64

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"/[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]*")
_LENGTH = re.compile(r"[0-9]{1,10}")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class RequestRefused(Exception):
    """Raised for a request that is not served; `status` is the HTTP status, `reason` a constant word for counting."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason

    @property
    def answer(self) -> WebhookAnswer:
        """What the peer is told."""
        return WebhookAnswer(self.status, fields=(("Allow", "POST"),) if self.status == 405 else ())


@dataclass(frozen=True)
class Head:
    """The head of a POST. `length` bytes of body follow it at `body_start`; field names are in lower case."""

    path: str
    fields: Mapping[str, str] = field(repr=False)
    length: int
    body_start: int
    wants_continue: bool


def encoded(answer: WebhookAnswer) -> bytes:
    """An answer as bytes on the wire; the connection ends behind it."""
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Error')}",
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in answer.fields),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + answer.body


def check_kind(method: str, fields: Mapping[str, str]) -> None:
    """Raises RequestRefused for what is no POST of plain JSON."""
    if method != "POST":
        raise RequestRefused(405, "another_method")
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" or "content-encoding" in fields:
        raise RequestRefused(415, "no_json")


def read_head(data: bytes, *, path: str, max_body_bytes: int) -> Head | None:
    """The head at the beginning of `data`, None while it is incomplete. Raises RequestRefused as soon as possible."""
    end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES + 4)
    if end < 0:
        _refuse_hopeless(data)
        return None
    lines = data[:end].split(b"\r\n")
    if any(b"\n" in line or b"\r" in line for line in lines):
        raise RequestRefused(400, "bad_line_end")
    if len(lines) > MAX_FIELDS + 1:
        raise RequestRefused(431, "too_many_fields")
    method, target, minor = _request_line(lines[0])
    fields = _fields(lines[1:])
    if minor == 1 and not fields.get("host"):
        raise RequestRefused(400, "no_host")
    if target.partition("?")[0] != path:
        raise RequestRefused(404, "another_path")
    check_kind(method, fields)
    wants_continue = fields.get("expect", "").lower() == "100-continue"
    return Head(path, fields, _length(fields, max_body_bytes), end + 4, wants_continue)


def _refuse_hopeless(data: bytes) -> None:
    line_end = data.find(b"\n")
    if line_end < 0 and len(data) > MAX_LINE_BYTES:
        raise RequestRefused(414, "line_too_long")
    if line_end >= 0 and not data[:line_end].endswith(b"\r"):
        raise RequestRefused(400, "bad_line_end")
    if data and not _TOKEN.match(data):
        # TLS on a port without it, for one.
        raise RequestRefused(400, "bad_request_line")
    if len(data) > MAX_HEAD_BYTES:
        raise RequestRefused(431, "fields_too_large")


def _request_line(line: bytes) -> tuple[str, str, int]:
    parts = line.split(b" ")
    if len(line) > MAX_LINE_BYTES:
        raise RequestRefused(414, "line_too_long")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
        raise RequestRefused(400, "bad_request_line")
    if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise RequestRefused(505, "another_version")
    return parts[0].decode("ascii"), parts[1].decode("ascii"), 1 if parts[2].endswith(b"1") else 0


def _fields(lines: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise RequestRefused(400, "bad_field")
        key = name.decode("ascii").lower()
        text = value.strip(b" \t").decode("latin-1")
        if key in found and _is_single(key):
            raise RequestRefused(400, "ambiguous_field")
        found[key] = text
    return found


def _is_single(key: str) -> bool:
    """Whether a second copy would have to be merged or ignored by guesswork."""
    return key.startswith(("content-", "x-lark-")) or key in ("host", "transfer-encoding", "expect")


def _length(fields: Mapping[str, str], max_body_bytes: int) -> int:
    if "transfer-encoding" in fields:
        raise RequestRefused(411, "no_length")
    length = fields.get("content-length")
    if length is None:
        raise RequestRefused(411, "no_length")
    if not _LENGTH.fullmatch(length):
        raise RequestRefused(400, "bad_length")
    if int(length) > max_body_bytes:
        raise RequestRefused(413, "too_large")
    return int(length)
