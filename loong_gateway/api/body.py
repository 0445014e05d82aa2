"""The body of an HTTP/1.1 request: counted or chunked, bytes in, bytes out, with caps. No socket, no clock.

Chunked framing follows RFC 9112 section 7.1; extensions are checked and dropped, trailer fields likewise.
"""

from __future__ import annotations

import re

from .http_request import SINGLE_FIELDS, Refusal, RequestHead, parse_field

__all__ = ["BodyReader"]

SIZE_LINE_BYTES = 256
EXTENSION_BYTES = 4096
TRAILER_BYTES = 8192

_NAME = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*"'
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,8})((?:;" + _NAME + rb"(?:=(?:" + _NAME + rb"|" + _QUOTED + rb"))?)*)"
)


class BodyReader:
    """Collects one body of at most `limit_bytes`. Not thread-safe.

    Raises Refusal: 413 for a body that is or announces to be too large, 400 for broken framing.
    """

    def __init__(self, head: RequestHead, *, limit_bytes: int) -> None:
        if head.length is not None and head.length > limit_bytes:
            raise Refusal(413, "body_too_large")
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._body = bytearray()
        self._step = self._size_line if head.chunked else self._content
        self._missing = 0 if head.chunked else head.length or 0
        self._chunked = head.chunked
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self.complete = not head.has_body

    @property
    def body(self) -> bytes:
        """What has been decoded so far; the whole body once `complete`."""
        return bytes(self._body)

    @property
    def rest(self) -> bytes:
        """Once `complete`: the bytes behind the body."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> bool:
        """Take what arrived; True once the body is complete. Raises Refusal."""
        self._buffer += data
        while not self.complete and self._step():
            pass
        return self.complete

    def _content(self) -> bool:
        if not self._buffer:
            return False
        taken = self._buffer[: self._missing]
        del self._buffer[: len(taken)]
        self._body += taken
        self._missing -= len(taken)
        if self._missing == 0:
            if self._chunked:
                self._step = self._chunk_end
            else:
                self.complete = True
        return True

    def _size_line(self) -> bool:
        line = self._line(SIZE_LINE_BYTES)
        if line is None:
            return False
        found = _SIZE_LINE.fullmatch(line)
        if found is None:
            raise Refusal(400, "bad_chunk")
        self._extension_bytes += len(found.group(2))
        if self._extension_bytes > EXTENSION_BYTES:
            raise Refusal(400, "bad_chunk")
        self._missing = int(found.group(1), 16)
        if len(self._body) + self._missing > self._limit_bytes:
            raise Refusal(413, "body_too_large")
        self._step = self._content if self._missing else self._trailer
        return True

    def _chunk_end(self) -> bool:
        line = self._line(0)
        if line is None:
            return False
        self._step = self._size_line
        return True

    def _trailer(self) -> bool:
        line = self._line(TRAILER_BYTES)
        if line is None:
            return False
        if not line:
            self.complete = True
            return True
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > TRAILER_BYTES:
            raise Refusal(431, "fields_too_large")
        # A trailer that redefines framing, target or sender is an attack on whoever merges it into the head.
        if parse_field(line)[0] in SINGLE_FIELDS:
            raise Refusal(400, "bad_field")
        return True

    def _line(self, limit_bytes: int) -> bytes | None:
        """The next line without its end, None while it is incomplete."""
        end = self._buffer.find(b"\n", 0, limit_bytes + 2)
        if end < 0:
            if len(self._buffer) >= limit_bytes + 2:
                raise Refusal(400, "bad_chunk")
            return None
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise Refusal(400, "bad_chunk")
        return line[:-2]
