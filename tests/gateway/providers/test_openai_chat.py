"""Chat completions against a scripted server: answers, streams, retries, adaptations, error texts."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.providers.contract import Message, ProviderCall, ProviderFault, Usage
from tests.blocked_call import raised_when_woken
from tests.fakes.scripted_peer import Connection, ScriptedPeer, answering, unanswered
from tests.gateway.providers.provider_rig import (
    CALL,
    KEY,
    QUESTION,
    Answer,
    ask,
    bodies,
    completion,
    delta,
    provider_for,
    refuses,
    says,
    streams,
)

DONE = "data: [DONE]\n\n"


def fault_of(answer: Answer, **changes: Any) -> ProviderFault:
    with ScriptedPeer(answering(answer)) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer, **changes))
    assert KEY not in str(caught.value) + caught.value.where + caught.value.fix
    assert QUESTION not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_plain_answer_carries_text_model_and_usage() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    with ScriptedPeer(answering(says(completion("hi", usage=usage)))) as peer:
        answer = ask(
            provider_for(peer, max_tokens=50, stop=("END",), headers={"authorization": "Bearer other"})
        )
    head, _ = peer.requests[0]
    assert (answer.text, answer.model, answer.usage) == ("hi", "m1-real", Usage(3, 4, 7))
    assert head.startswith("POST /v1/chat/completions ")
    assert "authorization: Bearer other" in head and KEY not in head
    assert bodies(peer)[0] == {
        "model": "m1",
        "messages": [{"role": m.role, "content": m.content} for m in CALL.messages],
        "temperature": 0.2,
        "max_tokens": 50,
        "stop": ["END"],
    }


def test_the_key_is_sent_as_bearer_and_connections_are_kept() -> None:
    with ScriptedPeer(answering(says(completion()))) as peer:
        provider = provider_for(peer)
        for _ in range(3):
            ask(provider)
    assert all(f"Authorization: Bearer {KEY}" in head for head, _ in peer.requests)
    assert peer.connections == 1


def test_openai_takes_its_own_name_for_the_token_limit() -> None:
    with ScriptedPeer(answering(says(completion()))) as peer:
        ask(provider_for(peer, kind="openai", base_url=peer.url, max_tokens=9))
    assert bodies(peer)[0]["max_completion_tokens"] == 9 and "max_tokens" not in bodies(peer)[0]


@pytest.mark.parametrize(
    ("document", "text", "truncated"),
    [
        (completion([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab", False),
        (completion("cut", finish="length"), "cut", True),
        ({"choices": [{"message": {"content": None, "refusal": "I will not"}}]}, "I will not", False),
    ],
)
def test_answers_in_other_shapes_are_read(document: dict[str, Any], text: str, truncated: bool) -> None:
    with ScriptedPeer(answering(says(document))) as peer:
        answer = ask(provider_for(peer))
    assert (answer.text, answer.truncated) == (text, truncated)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(1, 2, 3)),
        ({"prompt_eval_count": 1, "eval_count": 2}, Usage(1, 2, 3)),
        ({"prompt_tokens": -1, "completion_tokens": "x", "total_tokens": True}, None),
        ({"total_tokens": 5}, Usage(None, None, 5)),
        (None, None),
        ("nonsense", None),
    ],
)
def test_usage_is_read_under_any_name_and_never_invented(usage: object, counted: Usage | None) -> None:
    with ScriptedPeer(answering(says(completion(usage=usage)))) as peer:
        assert ask(provider_for(peer)).usage == counted


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (says({"choices": []}), "response_shape_invalid", "no choices"),
        (says({}), "response_shape_invalid", "no choices"),
        (says([1]), "response_shape_invalid", "not a JSON object"),
        (says(completion(None)), "response_shape_invalid", "empty"),
        (says(completion("", finish="length")), "response_shape_invalid", "token limit"),
        (lambda c: c.answer(200, b"{oops"), "response_decode_failure", "not JSON"),
        (lambda c: c.answer(200, b"<html>login</html>", "text/html"), "response_decode_failure", "web page"),
        (
            lambda c: (c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), c.reset()),
            "transport_failure",
            "lost",
        ),
        (lambda c: c.sock.close(), "transport_failure", "closed the connection"),
    ],
)
def test_an_unusable_answer_is_asked_for_once_more(answer: Answer, kind: str, words: str) -> None:
    with ScriptedPeer(answering(answer)) as peer, pytest.raises(ProviderFault, match=words) as caught:
        ask(provider_for(peer))
    assert caught.value.kind == kind
    assert len(peer.requests) == 2
    assert caught.value.fix
    with ScriptedPeer(answering(answer, says(completion("well")))) as peer:
        assert ask(provider_for(peer)).text == "well"


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_passing_failures_are_tried_again(status: int) -> None:
    bad = refuses(status)
    with ScriptedPeer(answering(bad, bad, says(completion("well")))) as peer:
        assert ask(provider_for(peer)).text == "well"
    assert len(peer.requests) == 3


def test_attempts_end_and_the_error_counts_them() -> None:
    fault = fault_of(refuses(503, message="busy"))
    assert fault.kind == "provider_overloaded"
    assert str(fault) == "provider main is failing (HTTP 503) after 3 tries: busy"


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            refuses(401, "invalid_api_key", f"Incorrect API key {KEY}"),
            "auth_rejected",
            "refused the key (HTTP 401",
        ),
        (refuses(403, message="forbidden"), "auth_rejected", "refused the key (HTTP 403"),
        (refuses(403, "AccountOverdueError", "overdue"), "auth_rejected", "refused the account, not the key"),
        (refuses(429, "insufficient_quota"), "rate_limited", "quota is used up"),
        (refuses(429, "SetLimitExceeded"), "rate_limited", "quota is used up"),
        (refuses(402), "rate_limited", "quota is used up"),
        (refuses(400, "model_not_found"), "model_mismatch", "does not offer model m1"),
        (refuses(404, message="The model `m1` does not exist"), "model_mismatch", "does not offer model m1"),
        (refuses(404, "InvalidEndpointOrModel.NotFound"), "model_mismatch", "does not offer model m1"),
        (refuses(403, "ModelNotOpen"), "model_mismatch", "does not offer model m1"),
        (
            lambda c: c.answer(404, b"404 page not found", "text/plain"),
            "request_rejected",
            "nothing answers chat",
        ),
        (says({"detail": "Not Found"}, 404), "request_rejected", "nothing answers chat"),
        (lambda c: c.answer(301, b"", extra="Location: http://x/\r\n"), "request_rejected", "redirects"),
        (refuses(400, message="bad thing"), "request_rejected", "refused the request (HTTP 400): bad thing"),
        (refuses(400, "InputTextSensitiveContentDetected"), "request_rejected", "content filter"),
        (says(completion("x", finish="content_filter")), "request_rejected", "content filter"),
        (says({"error": "plain words"}, 422), "request_rejected", "plain words"),
        (
            says({"detail": [{"msg": "field required", "input": QUESTION}]}, 422),
            "request_rejected",
            "field required",
        ),
    ],
)
def test_final_refusals_are_not_tried_again(answer: Answer, kind: str, text: str) -> None:
    with ScriptedPeer(answering(answer)) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer))
    assert caught.value.kind == kind and text in str(caught.value)
    assert len(peer.requests) == 1
    assert KEY not in str(caught.value) + caught.value.where and caught.value.fix


def test_the_server_may_say_whether_to_try_again() -> None:
    with (
        ScriptedPeer(answering(refuses(500, extra="x-should-retry: false\r\n"))) as peer,
        pytest.raises(ProviderFault),
    ):
        ask(provider_for(peer))
    assert len(peer.requests) == 1


def test_an_error_inside_a_status_of_200_is_an_error() -> None:
    assert fault_of(says({"error": {"message": "slow down", "code": 429}})).kind == "rate_limited"
    assert fault_of(says({"error": {"message": "oops"}})).kind == "provider_overloaded"


def test_keys_and_questions_that_a_server_repeats_are_hidden() -> None:
    fault = fault_of(refuses(400, message=f"cannot use {KEY}\r\n\x1b[31m for {QUESTION} " + "x" * 1000))
    assert "[hidden]" in str(fault) and len(str(fault)) < 400


@pytest.mark.parametrize(
    ("environ", "ref", "where"),
    [
        ({"MODEL_KEY": KEY}, None, "(env MODEL_KEY, set; sent as Authorization: Bearer)"),
        (
            {"CUSTOM_PROVIDER_API_KEY": KEY},
            SecretRef("absent", None, "providers.main.api_key", ("CUSTOM_PROVIDER_API_KEY",)),
            "(env CUSTOM_PROVIDER_API_KEY, set; sent as Authorization: Bearer)",
        ),
    ],
)
def test_a_refused_key_is_told_with_source_scheme_and_request_id(
    environ: dict[str, str], ref: SecretRef | None, where: str
) -> None:
    answer = refuses(401, extra="x-request-id: 0a1b2c\r\n")
    fault = fault_of(answer, environ=environ, **({"api_key": ref} if ref else {}))
    assert str(fault) == "provider main refused the key (HTTP 401, request id 0a1b2c)"
    assert fault.where == f"providers.main.api_key {where}"
    assert fault.fix == "replace the key, then: loong list-models"


def test_the_request_id_of_ark_is_found_in_its_message() -> None:
    fault = fault_of(refuses(403, "AccountOverdueError", "overdue. Request id: 02abcdef"))
    assert "request id 02abcdef" in str(fault) and "AccountOverdueError" in str(fault)


def test_a_key_that_was_replaced_is_picked_up_after_a_refusal() -> None:
    keys = ["old-key-value", "new-key-value"]

    def script(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            good = "new-key-value" in request[0]
            connection.answer_json(200 if good else 401, completion("well") if good else {"error": "no"})

    with ScriptedPeer(script) as peer:
        provider = provider_for(peer, resolve=lambda ref: keys.pop(0) if len(keys) > 1 else keys[0])
        assert ask(provider).text == "well"
        assert ask(provider).text == "well"
    assert len(peer.requests) == 3


def test_the_key_is_not_fetched_for_every_call() -> None:
    fetched: list[SecretRef] = []

    def resolve(ref: SecretRef) -> str:
        fetched.append(ref)
        return KEY

    with ScriptedPeer(answering(says(completion()))) as peer:
        provider = provider_for(peer, resolve=resolve)
        for _ in range(5):
            ask(provider)
    assert len(fetched) == 1


def test_a_missing_key_is_told_before_anything_is_sent() -> None:
    with ScriptedPeer(answering(says(completion()))) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer, environ={}))
    assert caught.value.kind == "secret_missing" and "MODEL_KEY" in str(caught.value)
    assert peer.requests == []


def test_a_kind_without_a_key_sends_none_and_says_so_when_one_is_wanted() -> None:
    ref = SecretRef("absent", None, "providers.main.api_key")
    with ScriptedPeer(answering(says(completion()), refuses(401))) as peer:
        provider = provider_for(peer, kind="ollama", base_url=peer.url, api_key=ref, environ={})
        assert ask(provider).text == "hello"
        with pytest.raises(ProviderFault, match="wants a key and none is configured"):
            ask(provider)
    assert "Authorization" not in peer.requests[0][0]


class RecordingStop(StopToken):
    """Never waits; remembers for how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return False


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("retry-after-ms: 1500\r\nRetry-After: 50\r\n", 1.5),
        ("Retry-After: 7.5\r\n", 7.5),
        pytest.param(f"Retry-After: {formatdate(time.time() - 500, usegmt=True)}\r\n", 0.0, id="a date"),
        ("Retry-After: -5\r\n", 0.0),
    ],
)
def test_the_wait_that_a_server_asks_for_is_kept(header: str, wait_s: float) -> None:
    stop = RecordingStop()
    with ScriptedPeer(answering(refuses(429, extra=header), says(completion("well")))) as peer:
        assert ask(provider_for(peer), stop=stop).text == "well"
    assert stop.waits == [wait_s]


