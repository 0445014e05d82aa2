"""The published runbook of the port, walked word for word with `loong` as the program."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import subprocess
from collections.abc import Iterator

from tests.commands.test_port_verbs import Lines
from tests.e2e.gateway import Gateway, config_for, free_port
from tests.fakes.telegram import FakeTelegram

ECHO = '[provider]\nkind = "echo"\nmodel = "echo"\n'
HEALTHY = "Gateway is running and ready: 1 of 1 surface ready.\nRuntime: running\nRPC probe: ok\n"
RESTARTED = "gateway restart requested\ngateway restarted: ready after "


@contextlib.contextmanager
def started(directory: pathlib.Path) -> Iterator[Gateway]:
    """A gateway with one account, started as the runbook does."""
    with FakeTelegram() as telegram, Gateway(directory, config_for(telegram, None, more=ECHO)) as gateway:
        gateway.arguments = ["gateway", "--port", str(gateway.port), "--verbose"]
        gateway.start()
        yield gateway


def step(gateway: Gateway, line: str, code: int = 0) -> str:
    """What a line of the runbook prints: on stdout, or on stderr when it must fail."""
    done = gateway.run(*line.split())
    assert done.returncode == code, f"{line}: {done.stdout}{done.stderr}"
    return done.stderr if code else done.stdout


@contextlib.contextmanager
def followed(gateway: Gateway) -> Iterator[Lines]:
    """What `logs --follow` prints until Ctrl-C."""
    follower = subprocess.Popen(
        [*gateway.command, "logs", "--follow"],
        env=gateway.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Lines(follower.stdout)
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
        assert follower.stdout is not None
        follower.stdout.close()


def test_the_first_five_minutes(tmp_path: pathlib.Path) -> None:
    with started(tmp_path) as gateway:
        assert step(gateway, "gateway status").startswith(HEALTHY)
        assert step(gateway, "status").startswith("Ready. ")
        channels = step(gateway, "channels status --probe")
        assert channels.startswith(
            HEALTHY.split("\n", maxsplit=1)[0] + " 1 of 1 account answered the probe.\n"
        )
        assert step(gateway, "health").startswith("Gateway answers in ")
        assert "\nConnect: ok " in step(gateway, "gateway probe")
        called = json.loads(step(gateway, "gateway call health"))
        assert (called["ok"], called["channels"]["telegram"]["connected"]) == (True, True)


def test_the_operators_commands(tmp_path: pathlib.Path) -> None:
    with started(tmp_path) as gateway:
        with followed(gateway) as log:
            log.wait_for("telegram")
        deep = step(gateway, "gateway status --deep")
        assert deep.startswith(f"{HEALTHY}Status call: ok\n")
        document = json.loads(step(gateway, "gateway status --json"))
        found = (document["phase"], document["ready"], document["rpc_probe"], document["port"])
        assert found == ("running", True, "ok", gateway.port)
        assert step(gateway, "secrets reload").split("\n")[0].endswith(": unchanged")
        assert "checks pass" in step(gateway, "doctor")
        assert step(gateway, "gateway restart").startswith(RESTARTED)
        assert step(gateway, "gateway stop") == "gateway stop requested\ngateway stopped\n"
        assert gateway.wait_exit() == 0


def test_the_signatures_of_failures(tmp_path: pathlib.Path) -> None:
    with started(tmp_path) as gateway:
        start = f"gateway --port {gateway.port}"
        assert f"gateway owner already active at {gateway.home}" in step(gateway, start, 78)
        with Gateway(tmp_path / "other", ECHO) as other:
            busy = f"port {gateway.port} on 127.0.0.1 is taken by pid {gateway.pid} "
            assert busy in step(other, start, 78)
            another = f"gateway --port {free_port()}"
            assert "refusing to bind gateway to lan without auth" in step(other, f"{another} --bind lan", 78)
            other.write_config(f'{ECHO}[gateway]\nmode = "remote"\n')
            blocked = step(other, another, 78)
            assert blocked.startswith("error: gateway start blocked: gateway.mode is remote, not local\n")
            other.environ["LOONG_GATEWAY_TOKEN"] = "wrong"
            there = f"health --url ws://127.0.0.1:{gateway.port}"
            assert step(other, there, 2).startswith("error: unauthorized: ")
            # A gateway that is not there is said to be so, and nothing else is asked in its place.
            for line in ("health", "gateway call health"):
                assert "error: the gateway is not running\n" in step(other, line, 2), line
