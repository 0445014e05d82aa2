"""Chat completions over a real listener: forms, streams, sessions, refusals, clients that leave."""

from __future__ import annotations

import base64
import select

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.api.openai.serving import Patience
from loong_gateway.control.runs import RunRefused
from loong_gateway.providers.contract import ToolCall
from tests.gateway.api.openai_kit import OpenAIPort, chat_body, events, unchunked
from tests.gateway.api.port_kit import PATIENCE_S, SECRET, request

CHAT = "/v1/chat/completions"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.fixture
def port():
    with OpenAIPort() as opened:
        yield opened


def test_a_completion_has_the_published_form(port) -> None:
    answer = port.chat("hi", temperature=0.5, max_tokens=9, stop="END", seed=3)
    document = answer.json
    assert answer.status == 200
    assert document["id"].startswith("chatcmpl_") and document["object"] == "chat.completion"
    assert document["model"] == "loong"
    (choice,) = document["choices"]
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"] == "Hello."
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert document["usage"] == {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}
    (asked,) = port.runs.requests
    assert (asked.session, asked.text, asked.origin) == (None, "hi", "http")
    assert [(m.role, m.content) for m in asked.messages] == [("user", "hi")]
    options = asked.options
    assert (options.temperature, options.max_tokens, options.stop, options.seed) == (0.5, 9, ("END",), 3)
    assert asked.timeout_s == 30


def test_a_stream_says_role_pieces_reason_tokens_and_end(port) -> None:
    told = port.stream(CHAT, chat_body(stream_options={"include_usage": True}))
    assert told.pop() == "[DONE]"
    deltas = [event["choices"][0]["delta"] for event in told[:-1]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo."}, {}]
    assert [event["choices"][0]["finish_reason"] for event in told[:-1]] == [None, None, None, "stop"]
    assert told[-1]["choices"] == [] and told[-1]["usage"]["total_tokens"] == 16
    assert {event["id"] for event in told} == {told[0]["id"]}
    assert all(event["usage"] is None for event in told[:-1])


def test_without_the_wish_no_tokens_are_told(port) -> None:
    told = port.stream(CHAT, chat_body())
    assert told[-1] == "[DONE]" and not any("usage" in event for event in told[:-1])


def test_calls_of_tools_are_told_whole_and_streamed(port) -> None:
    port.runs.pieces, port.runs.tool_calls = (), (ToolCall("c1", "look", '{"a":1}'),)
    body = chat_body("look", tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    (choice,) = port.post(CHAT, body).json["choices"]
    called = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [called]
    options = port.runs.requests[0].options
    assert options.tools[0].name == "look" and options.tool_choice == "required"
    assert options.parallel_tool_calls is False
    told = port.stream(CHAT, body)
    parts = [part for e in told[:-1] for part in e["choices"][0]["delta"].get("tool_calls", [])]
    assert parts[0]["id"] == "c1" and parts[0]["function"]["name"] == "look"
    assert "".join(part["function"]["arguments"] for part in parts) == '{"a":1}'
    assert told[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_messages_reach_the_run_as_they_were_told(port) -> None:
    port.chat(
        {"role": "developer", "content": "be brief"},
        "first",
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "seen"}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG_URL}}]},
    )
    told = port.runs.requests[0].messages
    assert [m.role for m in told] == ["system", "user", "assistant", "tool", "user", "user"]
    assert told[2].tool_calls == (ToolCall("c1", "look", "{}"),) and told[3].tool_call_id == "c1"
    assert told[3].content == "seen" and told[4].content == "a\nb"
    assert told[5].images[0].content == PNG and told[5].images[0].mime == "image/png"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, None),
        ({"messages": [{"role": "user", "content": " "}]}, None),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": {}}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"seed": 1.5}, "seed"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{"name": "old"}]}, "functions"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"model": ""}, "model"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_name(port, change, param) -> None:
    answer = port.post(CHAT, {**chat_body(), **change})
    assert answer.status == 400, answer.body
    error = answer.json["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert port.runs.requests == []


def test_remote_pictures_are_not_fetched(port) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/x.png"}}
    answer = port.chat({"role": "user", "content": [part]})
    assert answer.status == 400 and "not fetched" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("model", "field", "profile", "backend"),
    [
        ("loong", {}, None, None),
        ("loong/default", {}, None, None),
        ("openclaw:main", {}, None, None),
        ("agent:main", {}, None, None),
        ("local:llama3:8b", {}, "local", "llama3:8b"),
        ("loong", {"x_loong_model": "gpt-x"}, None, "gpt-x"),
        ("loong", {"x_openclaw_model": "local:tiny"}, "local", "tiny"),
        ("loong", {"x_loong_model": "local:llama3:8b"}, "local", "llama3:8b"),
        ("local:llama3", {"x_loong_model": "gpt-x"}, "local", "gpt-x"),
    ],
)
def test_names_of_models(port, model, field, profile, backend) -> None:
    assert port.post(CHAT, chat_body(model=model), **field).status == 200
    asked = port.runs.requests[0]
    assert (asked.profile, asked.model) == (profile, backend)


