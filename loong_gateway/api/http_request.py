"""The head of an HTTP/1.1 request: a strict parser, bytes in, values or a refusal out. No socket, no clock.

Follows RFC 9112 where it leaves no choice and takes the stricter branch where it does: whatever two programs could
read differently is refused, so that nothing in front of the gateway can be made to disagree with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["HeadReader", "Limits", "Refusal", "RequestHead", "parse_field"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Fields of which a second copy would have to be ignored or merged by guesswork.
SINGLE_FIELDS = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "sec-fetch-site",
        "sec-websocket-key",
        "sec-websocket-version",
        "transfer-encoding",
    }
)
FRAMING_LOOKALIKES = frozenset({"content_length", "transfer_encoding"})

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"(?:[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_LENGTH = re.compile(r"[0-9]{1,10}")
_AUTHORITY = re.compile(
    r"(\[(?=[0-9A-Fa-f.]*:)[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._]{1,253})(?::([0-9]{1,5}))?"
)
_ABSOLUTE = re.compile(r"http://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)


class Refusal(Exception):
    """Raised for a request that is not served. `status` is the HTTP status, `code` a constant word.

    Neither holds anything of the request. `retry_after_s` becomes the header of that name.
    """

    def __init__(self, status: int, code: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Limits:
    """How large a request head may be, line ends not counted in the first two."""

    line_bytes: int = 8192
    field_bytes: int = 8192
    fields: int = 100
    head_bytes: int = 65536


@dataclass(frozen=True)
class RequestHead:
    """A request line and its fields. Names are lower case, values latin-1 text without surrounding blanks.

    `path` is as sent, never decoded; `query` is what follows the first "?", or "". `host` is the lower-case name or
    address without brackets, `port` None when none was given. `length` is the announced size of the body in bytes;
    with `chunked` it is None. `minor` is the minor version of HTTP/1.
    """

    method: str
    path: str
    query: str
    minor: int
    host: str
    port: int | None
    fields: tuple[tuple[str, str], ...]
    length: int | None
    chunked: bool

    def get(self, name: str) -> str | None:
        """The first value of a field, or None. `name` is lower case."""
        return next((value for key, value in self.fields if key == name), None)

    def words(self, name: str) -> tuple[str, ...]:
        """The lower-case members of a comma-separated field, over all its copies."""
        joined = ",".join(value for key, value in self.fields if key == name)
        return tuple(word for word in (part.strip().lower() for part in joined.split(",")) if word)

    @property
    def has_body(self) -> bool:
        """True when at least one byte of framing or content follows the head."""
        return self.chunked or bool(self.length)

    @property
    def keeps_alive(self) -> bool:
        """True when the client lets the connection go on after the answer."""
        return self.minor == 1 and "close" not in self.words("connection")


class HeadReader:
    """Collects bytes until a request head is complete. Not thread-safe; one per request."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._scanned = 0
        self._start = 0
        self._lines: list[bytes] = []

    @property
    def begun(self) -> bool:
        """True once a byte of a request has arrived."""
        return bool(self._buffer)

    @property
    def rest(self) -> bytes:
        """After the head is complete: the bytes behind it."""
        return bytes(self._buffer[self._start :])

    def feed(self, data: bytes) -> RequestHead | None:
        """Take what arrived; the head once complete, else None. Raises Refusal as soon as none can come of it."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\n", max(self._scanned, self._start))
            if end < 0:
                self._scanned = len(self._buffer)
                self._check_open_line()
                return None
            line = self._take_line(end)
            if line:
                self._lines.append(line)
                if len(self._lines) > self._limits.fields + 1:
                    raise Refusal(431, "too_many_fields")
            elif self._lines:
                return _head(self._lines)
            elif self._start > 2:
                # RFC 9112 section 2.2 asks to forgive one empty line before a request; more is somebody probing.
                raise Refusal(400, "bad_request_line")

    def _take_line(self, end: int) -> bytes:
        line = bytes(self._buffer[self._start : end + 1])
        self._start = end + 1
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Refusal(400, "bad_line_end")
        self._check_size(len(line) - 2)
        return line[:-2]

    def _check_open_line(self) -> None:
        """Refuse early what no further byte can repair: a first byte that starts no method, a line already too long."""
        first = self._buffer[self._start : self._start + 1]
        if first and not self._lines and first != b"\r" and not _TOKEN.fullmatch(bytes(first)):
            raise Refusal(400, "bad_request_line")
        self._check_size(len(self._buffer) - self._start - 1)

    def _check_size(self, line_bytes: int) -> None:
        if not self._lines:
            if line_bytes > self._limits.line_bytes:
                raise Refusal(414, "request_line_too_long")
        elif line_bytes > self._limits.field_bytes or self._start > self._limits.head_bytes:
            raise Refusal(431, "fields_too_large")


def parse_field(line: bytes) -> tuple[str, str]:
    """Split one field line into lower-case name and value. Raises Refusal."""
    name, colon, value = line.partition(b":")
    # A name that is no token covers blanks before the colon and folded lines, too.
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise Refusal(400, "bad_field")
    return name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")


def _head(lines: list[bytes]) -> RequestHead:
    method, target, minor = _request_line(lines[0])
    fields = tuple(parse_field(line) for line in lines[1:])
    values: dict[str, str] = {}
    for name, value in fields:
        if name in FRAMING_LOOKALIKES or (name in SINGLE_FIELDS and name in values):
            raise Refusal(400, "ambiguous_field")
        values[name] = value
    host, port = _authority(values.get("host"))
    path, query = _split_target(method, target, (host, port))
    if values.get("expect", "100-continue").lower() != "100-continue":
        raise Refusal(417, "expectation_failed")
    length, chunked = _framing(values, minor)
    return RequestHead(method, path, query, minor, host, port, fields, length, chunked)


def _request_line(line: bytes) -> tuple[str, str, int]:
    parts = line.split(b" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not _VERSION.fullmatch(parts[2]):
        raise Refusal(400, "bad_request_line")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Refusal(505, "version_not_supported")
    if not _TARGET.fullmatch(target):
        raise Refusal(400, "bad_target")
    if method.decode("ascii") not in METHODS:
        raise Refusal(501, "method_not_implemented")
    return method.decode("ascii"), target.decode("ascii"), 1 if version.endswith(b"1") else 0


def _authority(value: str | None) -> tuple[str, int | None]:
    found = None if value is None else _AUTHORITY.fullmatch(value)
    if found is None:
        raise Refusal(400, "bad_host")
    port = None if found.group(2) is None else int(found.group(2))
    if port is not None and port > 65535:
        raise Refusal(400, "bad_host")
    return found.group(1).strip("[]").lower(), port


def _split_target(method: str, target: str, host: tuple[str, int | None]) -> tuple[str, str]:
    if target == "*" and method == "OPTIONS":
        return "*", ""
    if not target.startswith("/"):
        absolute = _ABSOLUTE.fullmatch(target)
        # A target for another server than the Host field names is how caches and guards are talked past.
        if absolute is None or _authority(absolute.group(1)) != host:
            raise Refusal(400, "bad_target")
        target = (absolute.group(2) or "/") + (absolute.group(3) or "")
    path, _, query = target.partition("?")
    return path, query


def _framing(values: dict[str, str], minor: int) -> tuple[int | None, bool]:
    """How the body is delimited: (length, chunked). RFC 9112 section 6, without any of its repairs."""
    length = values.get("content-length")
    coding = values.get("transfer-encoding")
    if coding is not None:
        if length is not None or minor == 0:
            raise Refusal(400, "ambiguous_length")
        if coding.lower() != "chunked":
            raise Refusal(501, "coding_not_implemented")
        return None, True
    if length is None:
        return None, False
    if not _LENGTH.fullmatch(length):
        raise Refusal(400, "bad_length")
    return int(length), False