def test_waits_double_up_to_the_longest_and_are_spread() -> None:
    stop = RecordingStop()
    with ScriptedPeer(answering(refuses(500, extra="Retry-After: soon\r\n"))) as peer:
        provider = provider_for(
            peer, retry_max_attempts=8, retry_initial_backoff_ms=300, retry_max_backoff_ms=3000
        )
        with pytest.raises(ProviderFault):
            ask(provider, stop=stop, deadline=Deadline(100))
    ceilings = [0.3, 0.6, 1.2, 2.4, 3.0, 3.0, 3.0]
    assert len(stop.waits) == 7
    assert all(0.05 <= wait <= ceiling for wait, ceiling in zip(stop.waits, ceilings))
    assert len(set(stop.waits)) > 1


@pytest.mark.parametrize(
    ("header", "hint_s"),
    [
        ("Retry-After: 3600\r\n", 3600),
        pytest.param(f"Retry-After: {formatdate(time.time() + 7200, usegmt=True)}\r\n", 6000, id="a date"),
    ],
)
def test_a_wait_that_is_too_long_fails_at_once_and_cools_the_model(header: str, hint_s: float) -> None:
    with ScriptedPeer(answering(refuses(429, extra=header))) as peer:
        provider = provider_for(peer)
        with pytest.raises(ProviderFault, match=", for ") as caught:
            ask(provider)
        assert caught.value.kind == "rate_limited"
        assert (caught.value.retry_after_s or 0) >= hint_s
        assert provider.health()["cooldowns_s"]["m1"] > hint_s - 60
        with pytest.raises(ProviderFault):
            ask(provider)
    assert len(peer.requests) == 2


