"""POST /v1/chat/completions, https://platform.openai.com/docs/api-reference/chat"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loong_gateway.api.answers import Answer, BodyStream, StreamedAnswer, json_answer
from loong_gateway.api.fields import BadFields, optional_flag, optional_object
from loong_gateway.api.router import Request
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import RunResult
from loong_gateway.providers.contract import ToolCall

from .conversation import run_request, session_of
from .faults import ApiFault, result_fault
from .following import Following, Told, relay
from .messages import chat_messages
from .names import target_of
from .options import chat_options
from .serving import DONE, EVENT_STREAM, AnyAnswer, Patience, data_line, followed, rest_of, usage_of

__all__ = ["ChatCompletions"]

MOST_STREAM_OPTIONS = 8


class ChatCompletions:
    """The handler. Stateless, so thread-safe."""

    def __init__(self, control: ControlPlane, patience: Patience) -> None:
        self._control = control
        self._patience = patience

    def create(self, request: Request, document: Mapping[str, object]) -> AnyAnswer:
        """Answer a conversation, whole or as a stream. Blocks for as long as the model writes."""
        target = target_of(document.get("model"), request.head, self._control.config())
        messages = chat_messages(document)
        options = chat_options(document)
        streams = optional_flag(document, "stream")
        given = optional_object(document, "stream_options", most=MOST_STREAM_OPTIONS)
        if given and not streams:
            raise BadFields("stream_options: is only allowed with stream")
        form = _Form(
            f"chatcmpl_{uuid.uuid4()}",
            int(time.time()),
            str(document["model"]),
            is_model_named=target.is_model_named,
            counts=optional_flag(given, "include_usage"),
        )
        asked = run_request(
            messages,
            session=session_of(document, request.head, self._control),
            target=target,
            options=options,
            head=request.head,
        )
        return followed(
            self._control,
            request,
            asked,
            patience=self._patience if streams else None,
            whole=form.whole,
            stream=lambda following, first: StreamedAnswer(
                200,
                EVENT_STREAM,
                lambda out: _stream(form, following, first, out, self._patience.keepalive_s),
                over=following.close,
            ),
        )


@dataclass(frozen=True)
class _Form:
    """The documents of one answer. `model` is as the client wrote it; `counts` asks for a chunk with the tokens."""

    id: str
    created: int
    model: str
    is_model_named: bool
    counts: bool

    def whole(self, result: RunResult) -> Answer:
        """The completion. Raises ApiFault when there is none."""
        fault = result_fault(result, is_model_named=self.is_model_named)
        if fault is not None:
            raise fault
        message: dict[str, object] = {"role": "assistant", "content": result.text, "refusal": None}
        if result.tool_calls:
            message.update(
                content=result.text or None, tool_calls=[_call(call) for call in result.tool_calls]
            )
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(result)}
        document = {**self._head("chat.completion"), "choices": [choice]}
        usage = usage_of(result.usage, "prompt_tokens", "completion_tokens")
        return json_answer(200, document if usage is None else {**document, "usage": usage})

    def chunk(self, delta: Mapping[str, object], reason: str | None = None) -> bytes:
        """One chunk of a stream."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        document = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return data_line({**document, "usage": None} if self.counts else document)

    def end(self, result: RunResult, said: str) -> Iterator[bytes]:
        """The chunks after the last piece of text. Raises ApiFault for a run that failed on the way."""
        fault = result_fault(result, is_model_named=self.is_model_named)
        if fault is not None:
            raise fault
        rest = rest_of(result, said)
        if rest:
            yield self.chunk({"content": rest})
        for delta in _call_deltas(result.tool_calls):
            yield self.chunk(delta)
        yield self.chunk({}, _reason(result))
        usage = usage_of(result.usage, "prompt_tokens", "completion_tokens")
        if self.counts and usage is not None:
            yield data_line({**self._head("chat.completion.chunk"), "choices": [], "usage": usage})
        yield DONE

    def _head(self, kind: str) -> dict[str, object]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def _stream(
    form: _Form, following: Following, first: Told | None, out: BodyStream, keepalive_s: float
) -> None:
    said: list[str] = []
    out.write(form.chunk({"role": "assistant", "content": ""}))
    try:
        for told in relay(following, first, out, keepalive_s=keepalive_s):
            if isinstance(told, RunResult):
                out.write(b"".join(form.end(told, "".join(said))))
            else:
                said.append(told)
                out.write(form.chunk({"content": told}))
    except ApiFault as fault:
        # No end mark behind it: nobody shall take what came for the whole.
        out.write(data_line({"error": fault.member()}))


def _reason(result: RunResult) -> str:
    if result.tool_calls:
        return "tool_calls"
    return "length" if result.truncated else "stop"


def _call(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_deltas(calls: Sequence[ToolCall]) -> Iterator[Mapping[str, object]]:
    """Each call as its name first and then its arguments, as clients expect them to grow."""
    for index, call in enumerate(calls):
        opened = {"name": call.name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": opened}]}
        yield {"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]}
