"""The published command against a real gateway: every verb that calls one, its exit code and its lines.

Skipped where the package is not there; CONTRIBUTING.md says how to get it.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.model import FakeModel
from tests.fakes.telegram import FakeTelegram
from tests.published.packages import ECHO, TOKEN, needs, node, serving
from tests.waiting import wait_until

WAIT_S = 40.0
FOLLOW_S = 15.0


class Command:
    """The published command, in a home of its own, configured for one gateway."""

    def __init__(self, directory: pathlib.Path, gateway: Gateway, token: str = TOKEN) -> None:
        self.url = f"ws://127.0.0.1:{gateway.port}"
        directory.mkdir(exist_ok=True)
        config = {
            "gateway": {"mode": "remote", "remote": {"url": self.url, "token": token}},
            "update": {"checkOnStart": False},
            "discovery": {"mdns": {"mode": "off"}},
        }
        (directory / "openclaw.json").write_text(json.dumps(config), encoding="utf-8")
        self.command = [node(), str(needs("openclaw") / "openclaw.mjs")]
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "OPENCLAW_HOME": str(directory),
            "OPENCLAW_STATE_DIR": str(directory / "state"),
            "OPENCLAW_CONFIG_PATH": str(directory / "openclaw.json"),
            "OPENCLAW_DISABLE_BONJOUR": "1",
            "NO_COLOR": "1",
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    @property
    def target(self) -> list[str]:
        """What verbs need that do not read their target from the config."""
        return ["--url", self.url, "--token", TOKEN]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    needs("openclaw")
    node()
    with FakeTelegram() as telegram:
        config = config_for(telegram, None, more=ECHO)
        with serving(tmp_path_factory.mktemp("published"), config) as running:
            yield running


@pytest.fixture(scope="module")
def command(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("openclaw"), gateway)


VERBS: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "call": (("gateway", "call", "health"), ('"ok": true',)),
    "call-status": (("gateway", "call", "status"), ('"runtimeVersion"',)),
    "gateway-health": (("gateway", "health"), ("OK",)),
    "gateway-status": (("gateway", "status"), ("Connectivity probe: ok",)),
    "gateway-status-rpc": (("gateway", "status", "--require-rpc"), ("probe: ok",)),
    "probe": (("gateway", "probe"), ("Reachable: yes", "Connect: ok", "Read probe: ok")),
    "health": (("health",), ("Agents: main (default)",)),
    "status": (("status",), ("reachable", "auth token")),
    "logs": (("logs", "--limit", "5"), ("Log file: ",)),
    "channels": (("channels", "status", "--probe"), ("Gateway reachable.", "enabled, configured, running")),
    "channels-works": (("channels", "status", "--probe"), (", works",)),
    "models": (("models", "list"), ("echo",)),
    "presence": (("system", "presence"), ('"mode": "gateway"', '"reason": "self"')),
    "agent": (("agent", "--agent", "main", "--message", "hi there"), ("echo: hi there",)),
    "secrets": (("secrets", "reload"), ("Secrets reloaded",)),
}
WITH_TARGET = ("gateway-health", "gateway-status", "gateway-status-rpc", "probe")


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_of_the_published_command_works(command: Command, name: str) -> None:
    arguments, wanted = VERBS[name]
    done = command(*arguments, *(command.target if name in WITH_TARGET else []))
    assert done.returncode == 0, done.stdout + done.stderr
    for text in wanted:
        assert text in done.stdout, done.stdout + done.stderr


def calling(command: Command, method: str, **params: object) -> dict[str, Any]:
    """What `gateway call` shows of the answer to a method."""
    done = command("gateway", "call", method, "--json", "--params", json.dumps(params))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_conversation_by_the_published_command_is_one(gateway: Gateway, tmp_path: pathlib.Path) -> None:
    with FakeModel() as model, serving(tmp_path, config_for(None, model)) as own:
        command = Command(tmp_path / "openclaw", own)
        for question in ("my name is Lin", "what is my name?"):
            done = command("agent", "--agent", "main", "--message", question)
            assert (done.returncode, done.stdout.strip()) == (0, f"re: {question}"), done.stderr
        seen = [message["content"] for message in model.calls[1].body["messages"]]
        assert seen == ["my name is Lin", "re: my name is Lin", "what is my name?"]
        history = calling(command, "chat.history", sessionKey="agent:main:main")["messages"]
        assert [one["content"][0]["text"] for one in history] == [*seen, "re: what is my name?"]
        (row,) = calling(command, "sessions.list", limit=5)["sessions"]
        assert (row["key"], calling(command, "sessions.resolve", key="main")["key"]) == (row["key"],) * 2
        (preview,) = calling(command, "sessions.preview", keys=[row["key"]])["previews"]
        assert [item["text"] for item in preview["items"]][-1] == "re: what is my name?"
        assert calling(command, "sessions.describe", key="main")["session"]["key"] == row["key"]
        assert calling(command, "sessions.reset", key="main")["ok"] is True
        assert calling(command, "chat.history", sessionKey="main")["messages"] == []


def test_the_published_command_restarts_a_gateway(gateway: Gateway, tmp_path: pathlib.Path) -> None:
    with serving(tmp_path, config_for(None, None, more=ECHO)) as own:
        command = Command(tmp_path / "openclaw", own)
        config = calling(command, "config.get")
        assert (config["valid"], config["parsed"]["gateway"]["mode"]) == (True, "local")
        before = own.document()["instance_id"]
        asked = calling(command, "gateway.restart.request", reason="a check")
        assert (asked["ok"], asked["status"], asked["preflight"]["safe"]) == (True, "scheduled", True)
        wait_until(lambda: own.document().get("instance_id", before) != before, WAIT_S, "another instance")
        own.wait_ready()
        health = command("gateway", "health", *command.target)
        assert (health.returncode, "OK" in health.stdout) == (0, True), health.stderr


def test_the_json_of_gateway_status_says_that_the_gateway_answered(command: Command) -> None:
    done = command("gateway", "status", *command.target, "--json")
    assert done.returncode == 0, done.stderr
    rpc = json.loads(done.stdout)["rpc"]
    assert (rpc["ok"], rpc["auth"]["scopes"]) == (True, ["operator.read"])


def test_logs_are_followed(command: Command, gateway: Gateway, tmp_path: pathlib.Path) -> None:
    said = tmp_path / "said.txt"
    with said.open("wb") as file:
        follower = subprocess.Popen(
            [*command.command, "logs", "--follow", "--limit", "3"],
            env=command.environ,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # It starts itself once more, and all of it must end.
            start_new_session=True,
        )
    try:
        seen = len(wait_until(lambda: said.read_bytes().splitlines()[1:], FOLLOW_S, "the first lines"))
        # A connection that was refused is in the log for sure.
        command("gateway", "health", "--url", command.url, "--token", "wrong-token")
        wait_until(lambda: len(said.read_bytes().splitlines()) > seen + 1, FOLLOW_S, "another line")
    finally:
        os.killpg(follower.pid, signal.SIGKILL)
        follower.wait(WAIT_S)


def test_a_wrong_token_is_told_and_fails(gateway: Gateway, tmp_path: pathlib.Path) -> None:
    done = Command(tmp_path / "stranger", gateway, token="not-the-token")("health")
    assert done.returncode == 1
    assert "unauthorized" in (done.stdout + done.stderr).lower()
