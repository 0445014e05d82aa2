"""Which requests may switch to WebSocket, and what they are told."""

from __future__ import annotations

import pytest

from loong_gateway.api.http_request import Refusal
from loong_gateway.api.ws.handshake import switching_answer
from tests.gateway.api.heads import parse_head
from tests.gateway.api.ws_kit import ACCEPT, upgrade


def refusal(raw: bytes) -> tuple[int, str]:
    with pytest.raises(Refusal) as raised:
        switching_answer(parse_head(raw))
    return raised.value.status, raised.value.code


@pytest.mark.parametrize("path", ["/", "/ws", "/foo/bar?x=1"])
def test_any_path_switches_and_the_key_is_answered(path: str) -> None:
    answer = switching_answer(parse_head(upgrade(path))).decode()
    assert answer.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    assert f"\r\nSec-WebSocket-Accept: {ACCEPT}\r\n" in answer
    assert answer.endswith("\r\n\r\n")


def test_neither_a_subprotocol_nor_an_extension_is_agreed_on() -> None:
    offer = upgrade(Sec_WebSocket_Protocol="chat", Sec_WebSocket_Extensions="permessage-deflate")
    answer = switching_answer(parse_head(offer)).lower()
    assert b"protocol:" not in answer
    assert b"extensions" not in answer


@pytest.mark.parametrize("version", ["", "8", "12", "14", "013", "13,8"])
def test_another_version_is_told_which_one_is_spoken(version: str) -> None:
    assert refusal(upgrade(Sec_WebSocket_Version=version)) == (426, "upgrade_required")


@pytest.mark.parametrize(
    "key", ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZTE=", "!" * 22 + "=="]
)
def test_a_key_that_is_not_sixteen_bytes_is_refused(key: str) -> None:
    assert refusal(upgrade(Sec_WebSocket_Key=key)) == (400, "bad_websocket_key")


def test_what_asks_for_no_websocket_is_refused() -> None:
    assert refusal(upgrade().replace(b"GET ", b"POST "))[0] == 400
    assert refusal(upgrade().replace(b"HTTP/1.1", b"HTTP/1.0"))[0] == 400
    assert refusal(upgrade(Upgrade="h2c"))[0] == 400
    assert refusal(upgrade(Connection="keep-alive"))[0] == 400
