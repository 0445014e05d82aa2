"""The double of the model provider refuses what a strict server refuses."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.model import KEY, FakeModel
from tests.fakes.process import Remote

PICTURE = "data:image/gif;base64,R0lGODlh"
FALSE = "data:image/png;base64,R0lGODlh"
GOOD: dict[str, Any] = {"model": "test-model", "messages": [{"role": "user", "content": "hi 😀"}]}


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    with FakeModel() as server:
        yield server
        assert server.server.crashes == []


def post(
    fake: FakeModel, body: object, key: str = KEY, path: str = "/v1/chat/completions"
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", fake.server.port, timeout=10)
    try:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_answers_are_a_function_of_the_last_user_message(fake: FakeModel) -> None:
    status, text = post(fake, GOOD)
    assert status == 200
    assert json.loads(text)["choices"][0]["message"]["content"] == "re: hi 😀"
    assert fake.questions() == ["hi 😀"]
    assert fake.max_running == 1


def test_a_question_lists_the_calls_of_several_rounds(fake: FakeModel) -> None:
    asked = [{"role": "user", "content": 'call one {"a":1}\nalso two\ncall three {}'}]
    tools = [{"type": "function", "function": {"name": name}} for name in ("one", "two", "three")]
    rounds = []
    for _ in range(3):
        message = json.loads(post(fake, {**GOOD, "messages": asked, "tools": tools})[1])["choices"][0][
            "message"
        ]
        calls = message.get("tool_calls", [])
        rounds.append([(one["function"]["name"], one["function"]["arguments"]) for one in calls])
        asked += [message, *({"role": "tool", "tool_call_id": one["id"], "content": "x"} for one in calls)]
    assert rounds == [[("one", '{"a":1}'), ("two", "{}")], [("three", "{}")], []]


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"stream_options": {"include_usage": True}},
        {"tools": []},
        {"tool_choice": "auto"},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "assistant", "content": "x", "reasoning_content": "y"}]},
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": "x"}]},
        {"temperature": None},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "image_url": {"url": PICTURE}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PICTURE}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": FALSE}}]}]},
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PICTURE}}]}]},
    ],
)
def test_strange_requests_are_refused(fake: FakeModel, change: dict[str, Any]) -> None:
    assert post(fake, {**GOOD, **change})[0] == 400
    assert fake.calls == []
    assert len(fake.refused) == 1


def test_wrong_keys_models_and_paths(fake: FakeModel) -> None:
    assert post(fake, GOOD, key="wrong")[0] == 401
    assert post(fake, {**GOOD, "model": "nobody"})[0] == 404


@pytest.mark.parametrize("style", ["own", "finish", "every", "none"])
def test_streams_say_the_same_in_every_style(style: str) -> None:
    with FakeModel(usage_style=style, line_end="\r\n", piece_chars=3) as fake:
        _, text = post(fake, {**GOOD, "stream": True, "stream_options": {"include_usage": True}})
    events = [line[6:] for line in text.split("\r\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    pieces = [c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]]
    assert "".join(pieces) == "re: hi 😀"
    assert any(chunk.get("usage") for chunk in chunks) == (style != "none")


def test_a_fault_picks_its_call_by_the_question(fake: FakeModel) -> None:
    fake.fault("too_many", retry_after=2, where={"question~": "later"})
    assert post(fake, GOOD)[0] == 200
    assert post(fake, {**GOOD, "messages": [{"role": "user", "content": "ask me later"}]})[0] == 429
    fake.fault("broken_stream")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        post(fake, {**GOOD, "stream": True})


def test_doubles_run_as_processes() -> None:
    with Remote("tests.fakes.model") as model, Remote("tests.fakes.telegram") as telegram:
        assert model.ask("state")["calls"] == 0
        telegram.ask("pace", count=6, interval_ms=0, chats=3)
        state = telegram.ask("state")
        assert [one["text"] for one in state["injected"]] == ["m0", "m1", "m2", "m3", "m4", "m5"]
        assert state["pending"] == 6


@pytest.mark.parametrize(
    "change",
    [
        {"model": "test-model"},
        {"input": []},
        {"input": ""},
        {"input": [1]},
        {"dimensions": 99},
        {"encoding_format": "int8"},
        {"surprise": 1},
        {"user": None},
    ],
)
def test_a_strict_server_refuses_these_embeddings(fake: FakeModel, change: dict[str, Any]) -> None:
    body = {"model": "text-embedder", "input": "hi", **change}
    assert post(fake, body, path="/v1/embeddings")[0] in (400, 404)
    assert post(fake, {"model": "text-embedder", "input": "hi"}, path="/v1/embeddings")[0] == 200
