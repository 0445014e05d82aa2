"""Runs that a stop or a restart interrupts: on disk, answered by the next process, and found again by their ids."""

from __future__ import annotations

import pathlib

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.e2e.test_rpc_life import connected
from tests.fakes.model import FakeModel
from tests.waiting import wait_until

RUNS = ("runs", "waits")


@pytest.mark.parametrize("how", ["stop", "restart"])
def test_what_the_drain_leaves_is_answered_by_the_next_process(tmp_path: pathlib.Path, how: str) -> None:
    config = "[gateway]\ndrain_s = 0\n"
    with FakeModel() as model, Gateway(tmp_path, config_for(None, model, more=config)) as gateway:
        gateway.start()
        before = gateway.document()["instance_id"]
        model.fault("hold")
        with connected(gateway) as client:
            for run in RUNS:
                asked = {"sessionKey": "main", "message": run, "idempotencyKey": run}
                assert client.ask("chat.send", asked)["payload"]["status"] == "started"
            model.wait_calls(1)
            if how == "restart":
                assert gateway.run("gateway", "restart", "--no-wait").returncode == 0
            else:
                gateway.process.terminate()
            assert client.closed()[0] == 1012
        if how == "restart":
            wait_until(
                lambda: (
                    gateway.document().get("phase") == "running"
                    and gateway.document()["instance_id"] != before
                ),
                what="the next process",
            )
        else:
            assert gateway.wait_exit() == 0
            gateway.start()
        with connected(gateway) as client:
            for run in RUNS:
                ended = client.ask("agent.wait", {"runId": run, "timeoutMs": 10_000})["payload"]
                assert (ended["runId"], ended["status"]) == (run, "ok")
            said = client.ask("chat.history", {"sessionKey": "main"})["payload"]["messages"]
            asked_texts = [one["content"][0]["text"] for one in said if one["role"] == "user"]
            assert asked_texts == list(RUNS)
            again = {"sessionKey": "main", "message": "runs", "idempotencyKey": "runs"}
            assert client.ask("chat.send", again)["payload"]["status"] == "ok"
        assert model.questions() == ["runs", "runs", "waits"]
        assert gateway.stop() == 0
