"""What the port says back: answers as values, the error shapes, and their bytes on the wire."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from .http_request import Refusal

__all__ = ["Answer", "error_answer", "json_answer", "refusal_answer", "render"]

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
    "body_not_allowed": "This method takes no body.",
    "too_many_connections": "Too many connections. Please try again later.",
    "internal": "internal error",
}


@dataclass(frozen=True)
class Answer:
    """One answer. `headers` are added to those every answer has; `close` ends the connection behind it."""

    status: int
    body: bytes = b""
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    close: bool = False


def json_answer(
    status: int, document: Mapping[str, object], *, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """An answer with a JSON object as its body."""
    return Answer(
        status, json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n", headers=headers
    )


def error_answer(
    status: int,
    code: str,
    message: str,
    *,
    shape: str = "control",
    details: Mapping[str, object] | None = None,
) -> Answer:
    """An error in one of the two shapes of this port.

    "control": `{"error": {"code", "message", "type", ...details}}`; "plain": `{"error": message}`.
    """
    if shape == "plain":
        return json_answer(status, {"error": message})
    return json_answer(status, {"error": {"code": code, "message": message, "type": code, **(details or {})}})


def refusal_answer(refusal: Refusal, *, shape: str = "control", allow: str = "") -> Answer:
    """The error answer of a refusal. It ends the connection: what follows on it can no longer be trusted."""
    message = MESSAGES.get(refusal.code, REASONS[refusal.status])
    plain = error_answer(refusal.status, refusal.code, message, shape=shape)
    headers = [("Allow", allow)] if allow else []
    if refusal.status == 401:
        headers.append(("WWW-Authenticate", "Bearer"))
    if refusal.retry_after_s is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(refusal.retry_after_s)))))
    return Answer(refusal.status, plain.body, headers=tuple(headers), close=True)


def render(answer: Answer, *, close: bool, head_only: bool = False) -> bytes:
    """The bytes of an answer. `head_only` leaves the body out but says its length."""
    lines = [
        f"HTTP/1.1 {answer.status} {REASONS[answer.status]}",
        "Server: loong",
        f"Date: {formatdate(time.time(), usegmt=True)}",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        f"Connection: {'close' if close else 'keep-alive'}",
    ]
    if answer.status != 204:
        lines += [f"Content-Type: {answer.content_type}", f"Content-Length: {len(answer.body)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if head_only else answer.body)
