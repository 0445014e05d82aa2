"""The verbs that ask over the WebSocket side, against a real gateway: here, by its address, and over a restart."""

from __future__ import annotations

import json
import pathlib
import signal

from loong_gateway.commands.rpc_client import least_scope
from tests.commands.loong_cli import Loong
from tests.commands.test_port_verbs import Lines, follow
from tests.e2e.gateway import Gateway
from tests.gateway.api.rpc.rpc_kit import WsClient
from tests.waiting import wait_until

PROVIDER = '[provider]\nkind = "echo"\nmodel = "echo"\n'


def token_of(gateway: Gateway) -> str:
    return (pathlib.Path(gateway.home) / "gateway-runtime" / "control-token").read_text().strip()


def test_a_real_gateway_answers_here_and_by_its_address(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        gateway.start()
        health = gateway.run("gateway", "health")
        assert (health.returncode, health.stdout.startswith("Gateway answers")) == (0, True), health.stderr
        called = gateway.run("gateway", "call", "system-presence")
        assert (called.returncode, json.loads(called.stdout)[0]["mode"]) == (0, "gateway")
        unknown = gateway.run("gateway", "call", "no.such.method")
        assert (unknown.returncode, "unknown method: no.such.method" in unknown.stderr) == (1, True)
        probe = json.loads(gateway.run("gateway", "probe", "--json").stdout)
        assert probe["auth"]["scopes"] == ["operator.read"]
        kept = tmp_path / "token"
        kept.write_text(token_of(gateway))
        there = ("--url", f"ws://127.0.0.1:{gateway.port}", "--token-file", str(kept))
        elsewhere = {"LOONG_HOME": str(tmp_path / "never")}
        assert gateway.run("health", *there, environ=elsewhere).returncode == 0
        kept.write_text("wrong")
        refused = gateway.run("health", *there, environ=elsewhere)
        assert (refused.returncode, "unauthorized" in refused.stderr) == (2, True)
        assert not (tmp_path / "never").exists()


def test_every_question_of_the_verbs_is_answered(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        gateway.start()
        probe = gateway.run("gateway", "probe", "--json")
        assert (probe.returncode, [call["ok"] for call in json.loads(probe.stdout)["calls"]]) == (
            0,
            [True] * 4,
        )
        deep = gateway.run("gateway", "status", "--deep")
        assert (deep.returncode, "\nStatus call: ok\n" in deep.stdout) == (0, True)
        assert gateway.run("status", "--deep").stdout.rstrip().endswith("Status call: ok")
        kept = tmp_path / "token"
        kept.write_text(token_of(gateway))
        there = ("--url", f"ws://127.0.0.1:{gateway.port}", "--token-file", str(kept))
        for verb in (
            ("gateway", "status"),
            ("channels", "status"),
            ("logs",),
            ("secrets", "reload"),
            ("agent", "--message", "hello"),
        ):
            done = gateway.run(*verb, *there)
            assert done.returncode == 0, (verb, done.stderr)


def test_the_scope_of_a_call_is_the_least_that_the_gateway_takes(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        gateway.start()
        open_to: dict[str, set[str]] = {}
        for scope in ("operator.read", "operator.write"):
            with WsClient(f"ws://127.0.0.1:{gateway.port}/") as client:
                client.next()
                hello = client.connect(token=token_of(gateway), scopes=[scope])["payload"]
                methods = [name for name in hello["features"]["methods"] if name != "connect"]
                # Without parameters: what is allowed is refused for them, or harmless. Few refusals fit into a minute.
                asked = [name for name in methods if least_scope(name) in ("operator.read", scope)]
                open_to[scope] = {
                    name for name in asked if client.ask(name).get("error", {}).get("code") != "FORBIDDEN"
                }
                assert open_to[scope] == set(asked)
        assert {"health", "logs.tail", "config.get", "agent.wait"} <= open_to["operator.write"]


def test_following_the_log_goes_on_over_a_restart(tmp_path: pathlib.Path) -> None:
    with Gateway(tmp_path, PROVIDER) as gateway:
        gateway.start()
        loong = Loong(tmp_path)
        process = follow(loong, "--lines", "0", **gateway.environ)
        try:
            out = Lines(process.stdout)
            log = pathlib.Path(gateway.home, "logs", "gateway.log")

            def follows() -> bool:
                with log.open("a") as file:
                    file.write('{"level": "info", "logger": "loong.test", "message": "are you there"}\n')
                return any("are you there" in line for line in out.seen)

            wait_until(follows, pause_s=0.1)
            assert gateway.run("gateway", "restart").returncode == 0
            out.wait_for("stopped: gateway restarting")
            assert sum("stopped: gateway restarting" in line for line in out.seen) == 1
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
            process.stdout.close()
            process.stderr.close()
