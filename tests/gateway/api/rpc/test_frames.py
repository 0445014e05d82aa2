from __future__ import annotations

import json

import pytest

from loong_gateway.api.rpc import frames
from loong_gateway.api.rpc.calls import RpcFault


def test_a_request_is_read_from_text_and_from_bytes() -> None:
    text = '{"type":"req","id":"\u9f99\\ud800","method":"health","traceparent":"00-1"}'
    for message in (text, text.encode()):
        frame = frames.parse_request(message)
        assert (frame.id, frame.method, frame.params) == ("\u9f99\ud800", "health", None)


@pytest.mark.parametrize(
    "message", ["", "nonsense", '{"type":"req","type":"req"}', "NaN", "[" * 100_000, b"\xff"]
)
def test_what_is_no_strict_json_is_told_apart(message: str | bytes) -> None:
    with pytest.raises(frames.NotJson):
        frames.parse_request(message)


@pytest.mark.parametrize(
    ("document", "frame_id"),
    [
        ([], None),
        ("text", None),
        ({"type": "event", "event": "tick"}, None),
        ({"type": "req", "method": "health"}, None),
        ({"type": "req", "id": "", "method": "health"}, None),
        ({"type": "req", "id": 7, "method": "health"}, None),
        ({"type": "req", "id": "a"}, "a"),
        ({"type": "req", "id": "a", "method": ""}, "a"),
        ({"type": "req", "id": "a", "method": 1}, "a"),
        ({"type": "req", "id": "a", "method": "health", "more": 1}, "a"),
        ({"type": "req", "id": "a", "method": "health", "traceparent": "x" * 129}, "a"),
        ({"type": "req", "id": "a", "method": "health", "traceparent": None}, "a"),
        ({"type": "res", "id": "a", "ok": True}, "a"),
    ],
    ids=range(13),
)
def test_json_that_is_no_request_keeps_its_id(document: object, frame_id: str | None) -> None:
    with pytest.raises(frames.Malformed) as raised:
        frames.parse_request(json.dumps(document))
    assert raised.value.id == frame_id
    assert str(raised.value)


def test_an_error_leaves_out_what_it_does_not_have() -> None:
    assert json.loads(frames.failure("a", RpcFault("UNAVAILABLE", "why"))) == {
        "type": "res",
        "id": "a",
        "ok": False,
        "error": {"code": "UNAVAILABLE", "message": "why"},
    }
    full = RpcFault("X", "why", details={"a": 1}, retryable=True, retry_after_ms=-3, payload={"b": 2})
    document = json.loads(frames.failure("a", full))
    assert document["error"] == {
        "code": "X",
        "message": "why",
        "details": {"a": 1},
        "retryable": True,
        "retryAfterMs": 0,
    }
    assert document["payload"] == {"b": 2}


def test_an_error_always_has_words() -> None:
    assert (
        json.loads(frames.failure("a", RpcFault("UNAVAILABLE", "")))["error"]["message"] == "internal error"
    )


def test_an_id_comes_back_whatever_it_is_made_of() -> None:
    for frame_id in ("\u9f99", "\ud800", 'a"\\\n', "\U0001f409"):
        assert json.loads(frames.success(frame_id, {"t": "\u9f99"}))["id"] == frame_id


def test_an_event_is_numbered_and_may_have_versions() -> None:
    make = frames.event("tick", {"ts": 1})
    assert json.loads(make(3)) == {"type": "event", "event": "tick", "payload": {"ts": 1}, "seq": 3}
    versioned = json.loads(frames.event("health", {}, {"presence": 1, "health": 2})(9))
    assert versioned["stateVersion"] == {"presence": 1, "health": 2}
    assert versioned["seq"] == 9


def test_what_json_has_no_word_for_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        frames.success("a", float("nan"))