def test_a_wait_beyond_the_turn_fails_at_once() -> None:
    with (
        ScriptedPeer(answering(refuses(429, extra="Retry-After: 30\r\n"))) as peer,
        pytest.raises(ProviderFault) as caught,
    ):
        ask(provider_for(peer), deadline=Deadline(5))
    assert caught.value.kind == "rate_limited" and len(peer.requests) == 1


@pytest.mark.parametrize(
    ("message", "more", "setting", "dropped", "added"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead.",
            {"param": "max_tokens", "code": "unsupported_parameter"},
            {"max_tokens": 5},
            "max_tokens",
            "max_completion_tokens",
        ),
        ("`temperature` is deprecated for this model", {}, {}, "temperature", None),
        ("Unknown field: reasoning_effort", {}, {"reasoning_effort": "low"}, "reasoning_effort", "reasoning"),
        ("Unrecognized request argument supplied: stop", {}, {"stop": ("x",)}, "stop", None),
    ],
)
def test_a_refused_optional_part_is_changed_once_and_remembered(
    message: str, more: dict[str, str], setting: dict[str, Any], dropped: str, added: str | None
) -> None:
    more = {"code": "", **more}
    with ScriptedPeer(answering(refuses(400, message=message, **more), says(completion("well")))) as peer:
        provider = provider_for(peer, **setting)
        assert ask(provider).text == "well"
        assert ask(provider).text == "well"
    first, second, third = bodies(peer)
    assert dropped in first and dropped not in second and second == third
    assert added is None or added in second


