"""Responses and embeddings over a real listener."""

from __future__ import annotations

import base64
import struct

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.api.openai.chains import Chain, Chains
from loong_gateway.providers.contract import Message, ProviderFault, ToolCall
from tests.gateway.api.openai_kit import OpenAIPort
from tests.gateway.api.port_kit import PATIENCE_S, SECRET, request

RESPONSES, EMBEDDINGS = "/v1/responses", "/v1/embeddings"
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}
TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.fixture
def port():
    with OpenAIPort() as opened:
        yield opened


def body(given: object = "hi", **more: object) -> dict[str, object]:
    return {"model": "loong", "input": given, **more}


def test_a_response_has_the_published_form(port) -> None:
    document = port.post(RESPONSES, body(instructions="be brief", metadata={"a": "b"})).json
    assert document["id"].startswith("resp_") and document["status"] == "completed"
    (item,) = document["output"]
    assert (item["type"], item["role"], item["phase"]) == ("message", "assistant", "final_answer")
    assert item["content"][0]["type"] == "output_text" and item["content"][0]["text"] == "Hello."
    assert document["usage"]["input_tokens"] == 10 and document["usage"]["total_tokens"] == 16
    assert document["metadata"] == {"a": "b"} and document["instructions"] == "be brief"
    asked = port.runs.requests[0]
    assert [(m.role, m.content) for m in asked.messages] == [("system", "be brief"), ("user", "hi")]


def test_a_stream_tells_every_event_in_its_order(port) -> None:
    told = port.stream(RESPONSES, body())
    assert told.pop() == "[DONE]"
    assert [event["type"] for event in told] == TEXT_EVENTS
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert told[0]["response"]["status"] == "in_progress" and told[0]["response"]["output"] == []
    assert told[-2]["item"] == told[-1]["response"]["output"][0]
    assert told[6]["text"] == "Hello." == "".join(event["delta"] for event in told[4:6])


def test_a_conversation_goes_on_from_any_of_its_answers(port) -> None:
    first = port.post(RESPONSES, body("one", instructions="only now")).json["id"]
    for question in ("two", "three"):
        port.post(RESPONSES, body(question, previous_response_id=first))
        asked = port.runs.requests[-1]
        assert asked.session is None
        assert [m.content for m in asked.messages] == ["one", "Hello.", question]


def test_a_function_is_called_and_its_output_told(port) -> None:
    port.runs.pieces, port.runs.tool_calls = (), (ToolCall("c1", "look", '{"a":1}'),)
    told = port.stream(
        RESPONSES, body("look", tools=[TOOL], tool_choice={"type": "function", "name": "look"})
    )
    kinds = [event["type"] for event in told[:-1]]
    assert kinds[2:6] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    (item,) = told[-2]["response"]["output"]
    assert (item["type"], item["call_id"], item["arguments"]) == ("function_call", "c1", '{"a":1}')
    assert port.runs.requests[0].options.tool_choice == "function:look"
    port.runs.tool_calls, port.runs.pieces = (), ("done",)
    output = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
    previous = told[0]["response"]["id"]
    assert port.post(RESPONSES, body([output], previous_response_id=previous)).status == 200
    again = port.runs.requests[-1].messages
    assert [m.role for m in again] == ["user", "assistant", "tool"]
    assert again[1].tool_calls[0].id == again[2].tool_call_id == "c1"


def test_items_told_back_are_one_conversation(port) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "look"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a"},
        {"type": "function_call_output", "call_id": "c2", "output": ""},
    ]
    port.post(RESPONSES, body(items))
    told = port.runs.requests[0].messages
    assert [m.role for m in told] == ["user", "assistant", "tool", "tool"]
    assert [call.id for call in told[1].tool_calls] == ["c1", "c2"]


def test_a_failure_on_the_way_is_told_as_failed(port) -> None:
    port.runs.fault = ("transport_failure", "it broke off")
    told = port.stream(RESPONSES, body())
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"]["error"] == {"code": "transport_failure", "message": "it broke off"}


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"input": None}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, 400, "input[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "zz", "output": "x"}]}, 400, "input"),
        ({"model": None}, 400, "model"),
        ({"previous_response_id": "resp_unknown"}, 404, "previous_response_id"),
        ({"background": True}, 400, "background"),
        ({"text": {"format": {"type": "yaml"}}}, 400, "text.format"),
    ],
)
def test_what_cannot_be_meant_is_refused(port, change, status, param) -> None:
    answer = port.post(RESPONSES, {**body(), **change})
    assert (answer.status, answer.json["error"]["param"]) == (status, param)


