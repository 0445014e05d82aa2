from __future__ import annotations

import json
import time
import uuid

import pytest
import websocket

from loong_gateway.api.auth import Auth
from tests.gateway.api.port_kit import CONTROL, SECRET, request
from tests.gateway.api.port_kit import Client as RawClient
from tests.gateway.api.rpc.rpc_kit import RpcPort, connect_params
from tests.gateway.api.rpc.schema import HELLO, check
from tests.waiting import wait_until


@pytest.fixture
def port():
    with RpcPort() as port:
        yield port


def test_the_challenge_comes_first_and_is_another_every_time(port: RpcPort) -> None:
    nonces = set()
    for _ in range(2):
        with port.open() as client:
            challenge = client.challenge
            assert challenge.keys() == {"type", "event", "payload"}
            assert challenge["event"] == "connect.challenge"
            assert challenge["payload"].keys() == {"nonce", "ts"}
            assert abs(challenge["payload"]["ts"] - time.time() * 1000) < 60_000
            nonces.add(uuid.UUID(challenge["payload"]["nonce"]))
    assert len(nonces) == 2


def test_hello_has_the_published_shape(port: RpcPort) -> None:
    with port.client() as client:
        hello = client.hello
        check(hello, HELLO)
        assert hello["auth"] == {"role": "operator", "scopes": ["operator.admin"]}
        methods = hello["features"]["methods"]
        assert methods == sorted(methods)
        assert {"agent", "agent.wait", "chat.send", "config.get", "health", "logs.tail"} <= set(methods)
        assert "published-model-catalog" in hello["features"]["capabilities"]
        assert {"tick", "health", "presence", "shutdown", "agent", "chat"} <= set(hello["features"]["events"])
        assert hello["snapshot"]["configPath"] == "/somewhere/config.toml"
        assert hello["snapshot"]["stateDir"] == "/somewhere/state"
        assert hello["snapshot"]["authMode"] == "token"
        assert hello["snapshot"]["presence"][0]["mode"] == "gateway"
        assert hello["policy"]["maxPayload"] == 26_214_400


@pytest.mark.parametrize("scopes", [["operator.read"], []])
def test_only_an_admin_is_told_where_things_are(port: RpcPort, scopes: list[str]) -> None:
    with port.client(scopes=scopes) as client:
        check(client.hello, HELLO)
        assert not {"configPath", "stateDir", "authMode"} & client.hello["snapshot"].keys()
        assert bool(client.hello["snapshot"]["presence"]) == bool(scopes)


def test_the_control_token_and_a_password_field_open_it_too(port: RpcPort) -> None:
    with port.client(token=CONTROL):
        pass
    with port.client(token=None, auth={"password": SECRET}):
        pass


def test_a_probe_may_be_older(port: RpcPort) -> None:
    with port.client(mode="probe", minProtocol=3, maxProtocol=3) as client:
        assert client.hello["protocol"] == 4


NOT_CONNECT = "invalid handshake: first request must be connect"
REFUSALS = [
    ("not_connect", {"type": "req", "id": "a", "method": "health"}, NOT_CONNECT, 1008),
    ("event", {"type": "event", "event": "tick"}, None, 1008),
    ("array", [], None, 1008),
    ("no_id", {"type": "req", "method": "connect"}, None, 1008),
    ("not_json", "hello", None, 1000),
    ("bad_params", {"type": "req", "id": "a", "method": "connect"}, "invalid connect params: must be object", 1008),
    ("version", connect_params(minProtocol=5, maxProtocol=6), "protocol mismatch", 1002),
    ("role", connect_params(role="boss"), "invalid role", 1008),
    ("node", connect_params(role="node"), "device identity required", 1008),
    ("missing", connect_params(token=None), "unauthorized: gateway token missing (provide gateway auth token)", 1008),
    ("empty", connect_params(token=""), "unauthorized: gateway token missing (provide gateway auth token)", 1008),
    ("wrong", connect_params(token="x"), "unauthorized: gateway token mismatch (provide gateway auth token)", 1008),
]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "message", "code"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_refusals(port: RpcPort, first: object, message: str | None, code: int, binary: bool) -> None:
    if isinstance(first, dict) and "client" in first:
        first = {"type": "req", "id": "a", "method": "connect", "params": first}
    text = first if isinstance(first, str) else json.dumps(first)
    with port.open() as client:
        client.raw(text.encode() if binary else text)
        reason = {1000: "", 1002: "protocol mismatch"}.get(code, message or "invalid request frame")
        assert client.closed() == (code, reason)
        if message is None:
            assert client.last == []
        else:
            [answer] = client.last
            assert (answer["id"], answer["ok"], answer["error"]["message"]) == ("a", False, message)
            assert answer["error"]["code"] == ("NOT_PAIRED" if "device" in message else "INVALID_REQUEST")
    assert not any(member for member in port.rpc._hub._members)


