"""Good answers in every protocol, and the readers of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from loong_gateway.config.kinds import KINDS
from loong_gateway.providers.anthropic_messages import AnthropicMessages
from loong_gateway.providers.bedrock_converse import BedrockConverse
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


def encoded(wire: Wire, event: Any) -> bytes:
    """An event of a stream as it travels."""
    if wire is not BEDROCK:
        return b"data: " + json.dumps(event).encode() + b"\n\n"
    ((name, value),) = event.items() if isinstance(event, dict) and len(event) == 1 else [("odd", event)]
    return frame(json.dumps(value).encode(), message_type="event", event_type=name)
