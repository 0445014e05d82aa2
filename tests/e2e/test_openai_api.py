"""The OpenAI API of a real gateway in front of the double of the service."""

from __future__ import annotations

import http.client
import importlib.util
import json
import pathlib

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.model import FakeModel, vector_of

# Until the gateway has runs of its own there is nothing to serve here.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("loong_gateway.messaging.runs") is None, reason="this gateway has no runs"
)

CHAT = "/v1/chat/completions"
PATIENCE_S = 20.0
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


class Caller:
    """A client of the port with its control token."""

    def __init__(self, gateway: Gateway) -> None:
        token = pathlib.Path(gateway.home, "gateway-runtime", "control-token").read_text().strip()
        self._port = gateway.port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def post(self, path: str, **document: object) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        try:
            body = json.dumps({"model": "loong", **document})
            connection.request("POST", path, body, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def chat(self, text: str, **more: object) -> tuple[int, str]:
        return self.post(CHAT, messages=[{"role": "user", "content": text}], **more)


def said(body: str) -> str:
    return json.loads(body)["choices"][0]["message"]["content"]


def test_chats_tools_sessions_vectors_and_faults(tmp_path: pathlib.Path) -> None:
    extra = 'embedding_model = "text-embedder"\nretry_max_attempts = 1'
    with FakeModel() as model, Gateway(tmp_path, config_for(None, model, provider_extra=extra)) as gateway:
        gateway.start()
        caller = Caller(gateway)

        status, body = caller.chat("hi", temperature=0.5)
        assert (status, said(body)) == (200, "re: hi")
        assert model.calls[0].body["temperature"] == 0.5
        assert [m["role"] for m in model.calls[0].body["messages"]].count("user") == 1

        status, body = caller.chat("hello there", stream=True)
        events = [line[len("data: ") :] for line in body.split("\n\n")[:-1]]
        assert status == 200 and events[-1] == "[DONE]"
        deltas = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
        assert "".join(deltas) == "re: hello there"

        for streams in (False, True):
            status, body = caller.chat("look", tools=[TOOL], tool_choice="required", stream=streams)
            assert status == 200 and '"tool_calls"' in body and "question" in body

        caller.chat("one", user="somebody")
        caller.chat("two", user="somebody")
        told = [m["content"] for m in model.calls[-1].body["messages"] if m["role"] != "system"]
        assert told == ["one", "re: one", "two"]

        status, body = caller.post("/v1/embeddings", input=["ab", "c"])
        assert [row["embedding"] for row in json.loads(body)["data"]] == [
            vector_of("ab", 8),
            vector_of("c", 8),
        ]

        first = json.loads(caller.post("/v1/responses", input="first")[1])["id"]
        caller.post("/v1/responses", input="second", previous_response_id=first)
        told = [m["content"] for m in model.calls[-1].body["messages"] if m["role"] != "system"]
        assert told == ["first", "re: first", "second"]

        model.fault("status", status=401, description="no such key")
        assert caller.chat("refused")[0] == 502
        model.fault("too_many", retry_after=600)
        status, body = caller.chat("too fast", stream=True)
        assert status == 429 and json.loads(body)["error"]["code"] == "rate_limited"
        assert caller.chat("hi", model="main:nothing")[0] == 404
        assert model.refused == []
        assert gateway.stop() == 0


def test_a_client_that_leaves_ends_the_call_to_the_model(tmp_path: pathlib.Path) -> None:
    with FakeModel() as model, Gateway(tmp_path, config_for(None, model)) as gateway:
        gateway.start()
        model.fault("hang")
        token = pathlib.Path(gateway.home, "gateway-runtime", "control-token").read_text().strip()
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
        body = json.dumps({"model": "loong", "messages": [{"role": "user", "content": "hi"}]})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", CHAT, body, headers)
        model.wait_calls(1)
        connection.close()
        assert model.wait_for(lambda: model.calls[0].abandoned, PATIENCE_S)
        assert gateway.stop() == 0


def test_an_endpoint_can_be_switched_off(tmp_path: pathlib.Path) -> None:
    more = "[gateway.http.endpoints.embeddings]\nenabled = false"
    with FakeModel() as model, Gateway(tmp_path, config_for(None, model, more=more)) as gateway:
        gateway.start()
        caller = Caller(gateway)
        assert caller.post("/v1/embeddings", input="x")[0] == 404
        assert caller.chat("hi")[0] == 200
        assert gateway.stop() == 0