def test_a_long_reason_is_cut_at_a_character(port: RpcPort) -> None:
    with port.open() as client:
        client.connect(client={"id": "\u9f99" * 3000, "version": "x"})
        code, reason = client.closed()
        assert code == 1008
        assert len(reason.encode()) <= 120


def test_too_large_a_first_message(port: RpcPort) -> None:
    with port.open() as client:
        client.socket.sock.sendall(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"abcd")
        assert client.closed()[0] == 1009


def test_who_says_nothing_or_only_a_little_is_closed_in_time() -> None:
    with RpcPort(ws={"handshake_timeout_ms": 150}) as port, port.open() as client:
        client.socket.ping()
        client.socket.sock.sendall(b"\x81\x85abcdx")
        assert client.closed() == (1000, "")
        assert client.last == []


def test_a_gateway_that_starts_asks_to_come_again(port: RpcPort) -> None:
    port.control.has_started = False
    with port.open() as client:
        error = client.connect()["error"]
        assert error == {
            "code": "UNAVAILABLE",
            "message": "gateway starting; retry shortly",
            "details": {"reason": "startup-sidecars"},
            "retryable": True,
            "retryAfterMs": 500,
        }
        assert client.closed() == (1013, "gateway starting")


def test_a_gateway_that_stops_takes_nobody(port: RpcPort) -> None:
    port.control.failing = ("stopping",)
    with port.open() as client:
        assert client.connect()["error"]["retryable"] is True
        assert client.closed() == (1012, "service restart")


def test_a_locked_out_client_is_told_when_to_come_again() -> None:
    auth = Auth(secret=SECRET, control_token=CONTROL, attempts=2, exempt_loopback=False)
    with RpcPort(auth=auth) as port:
        for _ in range(2):
            with port.open() as client:
                assert client.connect(token="guess")["error"]["details"]["code"] == "AUTH_TOKEN_MISMATCH"
        with port.open() as client:
            error = client.connect()["error"]
            assert error["message"] == "unauthorized: too many failed authentication attempts (retry later)"
            assert error["details"]["code"] == "AUTH_RATE_LIMITED"
            assert error["retryable"] is True
            assert 0 < error["retryAfterMs"] <= 300_000
            assert client.closed() == (1008, error["message"])
        # One count for both sides of the port.
        with RawClient(port.address) as raw:
            assert raw.send(request("GET", "/v1/status", token="guess")).answer().status == 429


def test_a_page_from_elsewhere_does_not_get_as_far_as_the_handshake(port: RpcPort) -> None:
    for origin in ("https://evil.example", "null"):
        with pytest.raises(websocket.WebSocketBadStatusException) as raised:
            port.open(origin=origin)
        assert raised.value.status_code == 403
    with port.open(origin=f"http://127.0.0.1:{port.address[1]}") as client:
        assert client.connect()["ok"] is True


def test_proxy_fields_of_a_stranger_are_refused(port: RpcPort) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as raised:
        port.open(header=["X-Forwarded-For: 192.0.2.1"])
    assert raised.value.status_code == 403
    assert json.loads(raised.value.resp_body)["error"]["type"] == "proxy_attribution_required"


def test_too_many_handshakes_in_a_second_are_refused() -> None:
    with RpcPort(handshakes_per_s=2) as port:
        with port.open(), port.open(), pytest.raises(websocket.WebSocketBadStatusException) as raised:
            port.open()
        assert raised.value.status_code == 503


def test_clients_that_proved_themselves_have_a_cap_of_their_own() -> None:
    with RpcPort(max_clients=2) as port, port.client(), port.client(), port.open() as third:
        assert third.connect()["error"]["retryable"] is True
        assert third.closed()[0] == 1013


def test_refusals_are_counted_by_word(port: RpcPort) -> None:
    with port.open() as client:
        client.connect(token="x")
        client.closed()
    assert port.control.metrics.get("ws_refused:token_mismatch") == 1
    with port.client():
        pass
    wait_until(lambda: port.listener.counts() == (0, 0))
    assert port.control.metrics.get("ws_connections") == 2