def test_a_part_that_was_changed_already_is_not_changed_for_ever() -> None:
    with (
        ScriptedPeer(answering(refuses(400, message="temperature is not supported"))) as peer,
        pytest.raises(ProviderFault) as caught,
    ):
        ask(provider_for(peer))
    assert caught.value.kind == "payload_incompatible" and len(peer.requests) == 2


def test_a_conversation_that_is_too_long_is_shortened_once() -> None:
    too_long = refuses(400, "context_length_exceeded")
    with ScriptedPeer(answering(too_long, says(completion("well")))) as peer:
        assert ask(provider_for(peer)).text == "well"
    assert [m["content"] for m in bodies(peer)[1]["messages"]] == ["be brief", QUESTION]
    with (
        ScriptedPeer(answering(too_long)) as peer,
        pytest.raises(ProviderFault, match="too long for model m1"),
    ):
        ask(provider_for(peer))
    assert len(peer.requests) == 2


def test_a_slow_first_byte_is_waited_for_twice_and_then_told() -> None:
    with ScriptedPeer(unanswered) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer, request_timeout_ms=100))
    assert caught.value.kind == "timed_out" and len(peer.requests) == 2
    assert "after 2 tries" in str(caught.value) and caught.value.where == "providers.main.request_timeout_ms"


