"""Answers of the Bot API as results or faults."""

from __future__ import annotations

import json

import pytest

from loong_channels import faults
from loong_channels.net import HttpAnswer
from loong_channels.telegram.api import interpret

TOKEN = "123456789:AAExampleExampleExampleExampleExamp"


def answer(status: int, body: object, headers: dict[str, str] | None = None) -> HttpAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(status, headers or {}, data)


def refusal(code: int, description: object, **parameters: object) -> HttpAnswer:
    return answer(
        code, {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    )


def test_a_result_is_what_the_caller_gets() -> None:
    assert interpret("getMe", answer(200, {"ok": True, "result": {"id": 1}})) == {"id": 1}
    assert interpret("x", answer(200, {"ok": True, "result": False, "description": "so"})) is False


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"7", b"<html>", b'{"ok":tr', b"\xff\xfe", b"{}", b"[" * 100_000, b'{"ok":true}'],
)
def test_an_answer_that_is_none_of_the_bot_api_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(faults.BadAnswer):
        interpret("getMe", answer(200, body))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 530])
def test_a_page_of_something_in_front_leaves_open_what_happened(status: int) -> None:
    with pytest.raises(faults.Unreachable) as caught:
        interpret("sendMessage", answer(status, b"<html>Bad Gateway</html>"))
    assert caught.value.maybe_processed


@pytest.mark.parametrize(
    ("code", "description", "expected", "reason"),
    [
        (400, "Bad Request: chat not found", faults.Refused, "chat_not_found"),
        (400, "Bad Request: CAN'T PARSE entities: x", faults.Refused, "markup"),
        (400, "Bad Request: message is too long", faults.Refused, "too_long"),
        (400, "Bad Request: text is too long", faults.Refused, "too_long"),
        (400, "Bad Request: message is not modified: specified new", faults.Refused, "not_modified"),
        (400, "Bad Request: message to edit not found", faults.Refused, "no_message"),
        (400, "Bad Request: message thread not found", faults.Refused, "no_thread"),
        (400, "Bad Request: something else", faults.Refused, "400"),
        (403, "Forbidden: bot was blocked by the user", faults.Refused, "forbidden"),
        (404, "Not Found: method not found", faults.Refused, "no_method"),
        (413, "Request Entity Too Large", faults.Refused, "413"),
        (401, "Unauthorized", faults.BadCredentials, None),
        (404, "Not Found", faults.BadCredentials, None),
        (409, "Conflict: terminated by other getUpdates request", faults.Conflict, None),
        (500, "Internal Server Error", faults.Overloaded, None),
        (502, "Bad Gateway", faults.Overloaded, None),
        (400, None, faults.Refused, "400"),
    ],
)
def test_codes_and_descriptions_become_faults(
    code: int, description: object, expected: type[faults.Fault], reason: str | None
) -> None:
    with pytest.raises(faults.Fault) as caught:
        interpret("sendMessage", refusal(code, description))
    assert type(caught.value) is expected
    assert getattr(caught.value, "code", None) == reason


@pytest.mark.parametrize(
    ("given", "header", "seconds"),
    [
        (7, None, 7),
        (2.5, None, 2.5),
        (0, None, 1),
        (None, "11", 11),
        ("x", None, 5),
        (None, "soon", 5),
        (10**9, None, 86400),
        (float("inf"), None, 86400),
        (float("nan"), None, 5),
    ],
)
def test_a_wait_is_taken_from_the_body_or_the_header(given: object, header: str, seconds: float) -> None:
    headers = {"retry-after": header} if header else {}
    body = {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests",
        "parameters": {"retry_after": given},
    }
    with pytest.raises(faults.Throttled) as caught:
        interpret("sendMessage", answer(429, body, headers))
    assert caught.value.retry_after_s == seconds


def test_a_wait_demanded_by_a_proxy_is_a_wait() -> None:
    with pytest.raises(faults.Throttled) as caught:
        interpret("sendMessage", answer(429, b"slow down", {"retry-after": "3"}))
    assert caught.value.retry_after_s == 3


def test_a_move_names_the_new_chat() -> None:
    with pytest.raises(faults.Moved) as caught:
        interpret(
            "sendMessage", refusal(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1001)
        )
    assert caught.value.conversation == "-1001"


def test_no_message_holds_the_token_line_breaks_or_endless_text() -> None:
    with pytest.raises(faults.Refused) as caught:
        interpret(
            "x", refusal(400, f"Bad\nRequest /bot{TOKEN}/x and 987654321:ZZZZZZZZZZZZ " + "y" * 999), TOKEN
        )
    text = str(caught.value)
    assert TOKEN not in text
    assert "ZZZZ" not in text
    assert "\n" not in text
    assert len(text) < 300
