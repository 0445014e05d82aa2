"""The OpenAI API of the port, judged by OpenAI's own client. Skipped where the package is not installed."""

from __future__ import annotations

import base64

import pytest

from loong_gateway.control.runs import RunRefused
from loong_gateway.providers.contract import ProviderFault, ToolCall
from tests.gateway.api.openai_kit import OpenAIPort
from tests.gateway.api.port_kit import PATIENCE_S, SECRET

openai = pytest.importorskip("openai")

HELLO = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
FLAT_TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture(scope="module")
def shared():
    with OpenAIPort() as opened:
        yield opened


@pytest.fixture
def port(shared):
    runs = shared.runs
    runs.pieces, runs.fault, runs.refuse, runs.tool_calls = ("Hel", "lo."), None, None, ()
    shared.control.embed_fault = None
    return shared


def connect(port, key: str = SECRET):
    return openai.OpenAI(base_url=port.base_url, api_key=key, max_retries=0, timeout=PATIENCE_S)


@pytest.fixture
def client(port):
    with connect(port) as connected:
        yield connected


def test_models(client) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "loong" and "main:m1" in names
    assert client.models.retrieve("loong/default").id == "loong/default"


def test_a_chat_whole(client) -> None:
    answer = client.chat.completions.create(model="loong", messages=HELLO, temperature=0.1)
    assert answer.choices[0].message.content == "Hello." and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == 16


def test_chats_streamed_one_after_the_other(client) -> None:
    for _ in range(3):
        stream = client.chat.completions.create(
            model="loong", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "Hello." and chunks[-1].usage.total_tokens == 16


def test_the_streaming_helper_puts_it_together(client) -> None:
    with client.chat.completions.stream(model="loong", messages=HELLO) as stream:
        assert stream.get_final_completion().choices[0].message.content == "Hello."


@pytest.mark.parametrize("streams", [False, True])
def test_tools(port, client, streams) -> None:
    port.runs.pieces, port.runs.tool_calls = (), (ToolCall("c1", "look", '{"a":1}'),)
    asked = {"model": "loong", "messages": HELLO, "tools": [TOOL]}
    if streams:
        with client.chat.completions.stream(**asked) as stream:
            choice = stream.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked).choices[0]
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("c1", "look", '{"a":1}')
    assert choice.finish_reason == "tool_calls"


def test_a_response_and_the_next(port, client) -> None:
    first = client.responses.create(model="loong", input="hi", instructions="be brief")
    assert first.output_text == "Hello." and first.usage.total_tokens == 16
    second = client.responses.create(model="loong", input="and?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert [m.content for m in port.runs.requests[-1].messages] == ["hi", "Hello.", "and?"]


def test_a_response_streamed(client) -> None:
    with client.responses.stream(model="loong", input="hi") as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == "Hello."
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"


@pytest.mark.parametrize("streams", [False, True])
def test_functions_of_responses(port, client, streams) -> None:
    port.runs.pieces, port.runs.tool_calls = (), (ToolCall("c1", "look", '{"a":1}'),)
    asked = {"model": "loong", "input": "look", "tools": [FLAT_TOOL]}
    if streams:
        with client.responses.stream(**asked) as stream:
            answer = stream.get_final_response()
    else:
        answer = client.responses.create(**asked)
    (item,) = answer.output
    assert (item.type, item.call_id, item.arguments) == ("function_call", "c1", '{"a":1}')


def test_embeddings_in_both_encodings(client) -> None:
    # Left out, the package asks for base64 and decodes it itself.
    packed = client.embeddings.create(model="loong", input=["ab", "c"])
    assert [row.embedding for row in packed.data] == [[2.0, 0.5, -0.25], [1.0, 0.5, -0.25]]
    plain = client.embeddings.create(model="loong", input="ab", encoding_format="float")
    assert plain.data[0].embedding == [2.0, 0.5, -0.25]


def test_a_picture(port, client) -> None:
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}}
    client.chat.completions.create(model="loong", messages=[{"role": "user", "content": [part]}])
    assert port.runs.requests[-1].messages[0].images[0].mime == "image/png"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("rate_limited", "RateLimitError"),
        ("request_rejected", "BadRequestError"),
        ("auth_rejected", "InternalServerError"),
        ("timed_out", "InternalServerError"),
        ("internal", "InternalServerError"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
def test_faults_of_the_provider_raise_their_classes(port, client, code, name, streams) -> None:
    port.runs.pieces, port.runs.fault = (), (code, "it went wrong")
    with pytest.raises(getattr(openai, name)) as caught:
        client.chat.completions.create(model="loong", messages=HELLO, stream=streams)
    assert caught.value.code == code and "it went wrong" in str(caught.value)


def test_refusals_raise_their_classes(port, client) -> None:
    with connect(port, "wrong-secret") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert unknown.value.code == "model_not_found" and unknown.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="loong", messages=HELLO, temperature=9)
    assert bad.value.param == "temperature" and bad.value.type == "invalid_request_error"
    port.control.embed_fault = ProviderFault("not_supported", "there are none")
    with pytest.raises(openai.InternalServerError) as none:
        client.embeddings.create(model="loong", input="x")
    assert none.value.status_code == 501


def test_a_busy_gateway_is_tried_again_by_the_client(port) -> None:
    port.runs.refuse = RunRefused("busy", "too many questions are waiting")
    with connect(port) as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="loong", messages=HELLO)
    assert caught.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stream_that_breaks_raises_or_says_so(port, client, api) -> None:
    port.runs.fault = ("transport_failure", "it broke off")
    if api == "chat":
        with pytest.raises(openai.APIError, match="it broke off"):
            list(client.chat.completions.create(model="loong", messages=HELLO, stream=True))
        return
    *_, last = client.responses.create(model="loong", input="hi", stream=True)
    assert last.type == "response.failed" and last.response.error.message == "it broke off"