def test_the_turn_ends_all_attempts() -> None:
    with ScriptedPeer(unanswered) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer, turn_timeout_ms=200))
    assert caught.value.kind == "timed_out" and len(peer.requests) == 1


@pytest.mark.parametrize("answer", [refuses(429, extra="Retry-After: 50\r\n"), lambda c: c.wait_closed()])
def test_a_stopped_turn_ends_at_once_in_a_wait_and_in_a_call(answer: Answer) -> None:
    stop = StopToken()
    with ScriptedPeer(answering(answer)) as peer:
        provider = provider_for(peer, turn_timeout_ms=600_000, request_timeout_ms=600_000)
        raised = raised_when_woken(
            lambda: ask(provider, stop=stop, deadline=Deadline(600)),
            blocked=lambda: peer.requests,
            wake=stop.set,
        )
    assert isinstance(raised, ProviderFault) and raised.kind == "interrupted"


def test_an_unreachable_provider_is_named_with_its_address() -> None:
    with ScriptedPeer(answering(says({}))) as peer:
        pass
    with pytest.raises(ProviderFault, match="cannot be reached after 3 tries: cannot connect") as caught:
        ask(provider_for(peer))
    assert caught.value.kind == "transport_failure"
    assert caught.value.where == f"providers.main ({peer.url}/v1/chat/completions)"


def test_a_stream_is_handed_out_piece_by_piece() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    answer = streams(
        ": ping\n\n",
        delta(""),
        delta("Hel", model="m1-real"),
        delta("lo \u4e2d"),
        delta(None, "stop"),
        'data: {"choices": [], "usage": ' + json.dumps(usage) + "}\n\n",
        DONE,
    )
    pieces: list[str] = []
    with ScriptedPeer(answering(answer)) as peer:
        provider = provider_for(peer)
        whole = ask(provider, on_text=pieces.append)
        ask(provider, on_text=pieces.append)
    assert (whole.text, whole.model, whole.usage) == ("Hello \u4e2d", "m1-real", Usage(1, 2, 3))
    assert pieces == ["Hel", "lo \u4e2d"] * 2
    assert bodies(peer)[0]["stream"] is True and bodies(peer)[0]["stream_options"] == {"include_usage": True}
    assert peer.connections == 1


@pytest.mark.parametrize(
    "parts",
    [
        (delta("a", "stop"),),
        (delta("a"), delta(None, "stop")),
        (delta("a"), DONE),
        (
            delta("a", usage={"prompt_tokens": 1, "completion_tokens": 1}),
            delta(None, "stop", usage=None),
            DONE,
        ),
        (delta("a"), delta(None, "stop").strip()),
        ('data: {"choices":[{"index":1,"delta":{"content":"no"}},{"delta":{"content":"a"}}]}\n\n', DONE),
        (
            'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":"hm"}}]}\n\n',
            delta("a", "stop"),
        ),
    ],
)
def test_streams_of_other_styles_are_complete(parts: tuple[str, ...]) -> None:
    with ScriptedPeer(answering(streams(*parts, close=True))) as peer:
        assert ask(provider_for(peer), on_text=lambda _: None).text == "a"


