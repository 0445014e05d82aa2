"""What a caller wants of the model, calls of tools whole and streamed, and embeddings, against a scripted server."""

from __future__ import annotations

import json

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.adaptations import shorten
from loong_gateway.providers.contract import (
    CallOptions,
    Embeddings,
    Function,
    Message,
    ProviderCall,
    ProviderFault,
    ToolCall,
)
from loong_gateway.providers.echo import Echo
from tests.fakes.scripted_peer import ScriptedPeer, answering
from tests.gateway.providers.provider_rig import (
    ask,
    bodies,
    completion,
    provider_for,
    refuses,
    says,
    streams,
)

LOOK = Function("look", "looks", {"type": "object"}, strict=True)
ASKED = ProviderCall((Message("user", "look there"),), CallOptions(tools=(LOOK,)))


def test_what_the_caller_wants_goes_before_the_profile() -> None:
    options = CallOptions(
        temperature=0.9,
        top_p=0.5,
        max_tokens=7,
        stop=("X",),
        seed=3,
        tools=(LOOK,),
        tool_choice="function:look",
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
    )
    with ScriptedPeer(answering(says(completion()))) as peer:
        provider = provider_for(peer, temperature=0.1, max_tokens=50, stop=("END",))
        ask(provider, ProviderCall((Message("user", "hi"),), options, model="m9"))
    (body,) = bodies(peer)
    assert {name: body[name] for name in ("model", "temperature", "top_p", "max_tokens", "stop", "seed")} == {
        "model": "m9", "temperature": 0.9, "top_p": 0.5, "max_tokens": 7, "stop": ["X"], "seed": 3,
    }  # fmt: skip
    function = {"name": "look", "description": "looks", "parameters": {"type": "object"}, "strict": True}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert body["parallel_tool_calls"] is False and body["response_format"] == {"type": "json_object"}


def test_a_tool_conversation_is_written_as_published() -> None:
    messages = (
        Message("user", "look"),
        Message("assistant", "", tool_calls=(ToolCall("c1", "look", "{}"),)),
        Message("tool", "", tool_call_id="c1"),
    )
    with ScriptedPeer(answering(says(completion()))) as peer:
        ask(provider_for(peer), ProviderCall(messages))
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    assert bodies(peer)[0]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "", "tool_call_id": "c1"},
    ]


def test_calls_of_tools_are_read_from_a_whole_answer() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}
    document = completion(None, "tool_calls")
    document["choices"][0]["message"]["tool_calls"] = [call]
    with ScriptedPeer(answering(says(document))) as peer:
        answer = ask(provider_for(peer), ASKED)
    assert (answer.text, answer.tool_calls) == ("", (ToolCall("c1", "look", '{"a":1}'),))


def fragment(index: int, finish: str | None = None, **function: str) -> str:
    call: dict[str, object] = {"index": index, "function": function}
    if "name" in function:
        call.update(id=f"c{index}", type="function")
    choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


def test_streamed_fragments_of_calls_are_gathered_by_their_index() -> None:
    parts = [
        fragment(0, name="look", arguments=""),
        fragment(0, arguments='{"a"'),
        fragment(1, name="hear", arguments="{"),
        fragment(0, arguments=":1}"),
        fragment(1, "tool_calls", arguments="}"),
        "data: [DONE]\n\n",
    ]
    told: list[str] = []
    with ScriptedPeer(answering(streams(*parts))) as peer:
        answer = ask(provider_for(peer), ASKED, on_text=told.append)
    assert told == []
    assert answer.tool_calls == (ToolCall("c0", "look", '{"a":1}'), ToolCall("c1", "hear", "{}"))


def test_a_refused_wish_is_left_out_and_asked_again() -> None:
    answers = [
        refuses(400, message="Unsupported parameter: 'seed'", param="seed"),
        says(completion("fine")),
        says(completion("fine")),
    ]
    with ScriptedPeer(answering(*answers)) as peer:
        provider = provider_for(peer)
        for _ in range(2):
            assert ask(provider, ProviderCall((Message("user", "hi"),), CallOptions(seed=3))).text == "fine"
    assert ["seed" in body for body in bodies(peer)] == [True, False, False]


