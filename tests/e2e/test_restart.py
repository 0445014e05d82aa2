"""A gateway that becomes a new process: the lock is never free, nothing is lost, and the status does not lie."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

import pytest

from loong_gateway.owner.lock import lock_state
from loong_gateway.owner.paths import resolve_places
from tests.e2e.gateway import Gateway, config_for
from tests.e2e.test_gateway_life import Terminal
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram
from tests.gateway.api.rpc.rpc_kit import WsClient
from tests.waiting import wait_until

PROVIDER = '[provider]\nkind = "echo"\nmodel = "echo"\n'


def control_token(gateway: Gateway) -> str:
    return (pathlib.Path(gateway.home) / "gateway-runtime" / "control-token").read_text().strip()


def instance(gateway: Gateway) -> object:
    return gateway.document().get("instance_id")


def test_the_lock_is_never_free_and_no_connection_is_refused(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        gateway.start()
        before, token = instance(gateway), control_token(gateway)
        places = resolve_places({}, gateway.environ)
        seen: set[tuple[bool, bool]] = set()
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                with socket.socket() as probe:
                    open_port = probe.connect_ex(("127.0.0.1", gateway.port)) == 0
                seen.add((lock_state(places).held, open_port))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        done = gateway.run("gateway", "restart")
        ended.set()
        watcher.join()
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("gateway restart requested\ngateway restarted: ready after ")
        assert done.stdout.endswith(f", pid {gateway.pid}\n")
        assert seen == {(True, True)}
        assert instance(gateway) != before
        assert control_token(gateway) != token
        status, code = gateway.status()
        assert (status["degraded_reasons"], code) == ([], 0)
        assert (status["phase"], status["pid"], status["port"]) == ("running", gateway.pid, gateway.port)
        # It came out of a restart: the next one waits, the one after it is the same one.
        later = json.loads(gateway.run("gateway", "restart", "--no-wait", "--json").stdout)
        assert (later["outcome"], later["due_in_s"] > 20, later["ready"]) == ("requested", True, False)
        again = gateway.run("gateway", "restart", "--no-wait")
        assert again.stdout.startswith("gateway restart already requested; it begins in ")
        assert gateway.stop() == 0
        assert gateway.status()[1] == 3


def test_messages_that_wait_are_answered_by_the_successor(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram, FakeModel() as model:
        telegram.add_private(1001)
        with Gateway(tmp_path, config_for(telegram, model)) as gateway:
            gateway.start()
            model.set_delay(0.3)
            telegram.say("one")
            model.wait_calls(1)
            assert gateway.run("gateway", "restart", "--no-wait").returncode == 0
            telegram.say("two")
            telegram.wait_messages(2)
            assert gateway.stop() == 0


def test_a_second_owner_is_refused_while_the_restart_drains(tmp_path: pathlib.Path) -> None:
    with FakeTelegram() as telegram, FakeModel() as model:
        telegram.add_private(1001)
        with Gateway(tmp_path, config_for(telegram, model)) as gateway:
            gateway.start()
            model.set_delay(0.8)
            telegram.say("one")
            model.wait_calls(1)
            assert gateway.run("gateway", "restart", "--no-wait").returncode == 0
            gateway.wait_status(lambda document: document["phase"] == "stopping")
            status, code = gateway.status()
            assert (status["lock_held"], status["ready"], code) == (True, False, 1)
            second = gateway.run("gateway", "run")
            assert second.returncode == 78
            assert f"pid={gateway.pid}" in second.stderr
            # A stop that comes in between is what counts.
            stopped = gateway.run("gateway", "stop")
            assert (stopped.returncode, gateway.wait_exit()) == (0, 0)
            telegram.wait_messages(1)
            assert gateway.status()[0]["shutdown_reason"] == "shutdown requested: gateway stop requested"


def test_a_configuration_that_would_not_start_is_refused_before_anything_stops(
    tmp_path: pathlib.Path,
) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        gateway.start()
        before = instance(gateway)
        gateway.write_config(PROVIDER + '[gateway]\nport = "x"\n')
        refused = gateway.run("gateway", "restart", "--json")
        assert refused.returncode == 1
        assert "the restart was refused, the gateway goes on as it is: config is invalid: " in refused.stderr
        assert "validate-config" in refused.stderr
        (finding,) = json.loads(refused.stdout)["error"]["findings"]
        assert "gateway.port" in finding
        gateway.write_config(PROVIDER + '[gateway]\nauth = { token = { env = "LOONG_NOT_THERE" } }\n')
        refused = gateway.run("gateway", "restart")
        assert (refused.returncode, "LOONG_NOT_THERE" in refused.stderr) == (1, True)
        assert (instance(gateway), gateway.status()[1]) == (before, 0)


def test_a_gateway_under_a_service_manager_ends_with_75(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER, environ={"INVOCATION_ID": "0" * 32}) as gateway:
        gateway.start()
        waiting = subprocess.Popen(
            [*gateway.command, "gateway", "restart"],
            env=gateway.environ,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
        )
        assert gateway.wait_exit() == 75
        assert gateway.status()[0]["shutdown_reason"] == "shutdown requested: gateway restarting"
        gateway.start()
        assert waiting.communicate(timeout=20)[0].startswith(b"gateway restart requested\ngateway restarted")
        assert waiting.returncode == 0


@pytest.mark.parametrize("broken", ["not a program", "gone"])
def test_an_interpreter_that_cannot_be_run_any_more(tmp_path: pathlib.Path, broken: str) -> None:
    interpreter = tmp_path / "python"
    interpreter.symlink_to(sys.executable)
    root = gateway_root()
    with Gateway(tmp_path, PROVIDER, command=[str(interpreter), root]) as gateway:
        gateway.environ["PYTHONPATH"] = os.path.dirname(root) + os.pathsep + os.pathsep.join(sys.path)
        gateway.start()
        interpreter.unlink()
        gateway.command = [sys.executable, root]
        if broken == "gone":
            refused = gateway.run("gateway", "restart")
            assert (refused.returncode, gateway.status()[1]) == (1, 0)
            assert f"{interpreter} cannot be run any more" in refused.stderr
            return
        interpreter.write_bytes(b"\x7fELF")
        interpreter.chmod(0o755)
        failed = gateway.run("gateway", "restart")
        assert gateway.wait_exit() == 70
        status, code = gateway.status()
        assert (code, status["phase"], status["lock_held"]) == (3, "failed", False)
        assert str(interpreter) in status["last_error"]
        assert (failed.returncode, "did not come back" in failed.stderr) == (1, True)


def test_a_kill_in_the_middle_of_a_restart_leaves_a_free_lock_and_the_truth(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        gateway.start()
        before = instance(gateway)
        places = resolve_places({}, gateway.environ)
        assert gateway.run("gateway", "restart", "--no-wait").returncode == 0
        wait_until(lambda: lock_state(places).holder.get("instance_id") != before, pause_s=0.001)
        gateway.signal(signal.SIGKILL)
        gateway.wait_exit()
        status, code = gateway.status()
        assert (code, status["phase"], status["lock_held"]) == (3, "failed", False)
        gateway.start()
        assert gateway.stop() == 0


def gateway_root() -> str:
    return str(pathlib.Path(__file__).resolve().parents[2] / "loong.py")


def test_clients_are_told_and_a_chat_on_the_terminal_goes_on(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        terminal = Terminal([*gateway.command, "gateway", "run", "--session", "demo"], gateway.environ)
        terminal.read_until("you> ")
        terminal.read_until("ready in ")
        terminal.type("before\n")
        terminal.read_until("loong> ")
        with WsClient(f"ws://127.0.0.1:{gateway.port}/") as client:
            client.next()
            client.connect(token=control_token(gateway))
            assert gateway.run("gateway", "restart").returncode == 0
            assert client.closed() == (1012, "service restart")
            (farewell,) = [one["payload"] for one in client.last if one.get("event") == "shutdown"]
            assert farewell == {"reason": "gateway restarting", "restartExpectedMs": 1500}
        again = len(terminal.seen)
        terminal.type("after the restart\n")
        terminal.read_until("loong> ", since=again)
        terminal.type("/exit\n")
        assert terminal.exit_code() == 0
