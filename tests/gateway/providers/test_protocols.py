"""What every protocol can do, against strict doubles of the four services."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from loong_channels.waiting import Deadline
from loong_gateway.providers.contract import (
    CallOptions,
    Completion,
    Image,
    Message,
    Provider,
    ProviderCall,
    ProviderFault,
    ToolCall,
)
from tests.fakes.model import KEY, FakeModel
from tests.fakes.model_anthropic import FakeAnthropic
from tests.fakes.model_bedrock import FakeBedrock
from tests.fakes.model_responses import FakeResponses
from tests.gateway.providers.protocol_rig import HI, LOOK, MUST_LOOK, PROTOCOLS, Protocol, every_protocol
from tests.gateway.providers.provider_rig import ask

PNG = Image("image/png", b"\x89PNG\r\n\x1a\n" + bytes(8))
ROUND = (
    Message("system", "be brief"),
    Message("user", "hi"),
    Message(
        "assistant",
        "",
        tool_calls=(ToolCall("a.1", "look", '{"question": "x"}'), ToolCall("a2", "look", "{")),
    ),
    Message("tool", "seen", tool_call_id="a.1"),
    Message("tool", "", tool_call_id="a2"),
)
OPTIONS = CallOptions(
    temperature=1.5,
    max_tokens=50,
    stop=("END", " "),
    tools=(LOOK,),
    tool_choice="auto",
    parallel_tool_calls=False,
)


@pytest.fixture(params=PROTOCOLS, ids=lambda protocol: protocol.name)
def protocol(request: pytest.FixtureRequest) -> Protocol:
    made: Protocol = request.param
    return made


@pytest.fixture
def fake(protocol: Protocol) -> Iterator[FakeModel]:
    with protocol.double() as server:
        yield server
        assert server.server.crashes == []


@pytest.fixture
def provider(protocol: Protocol, fake: FakeModel) -> Provider:
    return protocol.provider(fake.origin)


def both_ways(provider: Provider, call: ProviderCall) -> Completion:
    """The answer as a whole, which is the same as the streamed one."""
    pieces: list[str] = []
    whole = ask(provider, call)
    streamed = ask(provider, call, on_text=pieces.append)
    assert whole == streamed and "".join(pieces) == whole.text
    return whole


def test_an_answer_is_the_same_whole_and_streamed(
    protocol: Protocol, fake: FakeModel, provider: Provider
) -> None:
    fake.piece_chars = 5
    answer = both_ways(provider, HI)
    assert (answer.text, answer.model) == ("re: hi there, you", "test-model")
    assert answer.usage is not None and answer.usage.output == 5
    cached, asked = {"chat": (None, 4), "responses": (1, 4)}.get(protocol.name, (5, 11))
    assert (answer.usage.input, answer.usage.total, answer.usage.cached) == (asked, asked + 5, cached)
    assert fake.refused == [] and [call.body.get("stream", False) for call in fake.calls] == [False, True]


def test_a_model_asks_for_a_tool(provider: Provider, fake: FakeModel) -> None:
    (call,) = both_ways(provider, MUST_LOOK).tool_calls
    assert (call.name, json.loads(call.arguments)) == ("look", {"question": "hi there, you"})
    assert call.id and fake.refused == []


def test_one_function_can_be_demanded_by_its_name(provider: Provider) -> None:
    options = CallOptions(tools=(LOOK,), tool_choice="function:look")
    (call,) = both_ways(provider, ProviderCall(HI.messages, options)).tool_calls
    assert call.name == "look"


@pytest.mark.parametrize("offered", [True, False], ids=["offered", "no-longer-offered"])
def test_results_of_tools_are_taken(
    protocol: Protocol, provider: Provider, fake: FakeModel, offered: bool
) -> None:
    options = CallOptions(tools=(LOOK,)) if offered else CallOptions()
    messages = ROUND
    assert ask(provider, ProviderCall(messages, options)).text == "re: hi"
    assert ask(provider, ProviderCall((*messages, Message("user", "and?")), options)).text == "re: and?"
    assert fake.refused == [], protocol.name


def test_pictures_are_shown(provider: Provider, fake: FakeModel) -> None:
    seen = Message("user", "look at this", (PNG,))
    assert ask(provider, ProviderCall((seen,))).text == "re: look at this"
    assert ask(provider, ProviderCall((Message("user", "", (PNG,)),))).text == "re: "
    assert fake.refused == []


def test_what_the_caller_wants_is_taken(provider: Provider, fake: FakeModel) -> None:
    assert ask(provider, ProviderCall(HI.messages, OPTIONS)).text == "re: hi there, you"
    narrow = CallOptions(top_p=0.5, tools=(LOOK,), tool_choice="none")
    assert ask(provider, ProviderCall(HI.messages, narrow)).text == "re: hi there, you"
    assert fake.refused == []


def test_histories_of_any_shape_are_taken(provider: Provider, fake: FakeModel) -> None:
    said = (
        Message("system", "one"),
        Message("user", "first"),
        Message("user", "second"),
        Message("assistant", "answer"),
        Message("assistant", ""),
        Message("system", "two"),
        Message("user", "third"),
    )
    assert ask(provider, ProviderCall(said)).text.endswith("third")
    assert fake.refused == []


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_a_length_limit_marks_the_answer(provider: Provider, fake: FakeModel, streams: bool) -> None:
    fake.fault("length")
    answer = ask(provider, on_text=(lambda _: None) if streams else None)
    assert answer.truncated and answer.text.startswith("re: ")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_a_filtered_answer_is_told(provider: Provider, fake: FakeModel, streams: bool) -> None:
    fake.fault("content_filter")
    with pytest.raises(ProviderFault, match="filter") as caught:
        ask(provider, on_text=(lambda _: None) if streams else None)
    assert caught.value.kind == "request_rejected" and len(fake.calls) == 1


def test_models_are_listed(protocol: Protocol, provider: Provider, fake: FakeModel) -> None:
    fake.page_rows = 1  # type: ignore[attr-defined]  only one of them has pages
    assert provider.models(deadline=Deadline(5)) == ("test-model", "other-model")
    assert fake.listings == (2 if protocol.name == "anthropic" else 1)


def test_auto_asks_a_listed_model(protocol: Protocol, fake: FakeModel) -> None:
    assert ask(protocol.provider(fake.origin, model="auto"), HI).text == "re: hi there, you"


def test_auto_leaves_out_what_bedrock_lists_for_other_purposes() -> None:
    with FakeBedrock(models=("embed-1", "test-model")) as fake:
        provider = PROTOCOLS[3].provider(fake.origin, model="auto")
        assert ask(provider, HI).model == "test-model" and len(fake.calls) == 1


@pytest.mark.parametrize(
    "words", ["temperature: Extra inputs are not permitted", "temperature is deprecated"]
)
def test_a_model_without_temperature_is_asked_without(
    protocol: Protocol, provider: Provider, fake: FakeModel, words: str
) -> None:
    fake.fault("status", status=400, description=words)
    for _ in range(2):
        assert ask(provider, HI).text == "re: hi there, you"
    warm = [call.body.get("inferenceConfig", call.body).get("temperature") for call in fake.calls]
    assert warm == [0.2, None, None], protocol.name


def test_a_refused_stream_is_asked_for_as_a_whole(provider: Provider, fake: FakeModel) -> None:
    message = "stream is not supported for this model"
    fake.fault("status", status=400, description=message)
    pieces: list[str] = []
    for _ in range(2):
        assert ask(provider, HI, on_text=pieces.append).text == "re: hi there, you"
    assert pieces == ["re: hi there, you"] * 2
    assert [call.body.get("stream", False) for call in fake.calls] == [True, False, False]


def test_a_service_without_responses_is_asked_for_chat_completions_from_then_on() -> None:
    with FakeModel() as fake:
        provider = PROTOCOLS[1].provider(fake.origin)
        assert [ask(provider, HI).text for _ in range(2)] == ["re: hi there, you"] * 2
        assert fake.refused == ["POST /v1/responses: 404"]


@pytest.mark.parametrize(("status", "words"), [(405, "no"), (501, "no"), (400, "unknown path /v1/responses")])
def test_other_words_for_a_missing_endpoint(status: int, words: str) -> None:
    refusal = json.dumps({"error": {"message": words}}).encode()
    with FakeModel() as fake:
        fake.scripts.append(lambda call: call.reply(status, refusal))
        assert ask(PROTOCOLS[1].provider(fake.origin), HI).text == "re: hi there, you"
        assert fake.refused == []


def test_a_model_that_is_missing_there_is_no_missing_endpoint() -> None:
    with FakeResponses() as fake:
        provider = PROTOCOLS[1].provider(fake.origin)
        with pytest.raises(ProviderFault) as caught:
            ask(provider, ProviderCall(HI.messages, model="gone"))
        assert caught.value.kind == "model_mismatch"
        assert ask(provider, HI).text == "re: hi there, you"


def test_a_path_that_anthropic_does_not_know_is_no_missing_model() -> None:
    with FakeAnthropic() as fake:
        fake.fault("status", status=404, description="Not Found")
        with pytest.raises(ProviderFault, match="nothing answers") as caught:
            ask(PROTOCOLS[2].provider(fake.origin), HI)
        assert caught.value.kind == "request_rejected"


def test_a_key_goes_as_bearer_where_the_profile_says_so() -> None:
    with FakeAnthropic() as fake:
        fake.bearer = True
        provider = PROTOCOLS[2].provider(fake.origin, headers={"Authorization": f"Bearer {KEY}"})
        assert ask(provider, HI).text == "re: hi there, you"


@every_protocol
def test_a_stream_may_be_cut_at_every_byte(protocol: Protocol) -> None:
    with protocol.double() as fake:
        fake.fault("drip", seconds=0.000001)
        pieces: list[str] = []
        assert ask(protocol.provider(fake.origin), HI, on_text=pieces.append).text == "re: hi there, you"
    assert "".join(pieces) == "re: hi there, you"
