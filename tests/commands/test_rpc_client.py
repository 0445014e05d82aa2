"""The client of the WebSocket side against a port that keeps to the protocol, and against ones that do not."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
from collections.abc import Iterator

import pytest

from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import Context
from loong_gateway.commands.rpc_client import ADMIN, READ, WRITE, RpcClient, RpcRefused, least_scope
from loong_gateway.commands.rpc_target import RpcTarget, rpc_target
from loong_gateway.owner.paths import resolve_places
from tests.fakes.gateway_port import SCOPES, Fault, GatewayPort, Hangup, Silence

TOKEN = "port-secret-0001"


@pytest.fixture(name="port")
def running_port() -> Iterator[GatewayPort]:
    with GatewayPort() as port:
        yield port


def target_of(tmp_path: pathlib.Path, url: str | None, token: str = TOKEN, **flags: str) -> RpcTarget:
    environ = {"LOONG_HOME": str(tmp_path / "home"), "LOONG_GATEWAY_TOKEN": token}
    context = Context(resolve_places({}, environ), environ, stdin=None, stdout=None, stderr=None)
    return rpc_target(argparse.Namespace(**{"url": url, "token_file": None, **flags}), context)


def connected(port: GatewayPort, tmp_path: pathlib.Path, *scopes: str, token: str = TOKEN) -> RpcClient:
    return RpcClient.connect(target_of(tmp_path, port.url, token), scopes or [READ])


def test_a_call_is_answered_past_events(port: GatewayPort, tmp_path: pathlib.Path) -> None:
    with connected(port, tmp_path) as client:
        assert client.hello["protocol"] == 4
        assert client.call("health", timeout_s=5) == port.answers["health"]
        assert client.call("system-presence", timeout_s=5) == port.answers["system-presence"]
    assert port.calls == [("health", {}, [READ]), ("system-presence", {}, [READ])]
    (hello,) = port.hellos
    assert (hello["client"]["id"], hello["client"]["mode"], hello["role"]) == ("cli", "cli", "operator")


def test_two_stages(port: GatewayPort, tmp_path: pathlib.Path) -> None:
    accepted, final = {"runId": "r", "status": "accepted"}, {"runId": "r", "status": "ok"}
    port.answers["agent"] = [accepted, final]
    params = {"message": "hi", "idempotencyKey": "r"}
    with connected(port, tmp_path, WRITE) as client:
        told: list[object] = []
        assert client.call("agent", params, timeout_s=5, on_accepted=told.append) == final
        assert told == [accepted]
        # The next call is not taken in by the second answer of one that did not wait for it.
        assert client.call("agent", params, timeout_s=5) == accepted
        assert client.call("health", timeout_s=5) == port.answers["health"]


def test_a_refusal_carries_code_text_and_payload(port: GatewayPort, tmp_path: pathlib.Path) -> None:
    port.answers["agent"] = Fault("UNAVAILABLE", "the model is away", {"status": "error"})
    with connected(port, tmp_path, WRITE) as client:
        with pytest.raises(RpcRefused, match="refused agent with UNAVAILABLE: the model is away") as caught:
            client.call("agent", {"message": "hi", "idempotencyKey": "r"}, timeout_s=5)
        assert (caught.value.said, caught.value.payload) == ("UNAVAILABLE", {"status": "error"})
        assert caught.value.exit_code == 1
        with pytest.raises(RpcRefused, match=r"FORBIDDEN: missing scope: operator\.admin"):
            client.call("secrets.reload", timeout_s=5)
        with pytest.raises(RpcRefused, match="unknown method: nothing"):
            client.call("nothing", timeout_s=5)


@pytest.mark.parametrize(
    ("answer", "code"),
    [(Silence, "rpc.no_answer"), (Hangup(), "rpc.closed"), (Hangup(1008, "slow consumer"), "rpc.closed")],
)
def test_no_answer(port: GatewayPort, tmp_path: pathlib.Path, answer: object, code: str) -> None:
    port.answers["status"] = answer
    with connected(port, tmp_path) as client, pytest.raises(CommandError) as caught:
        client.call("status", timeout_s=0.05 if answer is Silence else 5)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    if isinstance(answer, Hangup):
        assert ("it stops or restarts" in caught.value.message) == (answer.code == 1012)
        assert ("slow consumer" in caught.value.message) == (answer.code == 1008)


def test_a_wrong_token_is_named_by_its_place_and_never_shown(
    port: GatewayPort, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(CommandError) as caught:
        connected(port, tmp_path, token="another-secret")
    error = caught.value
    assert (error.code, error.where, error.exit_code) == ("rpc.unauthorized", "env LOONG_GATEWAY_TOKEN", 2)
    assert "AUTH_TOKEN_MISMATCH" in error.message
    assert "another-secret" not in f"{error.message}{error.fix}"


def challenge(**payload: object) -> str:
    return json.dumps({"type": "event", "event": "connect.challenge", "payload": payload})


@pytest.mark.parametrize(
    ("sends", "code"),
    [
        (["hello"], "rpc.bad_answer"),
        (["[1]"], "rpc.bad_answer"),
        (["[" * 100_000], "rpc.bad_answer"),
        ([json.dumps({"type": "event", "event": "tick"})], "rpc.bad_answer"),
        ([challenge(nonce=" ", ts=1)], "rpc.bad_answer"),
        ([], "rpc.closed"),
    ],
)
def test_a_server_that_does_not_keep_to_the_protocol(
    port: GatewayPort, tmp_path: pathlib.Path, sends: list[str], code: str
) -> None:
    port.handshake = lambda peer: [peer.send(text) for text in sends] and peer.receive()
    with pytest.raises(CommandError) as caught:
        connected(port, tmp_path)
    assert caught.value.code == code


def test_a_hello_of_another_protocol(port: GatewayPort, tmp_path: pathlib.Path) -> None:
    def old(peer):
        peer.send(challenge(nonce="n", ts=1))
        frame = json.loads(peer.receive())
        answer = {
            "type": "res",
            "id": frame["id"],
            "ok": True,
            "payload": {"type": "hello-ok", "protocol": 3},
        }
        peer.send(json.dumps(answer))
        peer.receive()

    port.handshake = old
    with pytest.raises(CommandError, match="its hello is not of protocol 4"):
        connected(port, tmp_path)


def test_nobody_there_and_no_web_socket(port: GatewayPort, tmp_path: pathlib.Path) -> None:
    port.refuse_next(403)
    with pytest.raises(CommandError, match="HTTP 403 instead of a WebSocket"):
        connected(port, tmp_path)
    with GatewayPort() as gone:
        url = gone.url
    with pytest.raises(CommandError) as caught:
        RpcClient.connect(target_of(tmp_path, url), [READ])
    assert (caught.value.code, caught.value.exit_code) == ("rpc.unreachable", 2)


@pytest.mark.parametrize("method", sorted(name for name, scope in SCOPES.items() if scope))
def test_the_least_scope_is_the_one_that_the_protocol_asks_for(method: str) -> None:
    assert least_scope(method) == SCOPES[method]


def test_what_is_not_known_is_asked_with_the_widest_scope() -> None:
    assert (least_scope("health"), least_scope("something.new")) == (READ, ADMIN)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1", "rpc.bad_url"),
        ("127.0.0.1:1", "rpc.bad_url"),
        ("ws://", "rpc.bad_url"),
        ("ws://[::1", "rpc.bad_url"),
        ("ws://x:99999", "rpc.bad_url"),
        ("ws://token@127.0.0.1:1", "rpc.bad_url"),
        ("ws://gateway.example.com:18789", "rpc.in_the_clear"),
        ("ws://8.8.8.8:18789", "rpc.in_the_clear"),
    ],
)
def test_addresses_that_are_not_taken(tmp_path: pathlib.Path, url: str, code: str) -> None:
    with pytest.raises(CommandError) as caught:
        target_of(tmp_path, url)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        *("ws://127.0.0.1:1", "ws://[::1]:1", "ws://localhost:1", "ws://10.0.0.5:1", "ws://100.64.1.2:1"),
        *("ws://nas.local:1", "ws://box.tail.ts.net:1", "wss://gateway.example.com", "ws://192.168.1.9"),
    ],
)
def test_addresses_that_are_taken(tmp_path: pathlib.Path, url: str) -> None:
    found = target_of(tmp_path, url)
    assert (found.is_remote, found.token) == (True, TOKEN)
    assert TOKEN not in repr(found)
    assert not (tmp_path / "home").exists()


def test_tokens_of_a_file(tmp_path: pathlib.Path) -> None:
    kept = tmp_path / "token"
    url = "ws://127.0.0.1:1"
    for text, code in ((None, "rpc.token_file"), ("", "rpc.token_file"), ("a b\tc", "rpc.token_file")):
        if text is not None:
            kept.write_text(text)
        with pytest.raises(CommandError) as caught:
            target_of(tmp_path, url, token_file=str(kept))
        assert (caught.value.code, caught.value.where) == (code, str(kept))
    kept.write_text("from-a-file\n")
    assert target_of(tmp_path, url, token_file=str(kept)).token == "from-a-file"
    with pytest.raises(CommandError) as caught:
        target_of(tmp_path, url, token="")
    assert caught.value.code == "rpc.no_token"
    with pytest.raises(CommandError) as caught:
        target_of(tmp_path, None, token_file=str(kept))
    assert caught.value.code == "rpc.token_alone"
    with pytest.raises(CommandError) as caught:
        target_of(tmp_path, None)
    assert caught.value.code == "control.not_running"


def test_a_token_file_that_says_nothing_is_given_up(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loong_gateway.commands.rpc_target.TOKEN_S", 0.05)
    silent = tmp_path / "silent"
    os.mkfifo(silent)
    # Somebody has it open and says nothing.
    writer = os.open(silent, os.O_RDWR)
    try:
        with pytest.raises(CommandError, match="it said nothing in time") as caught:
            target_of(tmp_path, "ws://127.0.0.1:1", token_file=str(silent))
    finally:
        os.close(writer)
    assert caught.value.code == "rpc.token_file"
