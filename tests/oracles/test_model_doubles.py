"""The doubles of the services of models, judged by the services' own clients. Skipped where they are not installed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.fakes.model import KEY, FakeModel, vector_of
from tests.fakes.model_anthropic import FakeAnthropic
from tests.fakes.model_bedrock import FakeBedrock
from tests.fakes.model_responses import FakeResponses

HELLO = [{"role": "user", "content": "hi"}]
HELLO_ITEMS = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
FLAT_TOOL = {"type": "function", "name": "look", "parameters": SCHEMA, "strict": False}
ANTHROPIC_TOOL = {"name": "look", "input_schema": SCHEMA}
BEDROCK_TOOL = {"toolSpec": {"name": "look", "inputSchema": {"json": SCHEMA}}}
ASKED = {"question": "hi"}


@pytest.fixture(scope="module")
def openai() -> ModuleType:
    return pytest.importorskip("openai")


@pytest.fixture(scope="module")
def anthropic() -> ModuleType:
    return pytest.importorskip("anthropic")


def openai_client(openai: ModuleType, fake: FakeModel) -> Any:
    return openai.OpenAI(base_url=fake.base_url, api_key=KEY, max_retries=0)


def anthropic_client(anthropic: ModuleType, fake: FakeModel) -> Any:
    # By itself the package speaks a version that came later, and sends the key as a bearer token.
    spoken = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    return anthropic.Anthropic(base_url=fake.origin, api_key=KEY, default_headers=spoken, max_retries=0)


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes a client of one of Amazon's services that asks a double."""
    session = pytest.importorskip("botocore.session")
    config = pytest.importorskip("botocore.config")
    unsigned = pytest.importorskip("botocore").UNSIGNED
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    once = config.Config(retries={"total_max_attempts": 1}, signature_version=unsigned)

    def authorize(request: Any, **_: object) -> None:
        request.headers["Authorization"] = f"Bearer {KEY}"

    def make(fake: FakeModel, name: str = "bedrock-runtime") -> Any:
        made = session.Session()
        client = made.create_client(name, region_name="us-east-1", endpoint_url=fake.origin, config=once)
        # By itself the client sends a key over TLS only.
        client.meta.events.register("before-send", authorize)
        made_clients.append(client)
        return client

    made_clients: list[Any] = []
    yield make
    for client in made_clients:
        client.close()


def test_chat_completions(openai: ModuleType) -> None:
    with FakeModel() as fake, openai_client(openai, fake) as client:
        for encoding in ({}, {"encoding_format": "float"}):
            made = client.embeddings.create(model="text-embedder", input=["ab"], dimensions=3, **encoding)
            assert made.data[0].embedding == vector_of("ab", 3)
        asked = {"model": "test-model", "messages": HELLO, "tools": [TOOL], "tool_choice": "required"}
        whole = client.chat.completions.create(**asked).choices[0]
        with client.chat.completions.stream(**asked) as stream:
            grown = stream.get_final_completion().choices[0]
        for choice in (whole, grown):
            (call,) = choice.message.tool_calls
            assert (choice.finish_reason, call.function.name) == ("tool_calls", "look")
            assert json.loads(call.function.arguments) == ASKED


def test_responses(openai: ModuleType) -> None:
    with FakeResponses() as fake, openai_client(openai, fake) as client:
        whole = client.responses.create(model="test-model", input="hi", instructions="be brief")
        with client.responses.stream(model="test-model", input=HELLO_ITEMS) as stream:
            kinds = [event.type for event in stream]
            grown = stream.get_final_response()
        for answer in (whole, grown):
            assert (answer.output_text, answer.status) == ("re: hi", "completed")
            assert answer.usage.input_tokens_details.cached_tokens == 1
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
        fake.fault("length")
        cut = client.responses.create(model="test-model", input="hi")
        assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize("streams", [False, True])
