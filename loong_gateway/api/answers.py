"""What the port says back: answers as values, the error shapes, and their bytes on the wire."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Callable, Protocol

from .http_request import Refusal

__all__ = [
    "Answer",
    "BodyStream",
    "StreamedAnswer",
    "error_answer",
    "json_answer",
    "openai_error",
    "refusal_answer",
    "render",
    "render_head",
]

REASONS = {
    100: "Continue",
    200: "OK",
    202: "Accepted",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    417: "Expectation Failed",
    421: "Misdirected Request",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
MESSAGES = {
    "misdirected_request": "This host name is not served here; gateway.allowedHosts lists further ones.",
    "origin_not_allowed": "Requests from this origin are not accepted.",
    "cross_site_request": "Requests from other sites are not accepted.",
    "proxy_attribution_required": "Forwarding headers are accepted from configured proxies only.",
    "unauthorized": "Unauthorized",
    "rate_limited": "Too many failed authentication attempts. Please try again later.",
    "unsupported_media_type": "The body must be application/json.",
    "upgrade_required": "Only version 13 of the WebSocket protocol is spoken here.",
    "bad_websocket_key": "Sec-WebSocket-Key must be 16 bytes in base64.",
    "body_not_allowed": "This method takes no body.",
    "too_many_connections": "Too many connections. Please try again later.",
    "internal": "internal error",
}


# https://platform.openai.com/docs/guides/error-codes
OPENAI_TYPES = {
    401: "unauthorized",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limited",
}


@dataclass(frozen=True)
class Answer:
    """One answer. `headers` are added to those every answer has; `close` ends the connection behind it."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


class BodyStream(Protocol):
    """Where a streamed body is written to."""

    def write(self, data: bytes) -> None:
        """Send a piece now. Blocks while the client does not read, ten seconds at most; raises PeerGone or TooSlow."""


@dataclass(frozen=True)
class StreamedAnswer:
    """An answer whose body grows while it is sent. `body` writes it, and returns when it is complete.

    It runs in the connection's own thread and may block; it ends when the client has left or the port stops. What it
    raises cuts the connection, so that nobody takes half a body for a whole one. `over` is called once in the end,
    also when `body` was never begun.
    """

    status: int
    content_type: str
    body: Callable[[BodyStream], None]
    headers: tuple[tuple[str, str], ...] = ()
    over: Callable[[], None] = field(default=lambda: None)


def json_answer(status: int, document: Mapping[str, object]) -> Answer:
    """An answer with a JSON object as its body."""
    return Answer(status, json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n")


def error_answer(
    status: int,
    code: str,
    message: str,
    *,
    shape: str = "control",
    details: Mapping[str, object] | None = None,
) -> Answer:
    """An error in one of the shapes of this port.

    "control": `{"error": {"code", "message", "type", ...details}}`; "plain": `{"error": message}`; "openai":
    `{"error": {"message", "type", "param", "code"}}` with the type that the OpenAI API gives this status; "text": the
    message alone.
    """
    if shape == "plain":
        return json_answer(status, {"error": message})
    if shape == "text":
        return Answer(status, f"{message}\n".encode(), "text/plain; charset=utf-8")
    if shape == "openai":
        return json_answer(status, {"error": {**openai_error(status, code, message), **(details or {})}})
    return json_answer(status, {"error": {"code": code, "message": message, "type": code, **(details or {})}})


def openai_error(status: int, code: str, message: str, *, param: str | None = None) -> Mapping[str, object]:
    """The error object of the shape "openai"."""
    kind = OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"message": message, "type": kind, "param": param, "code": code}


def refusal_answer(refusal: Refusal, *, shape: str = "control", allow: str = "") -> Answer:
    """The error answer of a refusal. It ends the connection: what follows on it can no longer be trusted."""
    message = MESSAGES.get(refusal.code, REASONS[refusal.status])
    plain = error_answer(refusal.status, refusal.code, message, shape=shape)
    headers = [("Allow", allow)] if allow else []
    if refusal.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    if refusal.status == 426:
        # RFC 6455 section 4.2.2 and RFC 9110 section 15.5.22: both say what would be accepted.
        headers += [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    if refusal.retry_after_s is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(refusal.retry_after_s)))))
    return Answer(refusal.status, plain.body, plain.content_type, tuple(headers), close=True)


def render(answer: Answer, *, close: bool, head_only: bool = False) -> bytes:
    """The bytes of an answer. `head_only` leaves the body out but says its length."""
    framing = []
    if answer.status != 204:
        framing = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    head = _head(answer.status, [*framing, *answer.headers], close=close)
    return head + (b"" if head_only else answer.body)


def render_head(answer: StreamedAnswer, *, chunked: bool) -> bytes:
    """The bytes before a streamed body, which is delimited by chunks or by the end of the connection."""
    framing = [("Content-Type", answer.content_type)]
    if chunked:
        framing.append(("Transfer-Encoding", "chunked"))
    return _head(answer.status, [*framing, *answer.headers], close=True)


def _head(status: int, fields: list[tuple[str, str]], *, close: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        "Server: loong",
        f"Date: {formatdate(time.time(), usegmt=True)}",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        f"Connection: {'close' if close else 'keep-alive'}",
        *(f"{name}: {value}" for name, value in fields),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