def test_what_is_not_to_be_stored_cannot_be_gone_on_from(port) -> None:
    first = port.post(RESPONSES, body(store=False)).json["id"]
    assert port.post(RESPONSES, body(previous_response_id=first)).status == 404


def test_an_answer_of_another_session_is_not_known(port) -> None:
    first = port.post(RESPONSES, body(user="a")).json["id"]
    assert port.post(RESPONSES, body(previous_response_id=first, user="b")).status == 404
    assert port.post(RESPONSES, body(previous_response_id=first, user="a")).status == 200
    assert [m.content for m in port.runs.requests[-1].messages] == ["hi"]


def test_a_schema_is_passed_on_in_the_form_of_the_chat_call(port) -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    port.post(RESPONSES, body(text={"format": wanted}))
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    format_ = port.runs.requests[0].options.response_format
    assert format_ == {"type": "json_schema", "json_schema": schema}


def test_chains_are_bounded_in_time_and_size() -> None:
    now = [0.0]
    chains = Chains(lambda: now[0], kept_bytes=5000)
    chains.put("a", Chain((Message("user", "x"),), None))
    chains.put("b", Chain((Message("user", "x" * 1100),), None))
    assert chains.get("a", None) is None and chains.get("b", None) is not None
    now[0] += 24 * 3600 + 1
    assert chains.get("b", None) is None


def test_vectors_come_as_numbers_and_as_bytes(port) -> None:
    plain = port.post(EMBEDDINGS, body(["ab", "c"])).json
    assert [row["embedding"] for row in plain["data"]] == [[2.0, 0.5, -0.25], [1.0, 0.5, -0.25]]
    assert plain["usage"] == {"prompt_tokens": 7, "total_tokens": 7} and plain["object"] == "list"
    packed = port.post(EMBEDDINGS, body("ab", encoding_format="base64", dimensions=3, model="local:e5")).json
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack("<3f", raw) == (2.0, 0.5, -0.25)
    assert port.control.embeds[-1] == {"texts": ["ab"], "profile": "local", "model": "e5", "dimensions": 3}


@pytest.mark.parametrize(
    "change",
    [{"input": 3}, {"input": []}, {"input": [[1, 2]]}, {"input": ""}, {"input": ["x"] * 1025},
     {"encoding_format": "int8"}, {"dimensions": 0}, {"input": "x" * 2_000_001}],
    ids="number none tokens empty many encoding dimensions long".split(),
)  # fmt: skip
def test_embeddings_refuse_what_cannot_be_meant(port, change) -> None:
    assert port.post(EMBEDDINGS, {**body("x"), **change}).status == 400
    assert port.control.embeds == []


@pytest.mark.parametrize(
    ("kind", "model", "status"),
    [("not_supported", "loong", 501), ("auth_rejected", "loong", 502), ("rate_limited", "loong", 429),
     ("model_mismatch", "loong", 502), ("model_mismatch", "local:e5", 404)],
)  # fmt: skip
def test_a_provider_without_vectors_says_so(port, kind, model, status) -> None:
    port.control.embed_fault = ProviderFault(kind, "no vectors came", retry_after_s=3)
    answer = port.post(EMBEDDINGS, body("x", model=model))
    assert answer.status == status and answer.json["error"]["message"] == "no vectors came"
    assert status != 429 or answer.headers["retry-after"] == "3"


def test_a_client_that_leaves_ends_its_embeddings(port) -> None:
    port.control.embed_waits = True
    with port.client() as client:
        client.send(request("POST", EMBEDDINGS, token=SECRET, document={"model": "loong", "input": "hello"}))
        assert port.control.embed_began.wait(PATIENCE_S)
    assert port.control.embed_stopped.get(timeout=PATIENCE_S) == "client_gone"


def test_the_end_of_the_port_ends_embeddings() -> None:
    with OpenAIPort() as port:
        port.control.embed_waits = True
        with port.client() as client:
            client.send(request("POST", EMBEDDINGS, token=SECRET, document={"model": "loong", "input": "a"}))
            assert port.control.embed_began.wait(PATIENCE_S)
            assert port.listener.stop(Deadline(PATIENCE_S)) == []
            assert client.answer().status >= 500