def test_functions_of_responses(openai: ModuleType, streams: bool) -> None:
    asked = {"model": "test-model", "input": HELLO_ITEMS, "tools": [FLAT_TOOL], "tool_choice": "required"}
    with FakeResponses() as fake, openai_client(openai, fake) as client:
        if streams:
            with client.responses.stream(**asked) as stream:
                answer = stream.get_final_response()
        else:
            answer = client.responses.create(**asked)
        (item,) = answer.output
        assert (item.name, json.loads(item.arguments)) == ("look", ASKED)
        result = {"type": "function_call_output", "call_id": item.call_id, "output": "seen"}
        called = {
            "type": "function_call",
            "call_id": item.call_id,
            "name": "look",
            "arguments": item.arguments,
        }
        after = client.responses.create(model="test-model", input=[*HELLO_ITEMS, called, result])
        assert after.output_text == "re: hi"
        with pytest.raises(openai.BadRequestError, match="No tool output"):
            client.responses.create(model="test-model", input=[*HELLO_ITEMS, called])


@pytest.mark.parametrize(
    ("status", "name"), [(401, "AuthenticationError"), (404, "NotFoundError"), (429, "RateLimitError")]
)
def test_refusals_of_responses(openai: ModuleType, status: int, name: str) -> None:
    with FakeResponses() as fake, openai_client(openai, fake) as client:
        fake.fault("status", status=status)
        with pytest.raises(getattr(openai, name)):
            client.responses.create(model="test-model", input="hi")


def test_messages(anthropic: ModuleType) -> None:
    asked = {"model": "test-model", "messages": HELLO, "max_tokens": 50, "system": "be brief"}
    with FakeAnthropic() as fake, anthropic_client(anthropic, fake) as client:
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)
            grown = stream.get_final_message()
        for answer in (whole, grown):
            assert (answer.content[0].text, answer.stop_reason) == ("re: hi", "end_turn")
            assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1, 2)
            assert answer.usage.cache_read_input_tokens == 5
        assert text == "re: hi"


@pytest.mark.parametrize("streams", [False, True])
def test_tools_of_messages(anthropic: ModuleType, streams: bool) -> None:
    asked = {"model": "test-model", "messages": HELLO, "max_tokens": 50, "tools": [ANTHROPIC_TOOL]}
    with FakeAnthropic() as fake, anthropic_client(anthropic, fake) as client:
        wanted = {**asked, "tool_choice": {"type": "any"}}
        if streams:
            with client.messages.stream(**wanted) as stream:
                answer = stream.get_final_message()
        else:
            answer = client.messages.create(**wanted)
        text, used = answer.content
        assert (text.text, used.name, used.input, answer.stop_reason) == (
            "I look.",
            "look",
            ASKED,
            "tool_use",
        )
        said = {"role": "assistant", "content": answer.content}
        result = {"type": "tool_result", "tool_use_id": used.id, "content": "seen"}
        after = client.messages.create(
            **{**asked, "messages": [*HELLO, said, {"role": "user", "content": [result]}]}
        )
        assert after.content[0].text == "re: hi"
        with pytest.raises(anthropic.BadRequestError, match="without `tool_result`"):
            client.messages.create(
                **{**asked, "messages": [*HELLO, said, {"role": "user", "content": "and?"}]}
            )


def test_pages_of_models(anthropic: ModuleType) -> None:
    with FakeAnthropic() as fake, anthropic_client(anthropic, fake) as client:
        fake.page_rows = 1
        assert [model.id for model in client.models.list(limit=1)] == ["test-model", "other-model"]


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "BadRequestError"), (401, "AuthenticationError"), (403, "PermissionDeniedError"),
     (429, "RateLimitError"), (529, "OverloadedError")],
)  # fmt: skip
def test_refusals_of_messages(anthropic: ModuleType, status: int, name: str) -> None:
    with FakeAnthropic() as fake, anthropic_client(anthropic, fake) as client:
        fake.fault("status", status=status)
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model="test-model", messages=HELLO, max_tokens=50)
        assert type(caught.value).__name__ == name and caught.value.request_id == "req_011"


