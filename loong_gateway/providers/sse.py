"""Event streams as in the WHATWG HTML standard, section "Server-sent events": bytes in, events out, no socket."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SseDecoder", "SseEvent", "SseOversize"]

MAX_LINE_BYTES = 1 << 20
MAX_STREAM_BYTES = 8 << 20
_BOM = b"\xef\xbb\xbf"


class SseOversize(ValueError):
    """Raised when a line or the whole stream is longer than anything a model would write."""


@dataclass(frozen=True)
class SseEvent:
    """One dispatched event; `name` is "" where the stream gave none."""

    name: str
    data: str


class SseDecoder:
    """Decodes one stream. Not thread-safe. Bytes may be cut anywhere, also inside a character or between CR and LF."""

    def __init__(
        self, *, max_line_bytes: int = MAX_LINE_BYTES, max_stream_bytes: int = MAX_STREAM_BYTES
    ) -> None:
        self._max_line_bytes = max_line_bytes
        self._stream_left = max_stream_bytes
        self._pieces: list[bytes] = []
        self._pending_bytes = 0
        self._after_cr = False
        self._first_line = True
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes; returns the events they complete. Raises SseOversize."""
        self._stream_left -= len(chunk)
        if self._stream_left < 0:
            raise SseOversize("the stream is too long")
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = (b"".join(self._pieces) + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._pieces.clear()
        self._pending_bytes = 0
        self._keep(lines.pop())
        return self._take_lines(lines)

    def finish(self) -> list[SseEvent]:
        """The stream has ended; returns an event whose closing blank line never came, if there is one."""
        rest = b"".join(self._pieces)
        self._pieces.clear()
        return self._take_lines([rest, b""] if rest else [b""])

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self._pending_bytes += len(piece)
            if self._pending_bytes > self._max_line_bytes:
                raise SseOversize("a line of the stream is too long")

    def _take_lines(self, lines: list[bytes]) -> list[SseEvent]:
        events = []
        for line in lines:
            if len(line) > self._max_line_bytes:
                raise SseOversize("a line of the stream is too long")
            if line:
                self._take_field(line)
            elif self._data:
                events.append(SseEvent(self._name, "\n".join(self._data)))
                self._data = []
                self._name = ""
            else:
                self._name = ""
            self._first_line = False
        return events

    def _take_field(self, line: bytes) -> None:
        if self._first_line and line.startswith(_BOM):
            line = line[len(_BOM) :]
        name, _, value = line.partition(b":")
        # A line that begins with a colon has an empty name: a comment, sent to keep the connection alive.
        if name == b"data":
            self._data.append(_text(value))
        elif name == b"event":
            self._name = _text(value)


def _text(value: bytes) -> str:
    return value[1:].decode("utf-8", "replace") if value[:1] == b" " else value.decode("utf-8", "replace")
