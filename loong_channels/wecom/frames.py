"""Frames of the long connection: one text message holds one JSON object. Pure: text in, values out.

A request has `cmd`; its answer repeats `headers.req_id`, has `errcode` and no `cmd`.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loong_channels.decoding import load_json

__all__ = [
    "EVENT_CALLBACK",
    "MESSAGE_CALLBACKS",
    "PING",
    "RESPOND",
    "RESPOND_WELCOME",
    "SEND",
    "SUBSCRIBE",
    "UNREADABLE",
    "UPLOAD_CHUNK",
    "UPLOAD_FINISH",
    "UPLOAD_INIT",
    "Frame",
    "as_table",
    "as_text",
    "build",
    "new_req_id",
    "parse",
    "tidy_message",
]

SUBSCRIBE = "aibot_subscribe"
PING = "ping"
RESPOND = "aibot_respond_msg"
RESPOND_WELCOME = "aibot_respond_welcome_msg"
SEND = "aibot_send_msg"
UPLOAD_INIT = "aibot_upload_media_init"
UPLOAD_CHUNK = "aibot_upload_media_chunk"
UPLOAD_FINISH = "aibot_upload_media_finish"
EVENT_CALLBACK = "aibot_event_callback"
# The second one is an older name of the first.
MESSAGE_CALLBACKS = frozenset({"aibot_msg_callback", "aibot_callback"})

# In the place of a code that is none.
UNREADABLE = -2

_MAX_ID = 512
_CODE = re.compile(r"(-?[0-9]{1,9})(?:\.0*)?")
_HINT = re.compile(r"hint: \[([0-9A-Za-z_-]{1,64})\]")
_MAX_MESSAGE = 120
_numbers = itertools.count(1)
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Frame:
    """A frame as it came. `cmd` is "" in an answer, `errcode` None in a request."""

    cmd: str
    req_id: str
    body: Mapping[str, Any] = field(default_factory=dict)
    errcode: int | None = None
    errmsg: str = ""

    @property
    def code(self) -> int:
        """The outcome of a request: 0 is success. Answers to uploads may leave it out."""
        return self.errcode or 0


def build(cmd: str, req_id: str, body: Mapping[str, object] | None = None) -> str:
    """The text of a request."""
    frame: dict[str, object] = {"cmd": cmd, "headers": {"req_id": req_id}}
    if body is not None:
        frame["body"] = body
    return _encode(frame)


def parse(data: str | bytes) -> Frame | None:
    """The frame in a message; None when it is none. Takes any input; unknown fields do not matter."""
    try:
        # Bytes that are no UTF-8 are no JSON text either.
        value = load_json(data)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    cmd = as_text(value.get("cmd")) or ""
    req_id = as_text(as_table(value.get("headers")).get("req_id")) or ""
    errcode = _code(value.get("errcode"))
    if not cmd and not req_id:
        return None
    errmsg = value.get("errmsg")
    return Frame(cmd, req_id, as_table(value.get("body")), errcode, errmsg if isinstance(errmsg, str) else "")


def _code(value: object) -> int | None:
    """A code; what is there and is none must not pass for success."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    found = _CODE.fullmatch(str(value))
    return UNREADABLE if found is None else int(found.group(1))


def new_req_id(cmd: str) -> str:
    """An id for a request of our own, unique on every connection of this process and unlikely on any other."""
    return f"{cmd}_{time.time_ns() // 1_000_000}_{next(_numbers):x}{secrets.token_hex(4)}"


def as_table(value: object) -> Mapping[str, Any]:
    """A JSON object, or an empty one in the place of anything else."""
    return value if isinstance(value, dict) else {}


def as_text(value: object) -> str | None:
    """An id or a name: text of a sensible length, None in the place of anything else."""
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_ID else None


def tidy_message(errmsg: str) -> str:
    """What a person may see of an errmsg: the words and the hint that support asks for, no addresses."""
    words = "".join(char if char.isprintable() else " " for char in errmsg.partition(", hint:")[0])
    hint = _HINT.search(errmsg)
    shown = " ".join(words.split())[:_MAX_MESSAGE] or "no reason given"
    return f"{shown} (hint {hint.group(1)})" if hint else shown