def test_a_question_with_its_calls_is_not_torn_when_the_history_is_shortened() -> None:
    question = [
        Message("user", "q"),
        Message("assistant", "", tool_calls=(ToolCall("c", "look", "{}"),)),
        Message("tool", "x", tool_call_id="c"),
    ]
    history = [
        Message("user", "1"),
        Message("assistant", "2"),
        Message("user", "3"),
        Message("assistant", "4"),
    ]
    assert shorten([Message("system", "s"), *history, *question]) == [
        Message("system", "s"),
        *history[2:],
        *question,
    ]
    assert shorten(question) == question


def vectors(count: int, start: int = 0) -> dict[str, object]:
    data = [{"object": "embedding", "index": n, "embedding": [n + start, 0.5]} for n in range(count)]
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "model": "e5-real", "data": data[::-1], "usage": usage}


def embed(provider, texts: list[str], model: str | None = None, dimensions: int | None = None) -> Embeddings:
    return provider.embed(texts, model=model, dimensions=dimensions, deadline=Deadline(10), stop=StopToken())


def test_vectors_come_in_the_order_of_the_texts_in_parts() -> None:
    texts = [f"t{n}" for n in range(70)]
    with ScriptedPeer(answering(says(vectors(64)), says(vectors(6, start=64)))) as peer:
        made = embed(provider_for(peer, embedding_model="e5"), texts, dimensions=2)
    assert [vector[0] for vector in made.vectors] == list(range(70))
    assert made.model == "e5-real" and made.usage is not None and made.usage.input == 70
    head, _ = peer.requests[0]
    assert head.startswith("POST /v1/embeddings ")
    assert [len(body["input"]) for body in bodies(peer)] == [64, 6]
    assert bodies(peer)[0]["model"] == "e5" and bodies(peer)[0]["dimensions"] == 2


@pytest.mark.parametrize(
    "document",
    [{}, {"data": []}, {"data": [3]}, {"data": [{"embedding": []}]}, {"data": [{"embedding": ["x"]}]},
     {"data": [{"embedding": [1], "index": 1}]}, {"data": [{"embedding": [1], "index": []}]},
     {"data": [{"embedding": [1e39]}]}],
    ids="nothing none number empty words stranger list large".split(),
)  # fmt: skip
def test_what_is_no_vector_is_a_failure(document: dict[str, object]) -> None:
    with ScriptedPeer(answering(says(document))) as peer, pytest.raises(ProviderFault) as caught:
        embed(provider_for(peer), ["a"], model="e5")
    assert caught.value.kind == "response_shape_invalid"


def test_where_there_are_no_embeddings_it_says_so() -> None:
    page = says("404 page not found", 404)
    with ScriptedPeer(answering(page)) as peer:
        for provider, model in (
            (provider_for(peer), "e5"),
            (provider_for(peer), None),
            (provider_for(peer, endpoint=f"{peer.url}/chat"), "e5"),
            (Echo("main"), "e5"),
        ):
            with pytest.raises(ProviderFault) as caught:
                embed(provider, ["a"], model=model)
            assert caught.value.kind == "not_supported"


def test_a_refused_key_is_the_providers_word_and_texts_stay_hidden() -> None:
    answer = refuses(401, "invalid_api_key", "no: my private text")
    with ScriptedPeer(answering(answer)) as peer, pytest.raises(ProviderFault) as caught:
        embed(provider_for(peer), ["my private text"], model="e5")
    assert caught.value.kind == "auth_rejected" and "private" not in str(caught.value)


def test_echo_calls_the_function_that_must_be_called() -> None:
    hear = Function("hear")
    for choice, expected in (("required", ["look"]), ("function:hear", ["hear"]), ("auto", []), (None, [])):
        options = CallOptions(tools=(LOOK, hear), tool_choice=choice)
        answer = ask(Echo("main"), ProviderCall((Message("user", "hi"),), options))
        assert [call.name for call in answer.tool_calls] == expected
        assert [json.loads(call.arguments) for call in answer.tool_calls] == [{"message": "hi"}] * len(
            expected
        )
        assert answer.text == ("" if expected else "echo: hi")


def test_a_model_that_refuses_tools_is_asked_without_them_from_then_on() -> None:
    refusal = refuses(400, message="this model does not support tools")
    options = CallOptions(tools=(LOOK,), tool_choice="auto", parallel_tool_calls=False)
    with ScriptedPeer(answering(refusal, says(completion("well")))) as peer:
        provider = provider_for(peer, retry_max_attempts=1)
        for _ in range(2):
            assert ask(provider, ProviderCall((Message("user", "hi"),), options)).text == "well"
    first, *others = bodies(peer)
    assert "tools" in first and len(others) == 2
    for body in others:
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body)
