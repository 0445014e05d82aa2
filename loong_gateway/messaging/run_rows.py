"""How runs are written into rows: compact JSON of what was asked for and of what came of it. Pure."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from loong_gateway.control.runs import ReplyTarget, RunRequest, RunResult
from loong_gateway.providers.contract import CallOptions, Function, Image, Message, ToolCall, Usage

__all__ = ["decode_request", "decode_result", "encode_request", "encode_result"]


def encode_request(request: RunRequest) -> bytes:
    """Everything of a request as JSON. Raises ValueError for values that no JSON can hold."""
    return _encode(request)


def encode_result(result: RunResult) -> bytes:
    """Everything of a result as JSON."""
    return _encode(result)


def decode_request(payload: bytes) -> RunRequest:
    """What `encode_request` wrote. Raises ValueError for anything else."""
    try:
        row = json.loads(payload)
        options = row.get("options", {})
        options["tools"] = tuple(Function(**one) for one in options.get("tools", ()))
        options["stop"] = tuple(options.get("stop", ()))
        deliver = row.get("deliver")
        return RunRequest(
            **{
                **row,
                "messages": tuple(_message(one) for one in row.get("messages", ())),
                "images": tuple(_image(one) for one in row.get("images", ())),
                "options": CallOptions(**options),
                "deliver": None if deliver is None else ReplyTarget(**deliver),
            }
        )
    except (TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError("not a request of a run") from error


def decode_result(payload: bytes) -> RunResult:
    """What `encode_result` wrote. Raises ValueError for anything else."""
    try:
        row = json.loads(payload)
        usage = row.get("usage")
        calls = tuple(ToolCall(**one) for one in row.get("tool_calls", ()))
        return RunResult(**{**row, "usage": None if usage is None else Usage(**usage), "tool_calls": calls})
    except (TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError("not a result of a run") from error


def _encode(value: object) -> bytes:
    # ASCII, because a text may hold lone surrogates.
    return json.dumps(_plain(value), separators=(",", ":")).encode("ascii")


def _plain(value: object) -> object:
    """The value as JSON can hold it; a field that has its default is left out."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if dataclasses.is_dataclass(value):
        said = {
            field.name: (getattr(value, field.name), field.default) for field in dataclasses.fields(value)
        }
        return {name: _plain(one) for name, (one, default) in said.items() if one is not default}
    return value


def _image(row: Mapping[str, str]) -> Image:
    return Image(row["mime"], base64.b64decode(row["content"]))


def _message(row: Mapping[str, Any]) -> Message:
    images = tuple(_image(one) for one in row.get("images", ()))
    calls = tuple(ToolCall(**one) for one in row.get("tool_calls", ()))
    return Message(**{**row, "images": images, "tool_calls": calls})
