"""Answers that are not quite what a protocol says: no reader fails otherwise than by saying so."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from loong_gateway.config.kinds import KINDS
from loong_gateway.providers.anthropic_messages import AnthropicMessages
from loong_gateway.providers.bedrock_converse import BedrockConverse
from loong_gateway.providers.contract import Completion, ToolCall, Usage
from loong_gateway.providers.errors import AttemptFailed
from loong_gateway.providers.openai_chat import OpenAIChat
from loong_gateway.providers.openai_responses import OpenAIResponses
from loong_gateway.providers.wire import Wire
from tests.fakes.model_bedrock import frame
from tests.gateway.providers.provider_rig import PROFILE

SOMEWHERE = replace(PROFILE, base_url="http://127.0.0.1:9/v1")
CHAT: Wire = OpenAIChat(SOMEWHERE, KINDS["custom"])
RESPONSES: Wire = OpenAIResponses(SOMEWHERE, KINDS["custom"])
ANTHROPIC: Wire = AnthropicMessages(SOMEWHERE, KINDS["anthropic"])
BEDROCK: Wire = BedrockConverse(SOMEWHERE, KINDS["bedrock"])
LOOK = ToolCall("c1", "look", '{"a": 1}')

WHOLE = (
    (
        CHAT,
        {
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "content": "hi",
                        "refusal": None,
                        "tool_calls": [
                            {"id": "c1", "index": 0, "function": {"name": "look", "arguments": '{"a": 1}'}}
                        ],
                    },
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        },
    ),
    (
        RESPONSES,
        {
            "model": "m",
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a": 1}'},
            ],
            "usage": {
                "input_tokens": 3,
                "output_tokens": 4,
                "total_tokens": 7,
                "input_tokens_details": {"cached_tokens": 1},
                "output_tokens_details": {"reasoning_tokens": 2},
            },
        },
    ),
    (
        ANTHROPIC,
        {
            "model": "m",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "hi"},
                {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 2, "cache_read_input_tokens": 1, "output_tokens": 4},
        },
    ),
    (
        BEDROCK,
        {
            "output": {
                "message": {
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
                        {"text": "hi"},
                        {"toolUse": {"toolUseId": "c1", "name": "look", "input": {"a": 1}}},
                    ]
                }
            },
            "stopReason": "tool_use",
            "usage": {"inputTokens": 2, "cacheReadInputTokens": 1, "outputTokens": 4, "totalTokens": 7},
        },
    ),
)
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a": 1}'}
FRAGMENT = {"id": "c1", "function": {"name": "look", "arguments": '{"a"'}}
STREAMED = (
    (
        CHAT,
        [
            {"choices": []},
            {"choices": [{"index": 1, "delta": {"content": "no"}}]},
            {"choices": [{"delta": {"content": "h", "reasoning_content": "hm"}}]},
            {"choices": [{"delta": {"content": [{"type": "text", "text": "i"}]}}]},
            # Without an index a fragment with an id begins a call and one without goes on with it.
            {"choices": [{"delta": {"content": None, "tool_calls": [FRAGMENT]}}]},
            {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": ": 1}"}}]}}]},
            {"model": "m", "choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
            {"choices": [], "usage": WHOLE[0][1]["usage"]},
        ],
    ),
    (
        RESPONSES,
        [
            {"type": "response.created", "response": {"status": "in_progress"}},
            {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
            {"type": "response.output_text.delta", "delta": "hi"},
            {"type": "response.output_item.done", "item": {"type": "message", "content": []}},
            {"type": "response.output_item.done", "item": CALL},
            {"type": "response.completed", "response": {**WHOLE[1][1], "output": []}},
        ],
    ),
    (
        ANTHROPIC,
        [
            {"type": "message_start", "message": {"model": "m", "usage": WHOLE[2][1]["usage"]}},
            {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "hi"}},
            {"type": "content_block_start", "index": 2,
             "content_block": {"type": "tool_use", "id": "c1", "name": "look", "input": {}}},
            {"type": "content_block_delta", "index": 2,
             "delta": {"type": "input_json_delta", "partial_json": '{"a": 1}'}},
            {"type": "an_event_of_later"},
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ],
    ),
    (
        BEDROCK,
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"reasoningContent": {"text": "hm"}}, "contentBlockIndex": 0}},
            {"contentBlockDelta": {"delta": {"text": "hi"}, "contentBlockIndex": 1}},
            {"contentBlockStart": {"start": {"toolUse": {"toolUseId": "c1", "name": "look"}}, "contentBlockIndex": 2}},
            {"contentBlockDelta": {"delta": {"toolUse": {"input": '{"a": 1}'}}, "contentBlockIndex": 2}},
            {"messageStop": {"stopReason": "tool_use"}},
            {"metadata": {"usage": WHOLE[3][1]["usage"]}},
        ],
    ),
)  # fmt: skip
names = ["chat", "responses", "anthropic", "bedrock"]


def encoded(wire: Wire, event: Any) -> bytes:
    if wire is not BEDROCK:
        return b"data: " + json.dumps(event).encode() + b"\n\n"
    ((name, value),) = event.items() if isinstance(event, dict) and len(event) == 1 else [("odd", event)]
    return frame(json.dumps(value).encode(), message_type="event", event_type=name)


def read_stream(wire: Wire, events: list[Any]) -> Completion:
    stream = wire.stream(model="m", hide=())
    for event in events:
        stream.feed(encoded(wire, event))
    return stream.finish()[1]


def changed(document: Any) -> Iterator[Any]:
    """The document with each of its members replaced by each kind of value, one at a time, and taken out."""
    places: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        inside = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for name, member in inside:
            places.append((*path, name))
            walk(member, (*path, name))

    walk(document, ())
    for *path, name in places:
        for value in (None, True, -1, 1 << 60, "x", [], ["x"], {}, {"x": 1}, KeyError):
            copied = copy.deepcopy(document)
            holder = copied
            for step in path:
                holder = holder[step]
            if value is KeyError:
                del holder[name]
            else:
                holder[name] = value
            yield copied


@pytest.mark.parametrize(("wire", "document"), WHOLE, ids=names)
def test_a_whole_answer(wire: Wire, document: Any) -> None:
    answer = wire.read(json.dumps(document).encode(), model="m", hide=())
    assert (answer.text, answer.model, answer.tool_calls) == ("hi", "m", (LOOK,))
    reasoning = 2 if wire in (CHAT, RESPONSES) else None
    assert answer.usage == Usage(3, 4, 7, 1, reasoning)


@pytest.mark.parametrize(("wire", "events"), STREAMED, ids=names)
def test_a_streamed_answer(wire: Wire, events: list[Any]) -> None:
    answer = read_stream(wire, events)
    assert (answer.text, answer.model, answer.tool_calls) == ("hi", "m", (LOOK,))
    assert answer.usage is not None and (answer.usage.input, answer.usage.total, answer.usage.cached) == (
        3,
        7,
        1,
    )


@pytest.mark.parametrize(("wire", "document"), WHOLE, ids=names)
def test_no_change_to_an_answer_does_more_than_spoil_it(wire: Wire, document: Any) -> None:
    spoilt = 0
    for odd in changed(document):
        try:
            answer = wire.read(json.dumps(odd).encode(), model="m", hide=())
        except AttemptFailed:
            spoilt += 1
            continue
        assert answer.text or answer.tool_calls
        assert all(
            isinstance(text, str)
            for call in answer.tool_calls
            for text in (call.id, call.name, call.arguments)
        )
        assert answer.usage is None or all(count >= 0 for count in answer.usage.counts().values())
    assert spoilt


@pytest.mark.parametrize(("wire", "events"), STREAMED, ids=names)
def test_no_change_to_a_stream_does_more_than_spoil_it(wire: Wire, events: list[Any]) -> None:
    spoilt = 0
    for odd in changed(events):
        try:
            answer = read_stream(wire, odd)
        except AttemptFailed:
            spoilt += 1
            continue
        assert answer.text or answer.tool_calls
    assert spoilt


@pytest.mark.parametrize(("wire", "events"), STREAMED, ids=names)
def test_a_stream_that_ends_before_its_reason_is_broken(wire: Wire, events: list[Any]) -> None:
    ends = {CHAT: 6, RESPONSES: 5, ANTHROPIC: 9, BEDROCK: 5}[wire]
    for count in range(ends + 1):
        with pytest.raises(AttemptFailed) as caught:
            read_stream(wire, events[:count])
        assert caught.value.failure.kind == "transport_failure"
    read_stream(wire, events[: ends + 1] if wire is not ANTHROPIC else events)


@pytest.mark.parametrize(
    ("wire", "event", "kind"),
    [
        (CHAT, {"error": {"message": "slow", "code": 429}}, "rate_limited"),
        (CHAT, {"error": {"message": "slow", "type": "rate_limit_exceeded"}}, "rate_limited"),
        (RESPONSES, {"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, "rate_limited"),
        (
            RESPONSES,
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "no"}}},
            "provider_overloaded",
        ),
        (RESPONSES, {"type": "response.failed"}, "provider_overloaded"),
        (
            RESPONSES,
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            "request_rejected",
        ),
        (ANTHROPIC, {"type": "error", "error": {"type": "overloaded_error"}}, "provider_overloaded"),
        (ANTHROPIC, {"type": "error", "error": {"type": "rate_limit_error"}}, "rate_limited"),
        (ANTHROPIC, {"type": "error", "error": {"type": "invalid_request_error"}}, "request_rejected"),
        (BEDROCK, {"error": {"type": "throttlingException"}}, "rate_limited"),
    ],
)
def test_an_error_in_a_stream_has_its_class(wire: Wire, event: Any, kind: str) -> None:
    data = encoded(wire, event)
    if wire is BEDROCK:
        data = frame(b"{}", message_type="exception", exception_type=event["error"]["type"])
    stream = wire.stream(model="m", hide=())
    with pytest.raises(AttemptFailed) as caught:
        stream.feed(data)
        stream.finish()
    assert caught.value.failure.kind == kind


def test_a_response_without_pieces_is_read_at_its_end() -> None:
    answer = read_stream(RESPONSES, [{"type": "response.completed", "response": WHOLE[1][1]}])
    assert (answer.text, answer.tool_calls) == ("hi", (LOOK,))


def test_a_refusal_is_an_answer() -> None:
    part = {"type": "refusal", "refusal": "I will not"}
    document = {"output": [{"type": "message", "content": [part]}]}
    assert RESPONSES.read(json.dumps(document).encode(), model="m", hide=()).text == "I will not"
    said = {"choices": [{"message": {"refusal": "I will not"}, "finish_reason": "stop"}]}
    assert CHAT.read(json.dumps(said).encode(), model="m", hide=()).text == "I will not"
    events = [{"type": "response.refusal.delta", "delta": "I will not"}, {"type": "response.completed"}]
    assert read_stream(RESPONSES, events).text == "I will not"


def test_what_a_server_quotes_is_hidden() -> None:
    quoted = {"error": {"message": "you said secret-words-here"}}
    with pytest.raises(AttemptFailed) as caught:
        CHAT.read(json.dumps(quoted).encode(), model="m", hide=("secret-words-here",))
    assert caught.value.failure.detail == "you said [hidden]"