@pytest.mark.parametrize("model", ["gpt-4o", "loong/nobody", "nowhere:m1", "main:"])
def test_an_unknown_model_is_not_found(port, model) -> None:
    answer = port.chat(model=model)
    assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("field", ["x_loong_model", "x_openclaw_model"])
@pytest.mark.parametrize("model", ["nowhere:m1", "main:", ":m1", "llama3:8b"])
def test_a_field_with_an_unknown_profile_is_not_found_either(port, field, model) -> None:
    answer = port.post(CHAT, chat_body(), **{field: model})
    assert answer.status == 404 and answer.json["error"]["code"] == "model_not_found"
    assert not port.runs.requests


HISTORY = (
    {"role": "system", "content": "be brief"},
    "one",
    {"role": "assistant", "content": "eins"},
    "two",
)


def test_a_user_has_a_stable_session_that_is_told_only_what_is_new(port) -> None:
    for _ in range(2):
        port.chat(*HISTORY, user="someone@example.org")
    first, second = port.runs.requests
    assert first.session == second.session and first.session.startswith("agent:main:openai-")
    assert "someone" not in first.session
    assert [m.content for m in first.messages] == ["two"]
    assert (first.text, first.system) == ("two", "be brief")


def test_a_tool_conversation_in_a_session_is_told_from_its_question_on(port) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c1", "content": "seen"}
    port.post(CHAT, chat_body(*HISTORY, call, result), x_loong_session_key="work")
    asked = port.runs.requests[0]
    assert asked.session == "agent:main:work" and asked.text == "two"
    assert [m.role for m in asked.messages] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    "key",
    [
        *("cron:x", "agent:main:subagent:y", "acp:z", "agent:other:x", "CRON:x", "agent:main: cron:x"),
        *("Agent:MAIN:subagent:y", "agent:main:agent:main:acp:z", "cron :x", "agent:main:~b64~Y3Jvbjp4"),
    ],
)
def test_reserved_sessions_are_refused(port, key) -> None:
    answer = port.post(CHAT, chat_body(), x_openclaw_session_key=key)
    assert answer.status == 400 and "`x-openclaw-session-key`" in answer.json["error"]["message"]
    assert port.runs.requests == []


