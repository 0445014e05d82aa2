"""A strict server of Anthropic's Messages shape on 127.0.0.1.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable
from urllib.parse import parse_qs

from .http_server import Call
from .model import FakeModel, ModelCall, Refused, good_picture

FIELDS = frozenset(
    "model messages max_tokens system temperature top_p top_k stop_sequences stream tools tool_choice metadata "
    "thinking service_tier container context_management mcp_servers".split()
)
ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
IDS = re.compile(r"[a-zA-Z0-9_-]+")
CHOICES = frozenset(["auto", "any", "tool", "none"])


def check_request(body: object, models: list[str]) -> dict[str, Any]:
    """The request, when the service takes it. Raises Refused."""
    if not isinstance(body, dict):
        raise Refused(400, "The request body is not valid JSON")
    for name in sorted(body):
        if name not in FIELDS:
            raise Refused(400, f"{name}: Extra inputs are not permitted")
        if body[name] is None:
            raise Refused(400, f"{name}: Input should be valid")
    for name in ("model", "messages", "max_tokens"):
        if name not in body:
            raise Refused(400, f"{name}: Field required")
    if body["model"] not in models:
        raise Refused(404, f"model: {body['model']}")
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        raise Refused(400, "max_tokens: Input should be greater than or equal to 1")
    if not 0 <= body.get("temperature", 1) <= 1:
        raise Refused(400, "temperature: range: 0..1")
    if "temperature" in body and "top_p" in body:
        raise Refused(400, "`temperature` and `top_p` cannot both be specified for this model.")
    if any(not text.strip() for text in body.get("stop_sequences", ())):
        raise Refused(400, "stop_sequences: each stop sequence must contain non-whitespace")
    if body.get("system") == "":
        raise Refused(400, "system: text content blocks must be non-empty")
    check_messages(body["messages"], tools=bool(body.get("tools")))
    check_tools(body)
    return body


def check_messages(messages: object, *, tools: bool) -> None:
    """Roles take turns, every call is answered at once, and no text is empty. Raises Refused."""
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: at least one message is required")
    waiting: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        role = message.get("role") if isinstance(message, dict) else None
        if role == "system":
            raise Refused(400, 'messages: Unexpected role "system". Use the top-level `system` parameter.')
        if role != ("user", "assistant")[number % 2]:
            raise Refused(400, f"{where}: roles must alternate, beginning with user")
        if set(message) != {"role", "content"}:
            raise Refused(400, f"{where}: Extra inputs are not permitted")
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        if not isinstance(blocks, list) or not blocks:
            raise Refused(400, f"{where}: user messages must have non-empty content")
        results = [block for block in blocks if block.get("type") == "tool_result"]
        answered = {block.get("tool_use_id") for block in results}
        if waiting - answered:
            raise Refused(
                400,
                f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(waiting - answered))}",
            )
        if answered - waiting:
            raise Refused(400, f"{where}: unexpected `tool_use_id` found in `tool_result` blocks")
        if blocks[: len(results)] != results:
            raise Refused(400, f"{where}: `tool_result` blocks must come first in the message")
        waiting = {check_block(block, role, where) for block in blocks} - {""}
        if (waiting or results) and not tools:
            raise Refused(400, "Requests which include `tool_use` or `tool_result` blocks must define tools")
    if waiting:
        raise Refused(400, "`tool_use` ids were found without `tool_result` blocks immediately after")


def check_block(block: dict[str, Any], role: str, where: str) -> str:
    """The id of a call of a tool, "" for any other block. Raises Refused."""
    kind = block.get("type")
    if kind == "text":
        if not isinstance(block.get("text"), str) or not block["text"].strip():
            raise Refused(400, f"{where}: text content blocks must be non-empty")
    elif kind == "image" and role == "user":
        source = block.get("source", {})
        if source.get("type") != "base64" or not good_picture(source.get("media_type"), source.get("data")):
            raise Refused(400, f"{where}: Could not process image")
    elif kind == "tool_use" and role == "assistant":
        if not IDS.fullmatch(block.get("id") or "") or not isinstance(block.get("input"), dict):
            raise Refused(400, f"{where}: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
        if not isinstance(block.get("name"), str):
            raise Refused(400, f"{where}: tool_use.name: Field required")
        return str(block["id"])
    elif kind == "tool_result" and role == "user":
        if not isinstance(block.get("content", ""), (str, list)):
            raise Refused(400, f"{where}: tool_result.content: Input should be a valid string")
    else:
        raise Refused(400, f"{where}: Input tag '{kind}' does not match any of the expected tags")
    return ""


def check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools", [])
    for number, tool in enumerate(tools):
        if not IDS.fullmatch(tool.get("name") or "") or len(tool["name"]) > 128:
            raise Refused(400, f"tools.{number}.name: String should match pattern")
        if not isinstance(tool.get("input_schema"), dict) or tool["input_schema"].get("type") != "object":
            raise Refused(400, f"tools.{number}.input_schema: Field required")
        if set(tool) - {"name", "description", "input_schema", "type", "cache_control"}:
            raise Refused(400, f"tools.{number}: Extra inputs are not permitted")
    choice = body.get("tool_choice")
    if choice is not None and (
        not tools or not isinstance(choice, dict) or choice.get("type") not in CHOICES
    ):
        raise Refused(400, "tool_choice: may only be specified while providing tools")


class FakeAnthropic(FakeModel):
    """See FakeModel. `bearer` takes the key as other services of this shape do; `page_rows` rows make a page."""

    opening = 3
    bearer = False
    page_rows = 20

    def _routes(self) -> dict[tuple[str, str], Callable[[Call], None]]:
        return {("POST", f"{self.prefix}/messages"): self._chat, ("GET", f"{self.prefix}/models"): self._page}

    def _check_key(self, call: Call) -> None:
        given = call.headers.get("x-api-key", "")
        if self.bearer:
            given = call.headers.get("authorization", "").partition("Bearer ")[2]
        if self.key is not None and given != self.key:
            raise Refused(401, "invalid x-api-key")
        if call.headers.get("anthropic-version") != "2023-06-01":
            raise Refused(400, "anthropic-version: header is required")

    def _page(self, call: Call) -> None:
        query = parse_qs(call.query)
        if not 1 <= int(query.get("limit", ["20"])[0]) <= 1000:
            raise Refused(400, "limit: Input should be less than or equal to 1000")
        after = query.get("after_id", [""])[0]
        start = self.models.index(after) + 1 if after else 0
        rows = self.models[start : start + self.page_rows]
        self.listing = {
            "data": [
                {"type": "model", "id": one, "display_name": one, "created_at": "2026-01-01T00:00:00Z"}
                for one in rows
            ],
            "has_more": start + len(rows) < len(self.models),
            "first_id": rows[0],
            "last_id": rows[-1],
        }
        self._list(call)

    def _refuse(
        self,
        call: Call,
        status: int,
        message: str,
        code: str | None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        failure = {"type": code or ERRORS.get(status, "api_error"), "message": message}
        body = {"type": "error", "error": failure, "request_id": "req_011"}
        call.reply(status, json.dumps(body).encode(), headers=(("request-id", "req_011"), *headers))

    def _failure(self, message: str) -> dict[str, object]:
        return {"type": "overloaded_error", "message": message}

    def _checked(self, call: Call, body: object) -> dict[str, Any]:
        return check_request(body, self.models)

    def _question(self, body: dict[str, Any]) -> str:
        for message in reversed(body["messages"]):
            content = message["content"]
            texts = [content] if isinstance(content, str) else [one.get("text", "") for one in content]
            if message["role"] == "user" and any(texts):
                return "".join(texts)
        return ""

    def _made(self, record: ModelCall) -> str:
        return f"re: {record.question}"

    @staticmethod
    def _obliged(body: dict[str, Any]) -> str | None:
        choice, tools = body.get("tool_choice") or {}, body.get("tools") or []
        return (
            str(choice["name"])
            if choice.get("type") == "tool"
            else (str(tools[0]["name"]) if choice.get("type") == "any" else None)
        )

    def _blocks(self, record: ModelCall, kind: str) -> list[dict[str, Any]]:
        name = self._obliged(record.body)
        if name is not None:
            used = {"id": "toolu_1", "name": name, "input": {"question": record.question}}
            return [{"type": "text", "text": "I look."}, {"type": "tool_use", **used}]
        if kind in ("null_content", "empty_choices"):
            return []
        return [{"type": "text", "text": record.answer}]

    def _whole(self, record: ModelCall, kind: str) -> dict[str, object]:
        counted = self._usage(record)
        reason = {"length": "max_tokens", "content_filter": "refusal"}.get(kind, "end_turn")
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": record.body["model"],
            "content": self._blocks(record, kind),
            "stop_reason": "tool_use" if self._obliged(record.body) else reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": counted["prompt_tokens"],
                "cache_creation_input_tokens": 2,
                "cache_read_input_tokens": 5,
                "output_tokens": counted["completion_tokens"],
            },
        }

    def _events(self, record: ModelCall, kind: str) -> list[dict[str, object]]:
        whole: dict[str, Any] = self._whole(record, kind)
        usage = {**whole["usage"], "output_tokens": 1}
        started = {**whole, "content": [], "stop_reason": None, "usage": usage}
        events: list[dict[str, Any]] = [{"type": "message_start", "message": started}]
        for index, block in enumerate(whole["content"]):
            text = block["type"] == "text"
            empty = {**block, **({"text": ""} if text else {"input": {}})}
            events.append({"type": "content_block_start", "index": index, "content_block": empty})
            if index == 0:
                events.append({"type": "ping"})
            said = block["text"] if text else json.dumps(block["input"])
            for start in range(0, len(said), self.piece_chars):
                piece = said[start : start + self.piece_chars]
                delta = {"type": "input_json_delta", "partial_json": piece}
                delta = {"type": "text_delta", "text": piece} if text else delta
                events.append({"type": "content_block_delta", "index": index, "delta": delta})
            events.append({"type": "content_block_stop", "index": index})
        delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
        if kind != "no_done":
            counted = {"output_tokens": whole["usage"]["output_tokens"]}
            events.append({"type": "message_delta", "delta": delta, "usage": counted})
        return events

    def _line(self, event: dict[str, object]) -> bytes:
        return f"event: {event['type']}{self.line_end}".encode() + super()._line(event)

    def _ending(self) -> bytes:
        return self._line({"type": "message_stop"})

    def _error_line(self, message: str) -> bytes:
        return self._line({"type": "error", "error": self._failure(message)})
