"""The messages of the WebSocket side: a strict reader of requests, and the bytes of answers and events.

Source: https://www.npmjs.com/package/@openclaw/gateway-protocol (protocol.schema.json: RequestFrame, ResponseFrame,
EventFrame, ErrorShape).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from loong_gateway.base.strict_json import read_json

from .calls import RpcFault

__all__ = ["Frame", "Malformed", "NotJson", "encode", "event", "failure", "parse_request", "success"]

MEMBERS = frozenset({"type", "id", "method", "params", "traceparent"})
LONGEST_ID = 1024
LONGEST_METHOD = 256
LONGEST_TRACEPARENT = 128


class NotJson(Exception):
    """Raised for a message that is no JSON."""


class Malformed(Exception):
    """Raised for JSON that is no request. `id` is the one it names, None without a usable one; `str()` says why."""

    def __init__(self, reason: str, frame_id: str | None) -> None:
        super().__init__(reason)
        self.id = frame_id


@dataclass(frozen=True)
class Frame:
    """A request. `params` is None when there are none."""

    id: str
    method: str
    params: object


def parse_request(message: str | bytes) -> Frame:
    """Read a request. Raises NotJson and Malformed, whose texts hold nothing of the message."""
    try:
        document = read_json(message)
    except ValueError:
        raise NotJson from None
    if not isinstance(document, dict):
        raise Malformed("must be object", None)
    given = document.get("id")
    frame_id = given if isinstance(given, str) and 0 < len(given) <= LONGEST_ID else None
    reason = _wrong(document)
    if reason:
        raise Malformed(reason, frame_id)
    return Frame(document["id"], document["method"], document.get("params"))


def _wrong(document: Mapping[str, object]) -> str:
    if document.get("type") != "req":
        return "at /type: must be equal to constant"
    for name, longest in (("id", LONGEST_ID), ("method", LONGEST_METHOD)):
        value = document.get(name)
        if value is None:
            return f"must have required property '{name}'"
        if not isinstance(value, str):
            return f"at /{name}: must be string"
        if not 0 < len(value) <= longest:
            return f"at /{name}: must have 1 to {longest} characters"
    trace = document.get("traceparent", "")
    if not isinstance(trace, str) or len(trace) > LONGEST_TRACEPARENT:
        return f"at /traceparent: must be string of at most {LONGEST_TRACEPARENT} characters"
    return "" if document.keys() <= MEMBERS else "must NOT have additional properties"


def encode(value: object) -> bytes:
    """JSON in UTF-8; texts that UTF-8 cannot carry are written as escapes. Raises ValueError for NaN and Infinity."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def success(frame_id: str, payload: object) -> bytes:
    """The answer `ok: true`."""
    return b'{"type":"res","id":%s,"ok":true,"payload":%s}' % (encode(frame_id), encode(payload))


def failure(frame_id: str, fault: RpcFault) -> bytes:
    """The answer `ok: false`. What is not known is left out: the client's schemas take no null."""
    error: dict[str, object] = {"code": fault.code, "message": str(fault) or "internal error"}
    if fault.details is not None:
        error["details"] = dict(fault.details)
    if fault.retryable:
        error["retryable"] = True
    if fault.retry_after_ms is not None:
        error["retryAfterMs"] = max(0, fault.retry_after_ms)
    document: dict[str, object] = {"type": "res", "id": frame_id, "ok": False, "error": error}
    if fault.payload is not None:
        document["payload"] = dict(fault.payload)
    return encode(document)


def event(
    name: str, payload: object, state_version: Mapping[str, int] | None = None
) -> Callable[[int], bytes]:
    """What makes the bytes of an event from its number on a connection; the payload is encoded once for all."""
    before = b'{"type":"event","event":%s,"payload":%s' % (encode(name), encode(payload))
    after = b"}" if state_version is None else b',"stateVersion":%s}' % encode(dict(state_version))
    return lambda seq: b'%s,"seq":%d%s' % (before, seq, after)