@pytest.mark.parametrize(
    ("code", "status", "final"),
    [
        ("auth_rejected", 502, "false"),
        ("rate_limited", 429, None),
        ("provider_overloaded", 503, None),
        ("transport_failure", 502, None),
        ("timed_out", 504, None),
        ("request_rejected", 400, None),
        ("model_mismatch", 502, None),
        ("internal", 500, "false"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_what_the_provider_did_wrong_has_its_status(port, code, status, final, streams) -> None:
    port.runs.pieces, port.runs.fault = (), (code, "no answer came")
    answer = port.chat(stream=streams)
    assert answer.status == status
    assert answer.json["error"]["message"] == "no answer came" and answer.json["error"]["code"] == code
    assert answer.headers.get("x-should-retry") == final


def test_a_busy_gateway_says_when_to_come_back(port) -> None:
    port.runs.refuse = RunRefused("busy", "too many questions are waiting")
    answer = port.chat()
    assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1


def test_a_failure_on_the_way_is_the_last_thing_said(port) -> None:
    port.runs.fault = ("transport_failure", "it broke off")
    told = port.stream(CHAT, chat_body())
    assert told[-1]["error"]["message"] == "it broke off" and told[-1]["error"]["type"] == "api_error"
    assert "[DONE]" not in told


def test_a_long_silence_is_filled_with_comments() -> None:
    with OpenAIPort(Patience(first_s=0, keepalive_s=0.01)) as port:
        port.runs.gate.clear()
        with port.client() as client:
            client.send(request("POST", CHAT, token=SECRET, document=chat_body(stream=True)))
            seen = b""
            while b": waiting" not in seen:
                seen += client.take(1)
            port.runs.gate.set()
            rest = client.rest()
    assert b"[DONE]" in rest


@pytest.mark.parametrize("more", [b"", b"\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"])
@pytest.mark.parametrize("streams", [False, True])
def test_a_client_that_leaves_ends_its_run(port, streams, more) -> None:
    if more and not hasattr(select, "POLLRDHUP"):
        pytest.skip("this system does not tell while something is unread")
    port.runs.gate.clear()
    with port.client() as client:
        client.send(request("POST", CHAT, token=SECRET, document=chat_body(stream=streams)) + more)
        assert port.runs.began.wait(PATIENCE_S)
    assert port.runs.aborted.wait(PATIENCE_S)
    assert port.runs.abort_reason == "client_gone"


def test_the_end_of_the_port_ends_what_it_waits_for() -> None:
    with OpenAIPort() as port:
        port.runs.gate.clear()
        with port.client() as client:
            client.send(request("POST", CHAT, token=SECRET, document=chat_body()))
            assert port.runs.began.wait(PATIENCE_S)
            assert port.listener.stop(Deadline(PATIENCE_S)) == []
            assert client.answer().status == 503
    assert port.runs.abort_reason == "shutdown"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request("POST", CHAT, document=chat_body()), 401),
        (request("GET", CHAT, token=SECRET), 405),
        (request("POST", CHAT, token=SECRET, document=chat_body(), Content_Type="text/plain"), 415),
        (
            request("POST", CHAT, token=SECRET, Content_Type="application/json", Content_Length="99999999"),
            413,
        ),
        (request("GET", "/v1/models/nobody", token=SECRET), 404),
    ],
)
def test_refusals_of_the_port_have_the_same_form(port, raw, status) -> None:
    answer = port.ask(raw)
    assert answer.status == status
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}


def test_models_are_listed_and_looked_up(port) -> None:
    listed = port.get("/v1/models").json
    names = [row["id"] for row in listed["data"]]
    assert listed["object"] == "list"
    assert names == ["loong", "loong/default", "loong/main", "main:m1", "local:llama3:8b"]
    one = port.get("/v1/models/loong%2Fdefault").json
    assert one == {
        "id": "loong/default",
        "object": "model",
        "created": 0,
        "owned_by": "loong",
        "permission": [],
    }
    assert port.get("/v1/models/openclaw/main").json["id"] == "openclaw/main"
    bad = port.get("/v1/models/%FF")
    assert bad.status == 400 and bad.json["error"]["message"] == "Invalid model id."
    gone = port.get("/v1/models/zzz")
    assert (gone.status, gone.json["error"]["message"]) == (404, "Model 'zzz' not found.")


def test_the_stream_is_one_whole_chunked_body(port) -> None:
    with port.client() as client:
        client.send(request("POST", CHAT, token=SECRET, document=chat_body(stream=True)))
        assert client.answer().headers["transfer-encoding"] == "chunked"
        assert events(unchunked(client.rest()))[-1] == "[DONE]"
