"""Many clients of a running gateway that all want the same at once."""

from __future__ import annotations

import collections
import pathlib
import threading
from typing import Callable

from tests.e2e.gateway import Gateway, config_for
from tests.e2e.test_rpc_life import connected
from tests.fakes.model import FakeModel
from tests.gateway.api.rpc.rpc_kit import WsClient
from tests.waiting import wait_until

CLIENTS = 16
PATIENCE_S = 20.0


def at_once(clients: list[WsClient], act: Callable[[int, WsClient], object]) -> list[object]:
    """What each client gets, all of them asking at the same moment."""
    ready = threading.Barrier(len(clients))
    found: list[object] = []

    def go(number: int, client: WsClient) -> None:
        ready.wait(PATIENCE_S)
        found.append(act(number, client))

    threads = [threading.Thread(target=go, args=one, daemon=True) for one in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert len(found) == len(clients)
    return found


def ask_same(number: int, client: WsClient) -> object:
    asked = {"message": f"m{number}", "idempotencyKey": "same", "sessionKey": f"s{number}"}
    return client.ask("agent", asked)["payload"]["status"]


def restart(_: int, client: WsClient) -> object:
    return client.ask("gateway.restart.request", {"reason": "storm"})["payload"]["status"]


def test_one_key_and_one_restart_for_all_who_ask_at_once(tmp_path: pathlib.Path) -> None:
    config = "[gateway]\ndrain_s = 0\n"
    with FakeModel() as model, Gateway(tmp_path, config_for(None, model, more=config)) as gateway:
        gateway.start()
        before = gateway.document()["instance_id"]
        model.fault("hold")
        clients = [connected(gateway) for _ in range(CLIENTS)]
        assert collections.Counter(at_once(clients, ask_same)) == {"accepted": 1, "in_flight": CLIENTS - 1}
        model.wait_calls(1)
        asked = collections.Counter(at_once(clients, restart))
        assert asked == {"scheduled": 1, "coalesced": CLIENTS - 1}
        assert {client.closed() for client in clients} == {(1012, "service restart")}
        wait_until(
            lambda: gateway.document().get("ready") and gateway.document()["instance_id"] != before,
            what="the next process",
        )
        with connected(gateway) as client:
            ended = client.ask("agent.wait", {"runId": "same", "timeoutMs": 10_000})["payload"]
            assert (ended["runId"], ended["status"]) == ("same", "ok")
            # Nobody waits for a second restart.
            assert client.ask("gateway.restart.preflight")["payload"]["safe"] is True
        assert len(set(model.questions())) == 1
        assert gateway.stop() == 0
