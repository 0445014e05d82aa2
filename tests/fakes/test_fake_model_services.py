"""The doubles of the other services of models refuse what the services refuse."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from tests.fakes.model import KEY, FakeModel
from tests.fakes.model_anthropic import FakeAnthropic
from tests.fakes.model_bedrock import FakeBedrock
from tests.fakes.model_responses import FakeResponses

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "look", "input_schema": {"type": "object"}}
USED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "seen"}
TEXT = {"type": "text", "text": "and?"}
MESSAGES: dict[str, Any] = {"model": "test-model", "messages": [USER], "max_tokens": 5}
ITEM = {"type": "message", "role": "user", "content": "hi"}
CALLED = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
RESPONSES: dict[str, Any] = {"model": "test-model", "input": [ITEM]}
ASKED = {"role": "user", "content": [{"text": "hi"}]}
BLOCK = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}]}
ANSWER = {"toolResult": {"toolUseId": "t1", "content": [{"text": "seen"}]}}
SPEC = {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}
CONVERSE: dict[str, Any] = {"messages": [ASKED]}


def post(fake: FakeModel, path: str, body: object, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", fake.server.port, timeout=10)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def messages(
    fake: FakeModel, body: object, key: str = KEY, version: str = "2023-06-01"
) -> tuple[int, dict[str, Any]]:
    return post(fake, "/v1/messages", body, {"x-api-key": key, "anthropic-version": version})


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 0},
        {"max_tokens": None},
        {"messages": []},
        {"messages": [{"role": "system", "content": "be brief"}, USER]},
        {"messages": [{"role": "assistant", "content": "hi"}]},
        {"messages": [USER, USER]},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [USER, USED], "tools": [TOOL]},
        {"messages": [USER, USED, USER], "tools": [TOOL]},
        {"messages": [USER, USED, {"role": "user", "content": [TEXT, RESULT]}], "tools": [TOOL]},
        {"messages": [USER, USED, {"role": "user", "content": [RESULT]}]},
        {"messages": [{"role": "user", "content": [RESULT]}], "tools": [TOOL]},
        {
            "messages": [
                USER,
                {"role": "assistant", "content": [{"type": "tool_use", "name": "look", "input": {}}]},
            ]
        },
        {"temperature": 1.5},
        {"temperature": 0.5, "top_p": 0.5},
        {"system": ""},
        {"stop": ["x"]},
        {"stop_sequences": [" "]},
        {"tools": [{"name": "look", "parameters": {}}]},
        {"tool_choice": {"type": "auto"}},
    ],
)
def test_anthropic_refuses(change: dict[str, Any]) -> None:
    with FakeAnthropic() as fake:
        status, body = messages(fake, {**MESSAGES, **change})
        assert (status, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
        assert fake.calls == []


def test_anthropic_takes_a_round_and_wants_key_version_and_limit() -> None:
    with FakeAnthropic() as fake:
        whole = {"messages": [USER, USED, {"role": "user", "content": [RESULT, TEXT]}], "tools": [TOOL]}
        assert messages(fake, {**MESSAGES, **whole})[0] == 200
        assert messages(fake, MESSAGES, key="wrong")[0] == 401
        assert messages(fake, MESSAGES, version="")[0] == 400
        assert messages(fake, {"model": "test-model", "messages": [USER]})[0] == 400
        assert messages(fake, {**MESSAGES, "model": "gone"})[0] == 404


@pytest.mark.parametrize(
    "change",
    [
        {"input": []},
        {"input": [{"role": "user", "content": "hi"}]},
        {"input": [{**ITEM, "role": "tool"}]},
        {"input": [{**ITEM, "content": [{"type": "text", "text": "hi"}]}]},
        {"input": [{**ITEM, "role": "assistant", "content": [{"type": "input_text", "text": "hi"}]}]},
        {"input": [ITEM, CALLED]},
        {"input": [ITEM, OUTPUT]},
        {"input": [ITEM, {**CALLED, "arguments": {}}, OUTPUT]},
        {"messages": [ITEM]},
        {"max_tokens": 5},
        {"max_output_tokens": 5},
        {"stop": ["x"]},
        {"temperature": 3},
        {"instructions": None},
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
        {"tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}]},
        {"tool_choice": "required"},
    ],
)
def test_responses_refuses(change: dict[str, Any]) -> None:
    with FakeResponses() as fake:
        status, _ = post(fake, "/v1/responses", {**RESPONSES, **change}, {"Authorization": f"Bearer {KEY}"})
        assert status == 400 and fake.calls == []


def test_responses_takes_a_round() -> None:
    with FakeResponses() as fake:
        body = {**RESPONSES, "input": [ITEM, CALLED, OUTPUT]}
        assert post(fake, "/v1/responses", body, {"Authorization": f"Bearer {KEY}"})[0] == 200
        assert post(fake, "/v1/responses", body, {"Authorization": "Bearer wrong"})[0] == 401


def converse(fake: FakeModel, body: object, model: str = "test-model", key: str = KEY) -> int:
    return post(fake, f"/model/{model}/converse", body, {"Authorization": f"Bearer {key}"})[0]


@pytest.mark.parametrize(
    "change",
    [
        {"messages": []},
        {"messages": [ASKED, ASKED]},
        {"messages": [{"role": "system", "content": [{"text": "be brief"}]}]},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": [{"text": " "}]}]},
        {"messages": [{"role": "user", "content": [{"text": "a", "image": {}}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": "R0lGODlh"}}}]}
            ]
        },
        {"messages": [ASKED, BLOCK], "toolConfig": {"tools": [SPEC]}},
        {"messages": [ASKED, BLOCK, ASKED], "toolConfig": {"tools": [SPEC]}},
        {"messages": [ASKED, BLOCK, {"role": "user", "content": [ANSWER]}]},
        {"toolConfig": {"tools": []}},
        {"toolConfig": {"tools": [SPEC], "toolChoice": {"none": {}}}},
        {"inferenceConfig": {"temperature": 1.5}},
        {"inferenceConfig": {"max_tokens": 5}},
        {"system": [{"text": ""}]},
        {"model": "test-model"},
    ],
)
def test_bedrock_refuses(change: dict[str, Any]) -> None:
    with FakeBedrock() as fake:
        assert converse(fake, {**CONVERSE, **change}) == 400 and fake.calls == []


def test_bedrock_takes_a_round() -> None:
    with FakeBedrock() as fake:
        body = {
            "messages": [ASKED, BLOCK, {"role": "user", "content": [ANSWER]}],
            "toolConfig": {"tools": [SPEC]},
        }
        assert converse(fake, body) == 200
        assert converse(fake, body, model="gone") == 400
        assert converse(fake, body, key="wrong") == 403