def test_an_error_in_a_stream_of_messages(anthropic: ModuleType) -> None:
    with FakeAnthropic() as fake, anthropic_client(anthropic, fake) as client:
        fake.fault("error_in_stream")
        with (
            pytest.raises(anthropic.APIStatusError),
            client.messages.stream(model="test-model", messages=HELLO, max_tokens=50) as stream,
        ):
            stream.get_final_message()


BEDROCK_HELLO = [{"role": "user", "content": [{"text": "hi"}]}]
BEDROCK_ASKED = {"modelId": "test-model", "messages": BEDROCK_HELLO, "system": [{"text": "be brief"}]}


def streamed(client: Any, asked: dict[str, Any]) -> list[Any]:
    with contextlib.closing(client.converse_stream(**asked)["stream"]) as stream:
        return list(stream)


def test_converse(bedrock: Any) -> None:
    with FakeBedrock() as fake:
        client = bedrock(fake)
        answer = client.converse(**BEDROCK_ASKED, inferenceConfig={"maxTokens": 50, "temperature": 0.5})
        assert answer["output"]["message"]["content"] == [{"text": "re: hi"}]
        assert (answer["stopReason"], answer["usage"]["cacheReadInputTokens"]) == ("end_turn", 5)


def test_converse_streamed(bedrock: Any) -> None:
    with FakeBedrock() as fake:
        events = streamed(bedrock(fake), BEDROCK_ASKED)
        kinds = [next(iter(event)) for event in events]
        assert (kinds[0], kinds[-2:]) == ("messageStart", ["messageStop", "metadata"])
        said = [
            event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event
        ]
        assert "".join(said) == "re: hi"


@pytest.mark.parametrize("streams", [False, True])
def test_tools_of_converse(bedrock: Any, streams: bool) -> None:
    wanted = {**BEDROCK_ASKED, "toolConfig": {"tools": [BEDROCK_TOOL], "toolChoice": {"any": {}}}}
    with FakeBedrock() as fake:
        client = bedrock(fake)
        if streams:
            events = streamed(client, wanted)
            (start,) = [e["contentBlockStart"]["start"] for e in events if "contentBlockStart" in e]
            deltas = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
            given = "".join(delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta)
            assert (start["toolUse"]["name"], json.loads(given)) == ("look", ASKED)
            return
        said = client.converse(**wanted)["output"]["message"]
        used = said["content"][1]["toolUse"]
        assert (used["name"], used["input"]) == ("look", ASKED)
        result = {"toolResult": {"toolUseId": used["toolUseId"], "content": [{"text": "seen"}]}}
        after = {**wanted, "messages": [*BEDROCK_HELLO, said, {"role": "user", "content": [result]}]}
        after["toolConfig"] = {"tools": [BEDROCK_TOOL]}
        assert client.converse(**after)["output"]["message"]["content"] == [{"text": "re: hi"}]


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "ValidationException"), (403, "AccessDeniedException"), (429, "ThrottlingException")],
)
def test_refusals_of_converse(bedrock: Any, status: int, name: str) -> None:
    with FakeBedrock() as fake:
        client = bedrock(fake)
        fake.fault("status", status=status)
        with pytest.raises(getattr(client.exceptions, name)):
            client.converse(**BEDROCK_ASKED)


def test_an_exception_in_a_stream_of_converse(bedrock: Any) -> None:
    with FakeBedrock() as fake:
        client = bedrock(fake)
        fake.fault("error_in_stream")
        with pytest.raises(Exception, match="internalServerException"):
            streamed(client, BEDROCK_ASKED)


def test_models_of_bedrock(bedrock: Any) -> None:
    with FakeBedrock() as fake:
        listed = bedrock(fake, "bedrock").list_foundation_models()["modelSummaries"]
        assert [model["modelId"] for model in listed] == ["test-model", "other-model"]
