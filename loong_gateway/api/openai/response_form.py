"""The documents and events of one response, https://platform.openai.com/docs/api-reference/responses-streaming"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from loong_gateway.control.runs import RunResult
from loong_gateway.providers.contract import ToolCall

from .faults import ApiFault
from .serving import DONE, event_line, rest_of, usage_of

__all__ = ["ResponseForm", "ResponseStream"]

_DEFAULTS: Mapping[str, object] = {
    "instructions": None,
    "metadata": {},
    "temperature": None,
    "top_p": None,
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": None,
}


@dataclass(frozen=True)
class ResponseForm:
    """What is the same in all documents of one response. `told_back` are members of the request."""

    id: str
    created_at: int
    model: str
    store: bool
    parallel: bool
    previous: str | None
    told_back: Mapping[str, object]
    item_id: str = field(default_factory=lambda: f"msg_{uuid.uuid4()}")

    def document(self, status: str, **changes: object) -> dict[str, object]:
        """The response in one status, without output unless `changes` say so."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": self.model,
            "output": [],
            "parallel_tool_calls": self.parallel,
            "previous_response_id": self.previous,
            "store": self.store,
            "truncation": "disabled",
            "usage": None,
            **_DEFAULTS,
            **self.told_back,
            **changes,
        }

    def ended(self, result: RunResult) -> dict[str, object]:
        """The whole response of a run that went well."""
        return self.closed(result, self.items(result))

    def closed(self, result: RunResult, items: list[dict[str, object]]) -> dict[str, object]:
        """The same around items that were told already."""
        changes: dict[str, object] = {"output": items, "usage": _usage(result)}
        if result.truncated:
            return self.document("incomplete", incomplete_details={"reason": "max_output_tokens"}, **changes)
        return self.document("completed", **changes)

    def items(self, result: RunResult) -> list[dict[str, object]]:
        """What the model said and asked to have called."""
        said = [self.message(result.text, "completed")] if result.text or not result.tool_calls else []
        return [*said, *(call_item(call, call.arguments, "completed") for call in result.tool_calls)]

    def message(self, text: str | None, status: str) -> dict[str, object]:
        """The item of the text; None for one that has not begun."""
        return {
            "type": "message",
            "id": self.item_id,
            "role": "assistant",
            "content": [] if text is None else [text_part(text)],
            "phase": "final_answer",
            "status": status,
        }


def text_part(text: str) -> dict[str, object]:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(call: ToolCall, arguments: str, status: str) -> dict[str, object]:
    """The item of a function call."""
    return {
        "type": "function_call",
        "id": f"fc_{call.id}",
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
        "status": status,
    }


class ResponseStream:
    """The events of one response as bytes, in order. Not thread-safe."""

    def __init__(self, form: ResponseForm) -> None:
        self._form = form
        self._number = 0
        self._said: list[str] | None = None

    def begun(self) -> bytes:
        """Before anything was said."""
        document = self._form.document("in_progress")
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._event(kind, response=document) for kind in kinds)

    def grown(self, piece: str) -> bytes:
        """A piece of the text, with what must come before the first one."""
        before = b""
        if self._said is None:
            self._said = []
            item = self._form.message(None, "in_progress")
            before = self._event("response.output_item.added", output_index=0, item=item)
            before += self._part("response.content_part.added", part=text_part(""))
        self._said.append(piece)
        return before + self._part("response.output_text.delta", delta=piece, logprobs=[])

    def ended(self, result: RunResult) -> bytes:
        """What is left to say of a run that went well, and the end."""
        said = "".join(self._said or [])
        rest = rest_of(result, said)
        lines = b""
        if rest or (self._said is None and not result.tool_calls):
            lines += self.grown(rest)
            said += rest
        items: list[dict[str, object]] = []
        if self._said is not None:
            items.append(self._form.message(said, "completed"))
            lines += self._part("response.output_text.done", text=said, logprobs=[])
            lines += self._part("response.content_part.done", part=text_part(said))
            lines += self._event("response.output_item.done", output_index=0, item=items[0])
        for call in result.tool_calls:
            lines += self._call(call, len(items))
            items.append(call_item(call, call.arguments, "completed"))
        document = self._form.closed(result, items)
        return lines + self._event(f"response.{document['status']}", response=document) + DONE

    def failed(self, fault: ApiFault) -> bytes:
        """The end of one that broke on the way."""
        error = {"code": fault.code, "message": fault.message}
        return self._event("response.failed", response=self._form.document("failed", error=error))

    def _call(self, call: ToolCall, index: int) -> bytes:
        whole = call_item(call, call.arguments, "completed")
        place = {"output_index": index, "item_id": whole["id"]}
        grown = "response.function_call_arguments"
        return b"".join(
            (
                self._event(
                    "response.output_item.added", output_index=index, item=call_item(call, "", "in_progress")
                ),
                self._event(f"{grown}.delta", **place, delta=call.arguments),
                self._event(f"{grown}.done", **place, name=call.name, arguments=call.arguments),
                self._event("response.output_item.done", output_index=index, item=whole),
            )
        )

    def _part(self, kind: str, **members: object) -> bytes:
        return self._event(kind, item_id=self._form.item_id, output_index=0, content_index=0, **members)

    def _event(self, kind: str, **members: object) -> bytes:
        line = event_line(kind, {"sequence_number": self._number, **members})
        self._number += 1
        return line


def _usage(result: RunResult) -> dict[str, object] | None:
    counts = usage_of(result.usage, "input_tokens", "output_tokens")
    if counts is None:
        return None
    return {
        **counts,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
