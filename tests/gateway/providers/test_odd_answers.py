"""Answers that are not quite what a protocol says: no reader fails otherwise than by saying so."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from loong_gateway.providers.contract import CallOptions, Completion, ToolCall, Usage
from loong_gateway.providers.errors import AttemptFailed
from loong_gateway.providers.wire import Wire
from tests.fakes.model_bedrock import frame
from tests.gateway.providers.protocol_samples import (
    ANTHROPIC,
    BEDROCK,
    CHAT,
    RESPONSES,
    STREAMED,
    WHOLE,
    encoded,
)
from tests.gateway.providers.provider_rig import CALL

LOOK = ToolCall("c1", "look", '{"a": 1}')
names = ["chat", "responses", "anthropic", "bedrock"]


def read_stream(wire: Wire, events: list[Any]) -> Completion:
    stream = wire.stream(model="m", hide=())
    for event in events:
        stream.feed(encoded(wire, event))
    return stream.finish()[1]


def changed(document: Any) -> Iterator[Any]:
    """The document with each of its members replaced by each kind of value, one at a time, and taken out."""
    places: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        inside = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for name, member in inside:
            places.append((*path, name))
            walk(member, (*path, name))

    walk(document, ())
    for *path, name in places:
        for value in (None, True, -1, 1 << 60, "x", [], ["x"], {}, {"x": 1}, KeyError):
            copied = copy.deepcopy(document)
            holder = copied
            for step in path:
                holder = holder[step]
            if value is KeyError:
                del holder[name]
            else:
                holder[name] = value
            yield copied


@pytest.mark.parametrize(("wire", "document"), WHOLE, ids=names)
def test_a_whole_answer(wire: Wire, document: Any) -> None:
    answer = wire.read(json.dumps(document).encode(), model="m", hide=())
    assert (answer.text, answer.model, answer.tool_calls) == ("hi", "m", (LOOK,))
    reasoning = 2 if wire in (CHAT, RESPONSES) else None
    assert answer.usage == Usage(3, 4, 7, 1, reasoning)


@pytest.mark.parametrize(("wire", "events"), STREAMED, ids=names)
def test_a_streamed_answer(wire: Wire, events: list[Any]) -> None:
    answer = read_stream(wire, events)
    assert (answer.text, answer.model, answer.tool_calls) == ("hi", "m", (LOOK,))
    assert answer.usage is not None and (answer.usage.input, answer.usage.total, answer.usage.cached) == (
        3,
        7,
        1,
    )


@pytest.mark.parametrize(("wire", "document"), WHOLE, ids=names)
def test_no_change_to_an_answer_does_more_than_spoil_it(wire: Wire, document: Any) -> None:
    spoilt = 0
    for odd in changed(document):
        try:
            answer = wire.read(json.dumps(odd).encode(), model="m", hide=())
        except AttemptFailed:
            spoilt += 1
            continue
        assert answer.text or answer.tool_calls
        assert all(
            isinstance(text, str)
            for call in answer.tool_calls
            for text in (call.id, call.name, call.arguments)
        )
        assert answer.usage is None or all(count >= 0 for count in answer.usage.counts().values())
    assert spoilt


@pytest.mark.parametrize(("wire", "events"), STREAMED, ids=names)
def test_no_change_to_a_stream_does_more_than_spoil_it(wire: Wire, events: list[Any]) -> None:
    spoilt = 0
    for odd in changed(events):
        try:
            answer = read_stream(wire, odd)
        except AttemptFailed:
            spoilt += 1
            continue
        assert answer.text or answer.tool_calls
    assert spoilt


@pytest.mark.parametrize(("wire", "events"), STREAMED, ids=names)
def test_a_stream_that_ends_before_its_reason_is_broken(wire: Wire, events: list[Any]) -> None:
    ends = {CHAT: 6, RESPONSES: 5, ANTHROPIC: 9, BEDROCK: 5}[wire]
    for count in range(ends + 1):
        with pytest.raises(AttemptFailed) as caught:
            read_stream(wire, events[:count])
        assert caught.value.failure.kind == "transport_failure"
    read_stream(wire, events[: ends + 1] if wire is not ANTHROPIC else events)


@pytest.mark.parametrize(
    ("wire", "event", "kind"),
    [
        (CHAT, {"error": {"message": "slow", "code": 429}}, "rate_limited"),
        (CHAT, {"error": {"message": "slow", "type": "rate_limit_exceeded"}}, "rate_limited"),
        (RESPONSES, {"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, "rate_limited"),
        (
            RESPONSES,
            {"type": "response.failed", "response": {"error": {"code": "server_error", "message": "no"}}},
            "provider_overloaded",
        ),
        (RESPONSES, {"type": "response.failed"}, "provider_overloaded"),
        (
            RESPONSES,
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "content_filter"}}},
            "request_rejected",
        ),
        (ANTHROPIC, {"type": "error", "error": {"type": "overloaded_error"}}, "provider_overloaded"),
        (ANTHROPIC, {"type": "error", "error": {"type": "rate_limit_error"}}, "rate_limited"),
        (ANTHROPIC, {"type": "error", "error": {"type": "invalid_request_error"}}, "request_rejected"),
        (BEDROCK, {"error": {"type": "throttlingException"}}, "rate_limited"),
    ],
)
def test_an_error_in_a_stream_has_its_class(wire: Wire, event: Any, kind: str) -> None:
    data = encoded(wire, event)
    if wire is BEDROCK:
        data = frame(b"{}", message_type="exception", exception_type=event["error"]["type"])
    stream = wire.stream(model="m", hide=())
    with pytest.raises(AttemptFailed) as caught:
        stream.feed(data)
        stream.finish()
    assert caught.value.failure.kind == kind


def test_a_response_without_pieces_is_read_at_its_end() -> None:
    answer = read_stream(RESPONSES, [{"type": "response.completed", "response": WHOLE[1][1]}])
    assert (answer.text, answer.tool_calls) == ("hi", (LOOK,))


def test_a_refusal_is_an_answer() -> None:
    part = {"type": "refusal", "refusal": "I will not"}
    document = {"output": [{"type": "message", "content": [part]}]}
    assert RESPONSES.read(json.dumps(document).encode(), model="m", hide=()).text == "I will not"
    said = {"choices": [{"message": {"refusal": "I will not"}, "finish_reason": "stop"}]}
    assert CHAT.read(json.dumps(said).encode(), model="m", hide=()).text == "I will not"
    events = [{"type": "response.refusal.delta", "delta": "I will not"}, {"type": "response.completed"}]
    assert read_stream(RESPONSES, events).text == "I will not"


def test_what_a_server_quotes_is_hidden() -> None:
    quoted = {"error": {"message": "you said secret-words-here"}}
    with pytest.raises(AttemptFailed) as caught:
        CHAT.read(json.dumps(quoted).encode(), model="m", hide=("secret-words-here",))
    assert caught.value.failure.detail == "you said [hidden]"


@pytest.mark.parametrize("model", ["a/b?c#d", "\ud800", "é"])
def test_a_model_of_any_name_can_be_put_into_an_address(model: str) -> None:
    request = BEDROCK.request(model, CALL.messages, CallOptions(), stream=False, without=frozenset())
    path = request.url.split("/model/")[1]
    assert path.count("/") == 1 and path.isascii() and not set("?#") & set(path)