def test_a_stream_may_be_cut_at_every_byte() -> None:
    raw = (delta("\u4e2d\U0001f600") + delta("b", "stop") + DONE).encode()

    def script(connection: Connection) -> None:
        while connection.read_request() is not None:
            connection.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            cut = len(peer.requests)
            connection.chunk(raw[:cut])
            if raw[cut:]:
                connection.chunk(raw[cut:])
            connection.send(b"0\r\n\r\n")

    with ScriptedPeer(script) as peer:
        provider = provider_for(peer)
        for _ in range(len(raw)):
            assert ask(provider, on_text=lambda _: None).text == "\u4e2d\U0001f600b"


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (streams(close=True), "transport_failure"),
        (streams(end=False, close=True), "transport_failure"),
        (streams("data: {oops\n\n"), "response_decode_failure"),
        (
            streams('data: {"error": {"message": "overloaded", "code": "ServerOverloaded"}}\n\n'),
            "rate_limited",
        ),
        (streams('event: error\ndata: {"message": "dead"}\n\n'), "provider_overloaded"),
    ],
)
def test_a_stream_that_breaks_before_its_text_is_tried_again(broken: Answer, kind: str) -> None:
    with ScriptedPeer(answering(broken, streams(delta("well", "stop"), DONE))) as peer:
        assert ask(provider_for(peer), on_text=lambda _: None).text == "well"
    with ScriptedPeer(answering(broken)) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer), on_text=lambda _: None)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "broken",
    [
        streams(delta("a"), close=True),
        streams(delta("a"), end=False, close=True),
        streams(delta("a"), "data: {oops\n\n"),
        streams(delta("a"), 'data: {"error": {"message": "overloaded"}}\n\n'),
    ],
)
def test_a_stream_that_breaks_after_text_is_never_repeated(broken: Answer) -> None:
    pieces: list[str] = []
    with ScriptedPeer(answering(broken)) as peer, pytest.raises(ProviderFault, match="broke off") as caught:
        ask(provider_for(peer), on_text=pieces.append)
    assert pieces == ["a"] and len(peer.requests) == 1
    assert caught.value.fix


def test_a_stream_that_says_nothing_after_its_end_is_complete() -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        streams(delta("a"), delta(None, "stop"), DONE, end=False)(connection)
        connection.wait_closed()

    with ScriptedPeer(script) as peer:
        assert ask(provider_for(peer), on_text=lambda _: None).text == "a"


def test_a_dripping_stream_is_ended_by_the_turn() -> None:
    def script(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        while not connection.peer.released.wait(0.02):
            connection.send(b": ping\n")

    with ScriptedPeer(script) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer, turn_timeout_ms=300), on_text=lambda _: None)
    assert caught.value.kind == "timed_out"


def test_a_server_that_does_not_stream_still_answers() -> None:
    pieces: list[str] = []
    with ScriptedPeer(answering(says(completion("whole")))) as peer:
        assert ask(provider_for(peer), on_text=pieces.append).text == "whole"
    assert pieces == ["whole"]


def test_a_server_that_refuses_streams_is_asked_without() -> None:
    pieces: list[str] = []
    refusal = refuses(400, message="stream is not supported here")
    with ScriptedPeer(answering(refusal, says(completion("whole")))) as peer:
        assert ask(provider_for(peer), on_text=pieces.append).text == "whole"
    assert "stream" not in bodies(peer)[1] and "stream_options" not in bodies(peer)[1]


def test_health_counts_calls_and_failures() -> None:
    with ScriptedPeer(answering(says(completion()), refuses(400))) as peer:
        provider = provider_for(peer)
        ask(provider)
        with pytest.raises(ProviderFault):
            ask(provider)
    health = provider.health()
    assert (health["calls"], health["failed"], health["last_error"]) == (2, 1, "request_rejected")
    assert isinstance(health["last_success_ms"], int) and json.dumps(dict(health))


def test_empty_messages_are_not_sent() -> None:
    call = ProviderCall((Message("system", ""), Message("user", "x")))
    with ScriptedPeer(answering(says(completion()))) as peer:
        ask(provider_for(peer), call)
    assert [m["role"] for m in bodies(peer)[0]["messages"]] == ["user"]
    assert replace(call).messages == call.messages


@pytest.mark.parametrize(
    "header",
    ["Retry-After: 999999999", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", "Retry-After-Ms: 999999999"],
)
def test_nobody_is_told_to_wait_for_years(header: str) -> None:
    peer = ScriptedPeer(answering(refuses(429, extra=f"{header}\r\n")))
    with peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer))
    assert caught.value.retry_after_s == 86_400
