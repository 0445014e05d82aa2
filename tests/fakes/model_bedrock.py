"""A strict server of Amazon Bedrock's Converse shape on 127.0.0.1, with API keys.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from typing import Any, Callable
from urllib.parse import unquote

from .http_server import Call
from .model import FakeModel, ModelCall, Refused, good_picture

FIELDS = frozenset("messages system inferenceConfig toolConfig additionalModelRequestFields".split())
SETTINGS = frozenset("maxTokens temperature topP stopSequences".split())
ERRORS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
IDS = re.compile(r"[a-zA-Z0-9_-]{1,64}")
TEXT_HEADER = 7


def frame(payload: bytes, **headers: str) -> bytes:
    """One message of the media type application/vnd.amazon.eventstream; "_" in a name stands for "-"."""
    block = b""
    for name, value in headers.items():
        spelled, said = f":{name.replace('_', '-')}".encode(), value.encode()
        block += bytes([len(spelled)]) + spelled + struct.pack(">BH", TEXT_HEADER, len(said)) + said
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return body + struct.pack(">I", zlib.crc32(body))


def check_request(body: object) -> dict[str, Any]:
    """The request, when the service takes it. Raises Refused."""
    if not isinstance(body, dict):
        raise Refused(400, "The request body is not valid JSON")
    unknown = sorted(set(body) - FIELDS)
    if unknown or None in body.values():
        raise Refused(400, f"Malformed input request: extraneous key {unknown} is not permitted")
    settings = body.get("inferenceConfig", {})
    if (
        set(settings) - SETTINGS
        or not 0 <= settings.get("temperature", 1) <= 1
        or settings.get("maxTokens", 1) < 1
    ):
        raise Refused(
            400, "1 validation error detected: Value at 'inferenceConfig' failed to satisfy constraint"
        )
    if any(not one.get("text", "").strip() for one in body.get("system", ())):
        raise Refused(400, "The text field in the ContentBlock object at system.0 is blank.")
    config = body.get("toolConfig")
    if config is not None:
        check_tools(config)
    check_messages(body.get("messages"), tools=config is not None)
    return body


def check_tools(config: dict[str, Any]) -> None:
    if not config.get("tools"):
        raise Refused(
            400, "Value at 'toolConfig.tools' failed to satisfy constraint: length greater than or equal to 1"
        )
    for tool in config["tools"]:
        spec = tool.get("toolSpec", {})
        if not IDS.fullmatch(spec.get("name", "")) or "json" not in spec.get("inputSchema", {}):
            raise Refused(400, "Value at 'toolConfig.tools.1.member.toolSpec' failed to satisfy constraint")
        if spec.get("description") == "":
            raise Refused(400, "Value at 'toolConfig.tools.1.member.toolSpec.description' is too short")
    choice = config.get("toolChoice", {"auto": {}})
    if len(choice) != 1 or not set(choice) <= {"auto", "any", "tool"}:
        raise Refused(400, "Value at 'toolConfig.toolChoice' failed to satisfy constraint")


def check_messages(messages: object, *, tools: bool) -> None:
    """Roles take turns, every call is answered at once, and no text is blank. Raises Refused."""
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "A conversation must start with a user message.")
    waiting: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        role = message.get("role")
        if role != ("user", "assistant")[number % 2]:
            raise Refused(400, "A conversation must alternate between user and assistant roles.")
        if not isinstance(message.get("content"), list) or not message["content"]:
            raise Refused(400, f"The content field in the Message object at {where} is empty.")
        answered = {one["toolResult"]["toolUseId"] for one in message["content"] if "toolResult" in one}
        if answered != waiting:
            raise Refused(
                400, f"Expected toolResult blocks at {where}.content for the following Ids: {waiting}"
            )
        waiting = {check_block(block, role, where) for block in message["content"]} - {""}
        if (waiting or answered) and not tools:
            raise Refused(
                400, "The toolConfig field must be defined when using toolUse and toolResult content blocks."
            )
    if waiting:
        raise Refused(400, f"Expected toolResult blocks for the following Ids: {waiting}")


def check_block(block: dict[str, Any], role: str, where: str) -> str:
    """The id of a call of a tool, "" for any other block. Raises Refused."""
    if len(block) != 1:
        raise Refused(400, f"The ContentBlock object at {where} must set exactly one of its members.")
    ((kind, value),) = block.items()
    if kind == "text":
        if not isinstance(value, str) or not value.strip():
            raise Refused(400, f"The text field in the ContentBlock object at {where} is blank.")
    elif kind == "image" and role == "user":
        if not good_picture(f"image/{value.get('format')}", value.get("source", {}).get("bytes")):
            raise Refused(400, "The provided image does not match the specified image format.")
    elif kind == "toolUse" and role == "assistant":
        if not IDS.fullmatch(value.get("toolUseId", "")) or not isinstance(value.get("input"), dict):
            raise Refused(400, f"Value at '{where}.toolUse' failed to satisfy constraint")
        return str(value["toolUseId"])
    elif kind == "toolResult" and role == "user":
        if any(not one.get("text", "x").strip() for one in value["content"]):
            raise Refused(400, f"The text field in the ContentBlock object at {where} is blank.")
    else:
        raise Refused(400, f"The ContentBlock object at {where} has no member {kind}.")
    return ""


class FakeBedrock(FakeModel):
    """See FakeModel. `origin` is the root; the model and the wish to stream stand in the address."""

    stream_type = "application/vnd.amazon.eventstream"
    opening = 1

    def _routes(self) -> dict[tuple[str, str], Callable[[Call], None]]:
        return {("GET", "/foundation-models"): self._list}

    def _route(self, call: Call) -> Callable[[Call], None] | None:
        found = re.fullmatch(r"/model/([^/]+)/converse(-stream)?", call.path)
        return self._chat if found and call.method == "POST" else None

    def _check_key(self, call: Call) -> None:
        if self.key is not None and call.headers.get("authorization") != f"Bearer {self.key}":
            raise Refused(
                403, "The security token included in the request is invalid.", "UnrecognizedClientException"
            )

    def _refuse(
        self,
        call: Call,
        status: int,
        message: str,
        code: str | None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        name = code or ERRORS.get(status, "InternalServerException")
        more = (("x-amzn-ErrorType", f"{name}:http://internal.amazon.com/"), ("x-amzn-RequestId", "req-1"))
        call.reply(status, json.dumps({"message": message}).encode(), headers=(*more, *headers))

    def _plain_listing(self) -> dict[str, object]:
        rows = [
            {
                "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
                "modelId": name,
                "modelName": name,
                "providerName": "Tests",
                "inputModalities": ["TEXT"],
                "outputModalities": ["EMBEDDING" if "embed" in name else "TEXT"],
                "responseStreamingSupported": True,
                "inferenceTypesSupported": ["ON_DEMAND"],
                "modelLifecycle": {"status": "ACTIVE"},
            }
            for name in self.models
        ]
        return {"modelSummaries": rows}

    def _checked(self, call: Call, body: object) -> dict[str, Any]:
        name, _, method = call.path[len("/model/") :].partition("/")
        if unquote(name) not in self.models:
            raise Refused(400, "The provided model identifier is invalid.")
        # What else stands in the body elsewhere.
        return {**check_request(body), "model": unquote(name), "stream": method == "converse-stream"}

    def _question(self, body: dict[str, Any]) -> str:
        for message in reversed(body["messages"]):
            texts = [one.get("text", "") for one in message["content"]]
            if message["role"] == "user" and any(texts):
                return "".join(texts)
        return ""

    def _made(self, record: ModelCall) -> str:
        return f"re: {record.question}"

    @staticmethod
    def _obliged(body: dict[str, Any]) -> str | None:
        config = body.get("toolConfig") or {}
        choice = config.get("toolChoice") or {}
        if "any" in choice:
            return str(config["tools"][0]["toolSpec"]["name"])
        return str(choice["tool"]["name"]) if "tool" in choice else None

    def _blocks(self, record: ModelCall, kind: str) -> list[dict[str, Any]]:
        name = self._obliged(record.body)
        if name is not None:
            used = {"toolUseId": "tooluse_1", "name": name, "input": {"question": record.question}}
            return [{"text": "I look."}, {"toolUse": used}]
        return [] if kind in ("null_content", "empty_choices") else [{"text": record.answer}]

    def _whole(self, record: ModelCall, kind: str) -> dict[str, object]:
        counted = self._usage(record)
        reason = {"length": "max_tokens", "content_filter": "content_filtered"}.get(kind, "end_turn")
        return {
            "output": {"message": {"role": "assistant", "content": self._blocks(record, kind)}},
            "stopReason": "tool_use" if self._obliged(record.body) else reason,
            "usage": {
                "inputTokens": counted["prompt_tokens"],
                "outputTokens": counted["completion_tokens"],
                "totalTokens": counted["total_tokens"],
                "cacheReadInputTokens": 5,
                "cacheWriteInputTokens": 2,
            },
            "metrics": {"latencyMs": 1},
        }

    def _events(self, record: ModelCall, kind: str) -> list[dict[str, object]]:
        whole: dict[str, Any] = self._whole(record, kind)
        events: list[dict[str, Any]] = [{"messageStart": {"role": "assistant"}}]
        for index, block in enumerate(whole["output"]["message"]["content"]):
            place = {"contentBlockIndex": index}
            used = block.get("toolUse")
            if used is not None:
                start = {"toolUse": {"toolUseId": used["toolUseId"], "name": used["name"]}}
                events.append({"contentBlockStart": {"start": start, **place}})
            said = block["text"] if used is None else json.dumps(used["input"])
            for start in range(0, len(said), self.piece_chars):
                piece = said[start : start + self.piece_chars]
                delta: dict[str, Any] = {"text": piece} if used is None else {"toolUse": {"input": piece}}
                events.append({"contentBlockDelta": {"delta": delta, **place, "p": "abcdef"}})
            events.append({"contentBlockStop": place})
        if kind != "no_done":
            events.append({"messageStop": {"stopReason": whole["stopReason"]}})
            events.append({"metadata": {"usage": whole["usage"], "metrics": whole["metrics"]}})
        return events

    def _line(self, event: dict[str, object]) -> bytes:
        ((name, value),) = event.items()
        payload = json.dumps(value, ensure_ascii=False).encode()
        kind = {"event_type": name, "content_type": "application/json"}
        return frame(payload, message_type="event", **kind)

    def _ending(self) -> bytes:
        return b""

    def _error_line(self, message: str) -> bytes:
        payload = json.dumps({"message": message}).encode()
        return frame(payload, message_type="exception", exception_type="internalServerException")
