"""A strict server of the Responses shape on 127.0.0.1.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import json
from typing import Any, Callable

from .http_server import Call
from .model import FakeModel, ModelCall, Refused, good_data_url

FIELDS = frozenset(
    "model input instructions tools tool_choice parallel_tool_calls stream stream_options max_output_tokens "
    "temperature top_p store metadata previous_response_id reasoning text truncation user include service_tier".split()
)
ROLES = frozenset(["user", "assistant", "system", "developer"])
PARTS = {"user": ("input_text", "input_image"), "assistant": ("output_text", "refusal")}


def check_responses(body: object, models: list[str]) -> dict[str, Any]:
    """The request, when a strict server takes it. Raises Refused."""
    if not isinstance(body, dict):
        raise Refused(400, "We could not parse the JSON body of your request.")
    unknown = sorted(set(body) - FIELDS)
    if unknown:
        raise Refused(400, f"Unknown parameter: '{unknown[0]}'.", "unknown_parameter")
    for name in sorted(body):
        if body[name] is None:
            raise Refused(400, f"Invalid type for '{name}': null", "invalid_type")
    if body.get("model") not in models:
        raise Refused(404, f"The model '{body.get('model')}' does not exist", "model_not_found")
    if not 0 <= body.get("temperature", 1) <= 2:
        raise Refused(400, "Invalid 'temperature'")
    if body.get("max_output_tokens", 16) < 16:
        raise Refused(400, "Invalid 'max_output_tokens': expected a value >= 16", "integer_below_min_value")
    given = body.get("input")
    if not isinstance(given, str) and not (isinstance(given, list) and given):
        raise Refused(400, "Missing required parameter: 'input'.", "missing_required_parameter")
    check_items([] if isinstance(given, str) else given)
    check_tools(body)
    return body


def check_items(items: list[Any]) -> None:
    """Every item has its type, and every call of a function its output. Raises Refused."""
    called: set[str] = set()
    answered: set[str] = set()
    for number, item in enumerate(items):
        kind = item.get("type") if isinstance(item, dict) else None
        where = f"input[{number}]"
        if kind == "message":
            check_message(item, where)
        elif kind == "function_call":
            if not all(isinstance(item.get(name), str) for name in ("call_id", "name", "arguments")):
                raise Refused(400, f"Missing required parameter in '{where}'.", "missing_required_parameter")
            called.add(item["call_id"])
        elif kind == "function_call_output":
            if item.get("call_id") not in called:
                raise Refused(
                    400, f"No tool call found for function call output with call_id {item.get('call_id')}."
                )
            if not isinstance(item.get("output"), str):
                raise Refused(400, f"Invalid type for '{where}.output'", "invalid_type")
            answered.add(item["call_id"])
        else:
            raise Refused(400, f"Invalid value: '{kind}' of '{where}.type'.", "invalid_value")
    if called - answered:
        raise Refused(400, f"No tool output found for function call {sorted(called - answered)[0]}.")


def check_message(item: dict[str, Any], where: str) -> None:
    if item.get("role") not in ROLES:
        raise Refused(400, f"Invalid value for '{where}.role'", "invalid_value")
    content = item.get("content")
    if isinstance(content, str) and content:
        return
    if not isinstance(content, list) or not content:
        raise Refused(400, f"Invalid type for '{where}.content'", "invalid_type")
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in PARTS.get(item["role"], ("input_text",)):
            raise Refused(400, f"Invalid value: '{kind}' in '{where}.content'.", "invalid_value")
        if kind == "input_image" and not good_data_url(part.get("image_url")):
            raise Refused(
                400, "The image data you provided does not represent a valid image.", "invalid_image"
            )
        if kind != "input_image" and not part.get("text"):
            raise Refused(400, f"Missing text in '{where}.content'.", "missing_required_parameter")


def check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools", [])
    for number, tool in enumerate(tools):
        if tool.get("type") != "function" or not isinstance(tool.get("name"), str):
            raise Refused(
                400, f"Missing required parameter: 'tools[{number}].name'.", "missing_required_parameter"
            )
        if not isinstance(tool.get("parameters"), dict):
            raise Refused(400, f"Missing required parameter: 'tools[{number}].parameters'.")
        if tool.get("strict", True) and tool["parameters"].get("additionalProperties") is not False:
            raise Refused(400, f"Invalid schema for function '{tool['name']}'", "invalid_function_parameters")
    if body.get("tool_choice", "auto") not in ("auto", "none") and not tools:
        raise Refused(400, "Tool choice is only allowed when 'tools' are specified.")


def question_of(given: Any) -> str:
    if isinstance(given, str):
        return given
    for item in reversed(given):
        if item.get("role") == "user":
            content = item["content"]
            return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    return ""


class FakeResponses(FakeModel):
    """See FakeModel; there are no chat completions here."""

    opening = 4

    def _routes(self) -> dict[tuple[str, str], Callable[[Call], None]]:
        return {
            ("POST", f"{self.prefix}/responses"): self._chat,
            ("GET", f"{self.prefix}/models"): self._list,
        }

    def _checked(self, call: Call, body: object) -> dict[str, Any]:
        return check_responses(body, self.models)

    def _question(self, body: dict[str, Any]) -> str:
        return question_of(body["input"])

    def _made(self, record: ModelCall) -> str:
        return f"re: {record.question}"

    def _items(self, record: ModelCall, kind: str) -> list[dict[str, Any]]:
        name = self._obliged(record.body)
        if name is not None:
            arguments = json.dumps({"question": record.question})
            head = {"id": "fc_1", "type": "function_call", "status": "completed"}
            return [{**head, "call_id": "call_1", "name": name, "arguments": arguments}]
        if kind in ("null_content", "empty_choices"):
            return []
        part = {"type": "output_text", "text": record.answer, "annotations": [], "logprobs": []}
        head = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant"}
        return [{**head, "content": [part]}]

    @staticmethod
    def _obliged(body: dict[str, Any]) -> str | None:
        choice, tools = body.get("tool_choice"), body.get("tools") or []
        name = choice.get("name") if isinstance(choice, dict) else None
        name = tools[0]["name"] if choice == "required" else name
        if name is not None and name not in [tool["name"] for tool in tools]:
            raise Refused(400, f"Tool choice '{name}' is not one of the tools.")
        return name

    def _response(self, record: ModelCall, status: str, **more: object) -> dict[str, Any]:
        body = record.body
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1700000000,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "model": body["model"],
            "output": [],
            "parallel_tool_calls": body.get("parallel_tool_calls", True),
            "tool_choice": body.get("tool_choice", "auto"),
            "tools": body.get("tools", []),
            "temperature": 1.0,
            "top_p": 1.0,
            "metadata": {},
            "usage": None,
            **more,
        }

    def _whole(self, record: ModelCall, kind: str) -> dict[str, object]:
        counted = self._usage(record)
        usage = {
            "input_tokens": counted["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
            "output_tokens": counted["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": counted["total_tokens"],
        }
        reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(kind)
        return self._response(
            record,
            "incomplete" if reason else "completed",
            incomplete_details={"reason": reason} if reason else None,
            output=self._items(record, kind),
            usage=usage,
        )

    def _events(self, record: ModelCall, kind: str) -> list[dict[str, object]]:
        whole = self._whole(record, kind)
        opened = self._response(record, "in_progress")
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": opened},
            {"type": "response.in_progress", "response": opened},
        ]
        for index, item in enumerate(self._items(record, kind)):
            place = {"output_index": index, "item_id": item["id"]}
            at = {"output_index": index}
            started = {
                "status": "in_progress",
                **({"content": []} if "content" in item else {"arguments": ""}),
            }
            events.append({"type": "response.output_item.added", **at, "item": {**item, **started}})
            if item["type"] == "message":
                (part,) = item["content"]
                inside = {**place, "content_index": 0}
                empty = {**part, "text": ""}
                events.append({"type": "response.content_part.added", **inside, "part": empty})
                for piece in self._pieces(record.answer):
                    said = {"delta": piece, "logprobs": []}
                    events.append({"type": "response.output_text.delta", **inside, **said})
                done = {"text": record.answer, "logprobs": []}
                events.append({"type": "response.output_text.done", **inside, **done})
                events.append({"type": "response.content_part.done", **inside, "part": part})
            else:
                name = "response.function_call_arguments"
                for piece in self._pieces(item["arguments"]):
                    events.append({"type": f"{name}.delta", **place, "delta": piece})
                done = {"name": item["name"], "arguments": item["arguments"]}
                events.append({"type": f"{name}.done", **place, **done})
            events.append({"type": "response.output_item.done", **at, "item": item})
        events.append({"type": f"response.{whole['status']}", "response": whole})
        if kind == "no_done":
            events.pop()
        return [{**event, "sequence_number": number} for number, event in enumerate(events)]

    def _pieces(self, text: str) -> list[str]:
        return [text[start : start + self.piece_chars] for start in range(0, len(text), self.piece_chars)]

    def _line(self, event: dict[str, object]) -> bytes:
        named = f"event: {event['type']}{self.line_end}" if "type" in event else ""
        return named.encode() + super()._line(event)

    def _ending(self) -> bytes:
        return b""

    def _error_line(self, message: str) -> bytes:
        failure = {"type": "error", "code": "server_error", "message": message, "param": None}
        return self._line({**failure, "sequence_number": 99})
