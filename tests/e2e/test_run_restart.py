"""Runs that a stop or a restart interrupts: on disk, answered by the next process, and found again by their ids."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.e2e.test_rpc_life import connected
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram
from tests.waiting import wait_until

RUNS = ("runs", "waits")


def test_the_command_waits_for_the_next_process(tmp_path: pathlib.Path) -> None:
    config = "[gateway]\ndrain_s = 0\n"
    with FakeModel() as model, Gateway(tmp_path, config_for(None, model, more=config)) as gateway:
        gateway.start()
        model.fault("hold")
        asking = subprocess.Popen(
            [*gateway.command, "agent", "--message", "hello"],
            env=gateway.environ,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        model.wait_calls(1)
        assert gateway.run("gateway", "restart").returncode == 0
        out, err = asking.communicate(timeout=20)
        assert (asking.returncode, err) == (0, "the gateway restarts; waiting for the run's answer\n")
        assert "hello" in out
        assert model.questions() == ["hello"] * 2
        assert gateway.stop() == 0


def test_commands_in_a_loop_do_not_see_a_restart(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, config_for(None, None)) as gateway:
        gateway.start()
        restarting = subprocess.Popen(
            [*gateway.command, "gateway", "restart"],
            env=gateway.environ,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
        )
        while restarting.poll() is None:
            for verb in (("gateway", "health"), ("gateway", "call", "status")):
                done = gateway.run(*verb)
                assert (done.returncode, done.stderr) == (0, "")
        assert restarting.wait() == 0
        assert gateway.stop() == 0


def test_a_message_that_the_drain_leaves_is_said_to_wait(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram, FakeModel() as model:
        telegram.add_private(1001)
        model.fault("hang", times=None)
        config = config_for(telegram, model, more="[gateway]\ndrain_s = 0.1\n")
        with Gateway(tmp_path, config) as gateway:
            gateway.start()
            telegram.say("one")
            model.wait_calls(1)
            assert gateway.terminate() == 0
            assert "; 1 message on disk for the next start\n" in gateway.output()


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
            assert "2 messages on disk for the next start" in gateway.output()
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
