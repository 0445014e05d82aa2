"""One HTTP request to the gateway of this host, with a deadline for the whole of it.

`http.client` and `socket` cost more to import than a bare interpreter needs to start, and their time limit counts per
read. Answers come with a length or end with the connection, as the gateway's own port sends them.
Reference: https://www.rfc-editor.org/rfc/rfc9112
Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

import _socket
import time

__all__ = ["NotConnected", "exchange", "reachable_host"]

_WILDCARDS = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104  looked up, not bound
_BLOCK_BYTES = 65_536


class NotConnected(OSError):
    """Raised when nobody took the connection, so that surely nothing was asked."""


def reachable_host(bind_address: str) -> str:
    """The address under which a listener bound to `bind_address` is reached from this host."""
    return _WILDCARDS.get(bind_address, bind_address)


def exchange(  # noqa: PLR0913  the parts of a request
    host: str,
    port: int,
    method: str,
    path: str,
    *,
    timeout_s: float,
    headers: list[tuple[str, str]] | None = None,
    body: bytes = b"",
    status_only: bool = False,
    max_bytes: int = 16 << 20,
) -> tuple[int, bytes]:
    """Send one request and return the status and the body of the answer; the body is b"" with `status_only`.

    `host` is a numeric address. Blocks up to `timeout_s` in all. Raises NotConnected when nobody
    listens, OSError (TimeoutError when time is up), ValueError for an answer that is not HTTP or was cut off.
    """
    end = time.monotonic() + timeout_s
    shown = f"[{host}]" if ":" in host else host
    lines = [f"{method} {path} HTTP/1.1", f"Host: {shown}:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers or []]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    request = "\r\n".join([*lines, "", ""]).encode("latin-1") + body
    family = _socket.AF_INET6 if ":" in host else _socket.AF_INET
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_left(end))
        try:
            connection.connect((host, port))
        except _socket.timeout:
            raise
        except OSError as error:
            raise NotConnected(error.errno, error.strerror) from error
        connection.settimeout(_left(end))
        connection.sendall(request)
        return _answer(connection, end, status_only=status_only, max_bytes=max_bytes)
    except _socket.timeout as error:
        raise TimeoutError("timed out") from error
    finally:
        connection.close()


def _answer(
    connection: _socket.socket, end: float, *, status_only: bool, max_bytes: int
) -> tuple[int, bytes]:
    received = bytearray()
    while len(received) <= max_bytes:
        connection.settimeout(_left(end))
        block = connection.recv(_BLOCK_BYTES)
        received += block
        if status_only and (b"\n" in received or not block):
            return _status(received), b""
        complete = _body(received, ended=not block)
        if complete is not None:
            return _status(received), complete
    raise ValueError("the answer is too long")


def _status(received: bytearray) -> int:
    parts = bytes(received).split(b"\r\n", 1)[0].split(b" ")
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise ValueError("the answer is not HTTP")
    return int(parts[1])


def _body(received: bytearray, *, ended: bool) -> bytes | None:
    """The body when all of it is there, None while more is to come. Raises ValueError when it was cut off."""
    head, separator, body = bytes(received).partition(b"\r\n\r\n")
    length = None
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            length = int(value)
    if separator and length is not None and len(body) >= length:
        return body[:length]
    if not ended:
        return None
    if not separator or length is not None:
        raise ValueError("the answer was cut off")
    return body


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
