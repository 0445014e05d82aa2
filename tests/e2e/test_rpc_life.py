"""The WebSocket side of a running gateway: from a real start to a real stop, and what idle clients cost."""

from __future__ import annotations

import json
import os
import pathlib
import socket
import sys

import pytest
import websocket

from tests.e2e.gateway import Gateway, config_for
from tests.e2e.world import staged
from tests.fakes.model import FakeModel
from tests.gateway.api.rpc.rpc_kit import WsClient
from tests.gateway.api.rpc.schema import HELLO, check
from tests.waiting import wait_until

CLIENTS = 200
# What a client that is connected and says nothing may cost.
CLIENT_BYTES = 150_000


def connected(gateway: Gateway, **changes: object) -> WsClient:
    with open(gateway.document()["token_path"], encoding="ascii") as file:
        token = file.read().strip()
    client = WsClient(f"ws://127.0.0.1:{gateway.port}/")
    client.challenge = client.next()
    answer = client.connect(token=token, **changes)
    assert answer["ok"] is True, answer
    client.hello = answer["payload"]
    return client


def rss(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def test_a_client_lives_through_the_life_of_a_gateway(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path) as (gateway, _, _):
        gateway.start()
        with connected(gateway) as client:
            check(client.hello, HELLO)
            snapshot = client.hello["snapshot"]
            assert snapshot["configPath"] == gateway.config_path
            assert snapshot["stateDir"] == gateway.home
            assert snapshot["health"]["channels"]["telegram"]["accounts"]
            health = client.ask("health", {"probe": True})["payload"]
            assert health["channels"]["telegram"]["probe"]["ok"] is True
            gateway.process.terminate()
            assert client.closed() == (1012, "service restart")
            shutdown = [one["payload"] for one in client.last if one["event"] == "shutdown"]
            assert shutdown == [{"reason": "gateway stopping"}]
        assert gateway.wait_exit() == 0


def test_a_run_that_a_stop_cuts_off_is_said_to_wait(tmp_path: pathlib.Path) -> None:
    with FakeModel() as model:
        model.fault("hang", times=None)
        config = config_for(None, model, more="[gateway]\ndrain_s = 0.1\n")
        with Gateway(tmp_path, config) as gateway:
            gateway.start()
            with connected(gateway) as client:
                client.ask("agent", {"message": "hello", "idempotencyKey": "k", "sessionKey": "s"})
                model.wait_calls(1)
                status = gateway.run("status").stdout
                assert ("; 1 is waiting; " in status, "0, 1 running now" in status) == (True, True), status
                assert gateway.terminate() == 0
            assert "; 1 message on disk for the next start\n" in gateway.output()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_clients_that_say_nothing_cost_little_and_leave_nothing(tmp_path: pathlib.Path) -> None:
    more = f"[gateway]\nmax_clients = {CLIENTS + 8}\n"
    with Gateway(tmp_path, config_for(None, None, more=more)) as gateway:
        gateway.start()
        idle = threads(gateway.pid)
        with connected(gateway):
            pass
        before = rss(gateway.pid)
        clients = [connected(gateway, scopes=["operator.read"]) for _ in range(CLIENTS)]
        try:
            each = (rss(gateway.pid) - before) / CLIENTS
            assert each < CLIENT_BYTES
            assert clients[-1].ask("health")["ok"] is True
        finally:
            for client in clients:
                client.socket.shutdown()
        # One that has worked may rest for a moment.
        wait_until(lambda: threads(gateway.pid) <= idle + 1)
        print(f"{each:.0f} bytes for each idle client")
        assert gateway.terminate() == 0


def test_a_program_of_this_user_needs_no_token_at_the_socket(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, config_for(None, None, more="[gateway]\nsocket = true\n")) as gateway:
        gateway.start()
        path = os.path.join(gateway.home, "gateway.sock")
        before = gateway.document()["instance_id"]
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(10)
            raw.connect(path)
            client = websocket.create_connection("ws://localhost/", socket=raw, timeout=10)
            assert json.loads(client.recv())["event"] == "connect.challenge"
            about = {"id": "cli", "mode": "cli", "version": "1", "platform": "linux"}
            params = {"minProtocol": 4, "maxProtocol": 4, "client": about, "scopes": ["operator.admin"]}
            client.send(json.dumps({"type": "req", "id": "1", "method": "connect", "params": params}))
            hello = json.loads(client.recv())
            assert (hello["ok"], hello["payload"]["auth"]["scopes"]) == (True, ["operator.admin"])
            client.send(json.dumps({"type": "req", "id": "2", "method": "gateway.restart.request"}))
        wait_until(
            lambda: gateway.document().get("instance_id") not in (before, None) and os.path.exists(path)
        )
        assert gateway.terminate() == 0
        assert not os.path.exists(path)
