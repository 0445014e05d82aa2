"""The Responses protocol as OpenAI publishes it. Every question carries its whole history; nothing is stored there.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from loong_gateway.config.kinds import Kind
from loong_gateway.config.snapshot import ProviderProfile
from loong_gateway.providers.answer import AnswerStream, Draft, read_usage, read_whole
from loong_gateway.providers.contract import CallOptions, Completion, Function, Message
from loong_gateway.providers.endpoints import CHAT_SUFFIX
from loong_gateway.providers.errors import AttemptFailed, shape_failure
from loong_gateway.providers.openai_chat import data_url, set_only
from loong_gateway.providers.wire import Request, Wire

__all__ = ["OpenAIResponses"]

_REQUIRED = ("model", "input")


class OpenAIResponses(Wire):
    """See Wire; the endpoint stands beside that of chat completions."""

    def __init__(self, profile: ProviderProfile, kind: Kind) -> None:
        super().__init__(profile, kind)
        if self.url.endswith(CHAT_SUFFIX):
            self.url = self.url[: -len(CHAT_SUFFIX)] + "/responses"

    def request(
        self,
        model: str,
        messages: Sequence[Message],
        options: CallOptions,
        *,
        stream: bool,
        without: frozenset[str],
    ) -> Request:
        """See Wire. There are no stop texts, seeds and penalties in this protocol."""
        profile = self._profile
        system = [m.content for m in messages if m.role == "system" and m.content]
        effort = options.reasoning_effort or profile.reasoning_effort
        body: dict[str, Any] = {
            "model": model,
            "instructions": "\n\n".join(system) or None,
            "input": [item for m in messages if m.role != "system" for item in _items(m)],
            "temperature": profile.temperature if options.temperature is None else options.temperature,
            "top_p": options.top_p,
            "max_output_tokens": profile.max_tokens if options.max_tokens is None else options.max_tokens,
            "reasoning": {"effort": effort} if effort else None,
            "text": _text_format(options.response_format),
            "store": False,
            "stream": stream or None,
        }
        if options.tools:
            body["tools"] = [_function(one) for one in options.tools]
            body["tool_choice"] = _choice(options.tool_choice)
            body["parallel_tool_calls"] = options.parallel_tool_calls
        sent = {name: value for name, value in set_only(body).items() if name not in without}
        return Request(self.url, sent, "stream" in sent, sent.keys() - _REQUIRED)

    def read(self, body: bytes, *, model: str, hide: Iterable[str]) -> Completion:
        """See Wire."""
        return read_whole(body, _take_response, model=model, hide=hide)

    def stream(self, *, model: str, hide: Iterable[str]) -> AnswerStream:
        """See Wire."""
        return AnswerStream(_take_event, model=model, hide=hide)


def _items(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        output = {"call_id": message.tool_call_id or "", "output": message.content}
        return [{"type": "function_call_output", **output}]
    content: object = message.content
    if message.images:
        parts = [{"type": "input_text", "text": message.content}] if message.content else []
        content = [*parts, *({"type": "input_image", "image_url": data_url(one)} for one in message.images)]
    said = [{"type": "message", "role": message.role, "content": content}] if content else []
    return said + [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]


def _function(function: Function) -> dict[str, Any]:
    written = {
        "type": "function",
        "name": function.name,
        "description": function.description or None,
        "parameters": function.parameters or {"type": "object", "properties": {}},
        # Left out it would count as true here, and most schemas are not that strict.
        "strict": bool(function.strict),
    }
    return set_only(written)


def _choice(choice: str | None) -> object:
    if choice is None or not choice.startswith("function:"):
        return choice
    return {"type": "function", "name": choice[len("function:") :]}


def _text_format(wanted: Mapping[str, object] | None) -> dict[str, Any] | None:
    """The format of an answer as chat completions have it, written as it is here: one level less."""
    if wanted is None:
        return None
    schema = wanted.get("json_schema")
    flat = schema if isinstance(schema, dict) else {}
    return {"format": {"type": wanted.get("type"), **flat}}


def _take_response(draft: Draft, response: dict[str, Any]) -> None:
    output = response.get("output")
    if not isinstance(output, list):
        raise AttemptFailed(shape_failure("it holds no output"))
    for item in output:
        _take_item(draft, item)
    _take_end(draft, response)


def _take_item(draft: Draft, item: object) -> None:
    if not isinstance(item, dict):
        return
    if item.get("type") == "function_call":
        draft.calls.add(
            None, named=item.get("call_id"), name=item.get("name"), arguments=item.get("arguments")
        )
    content = item.get("content") if item.get("type") == "message" else None
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict) and part.get("type") == "output_text":
            draft.say(part.get("text"))
        elif isinstance(part, dict) and isinstance(part.get("refusal"), str):
            draft.refusal.append(part["refusal"])


def _take_end(draft: Draft, response: dict[str, Any]) -> None:
    draft.named(response.get("model"))
    draft.usage = read_usage(response.get("usage")) or draft.usage
    status, details = response.get("status"), response.get("incomplete_details")
    if status in ("failed", "cancelled"):
        draft.check_error({"error": response.get("error") or {"message": f"the response has {status}"}})
    reason = details.get("reason") if isinstance(details, dict) else None
    if status == "incomplete":
        draft.finish = "content_filter" if reason == "content_filter" else "length"
    elif status in (None, "completed"):
        draft.finish = "stop"


def _take_event(draft: Draft, event: dict[str, Any]) -> None:
    kind = event.get("type")
    if kind == "response.output_text.delta":
        draft.say(event.get("delta"))
    elif kind == "response.refusal.delta" and isinstance(event.get("delta"), str):
        draft.refusal.append(event["delta"])
    elif kind == "response.output_item.done":
        item = event.get("item")
        # Calls come whole at the end of their item; the text of a message has come in pieces.
        if isinstance(item, dict) and item.get("type") == "function_call":
            _take_item(draft, item)
    elif kind in ("response.completed", "response.incomplete", "response.failed"):
        response = event.get("response")
        response = response if isinstance(response, dict) else {}
        if not draft.text and not draft.refusal and not draft.calls.whole():
            output = response.get("output")
            for item in output if isinstance(output, list) else ():
                _take_item(draft, item)
        _take_end(draft, {**response, "status": str(kind).rpartition(".")[2]})
        draft.done = True
