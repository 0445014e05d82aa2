"""Servers of the Model Context Protocol as real processes: started when wanted, kept, started again, ended."""

from __future__ import annotations

import os
import pathlib
import sys
import threading
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from loong_channels.faults import Interrupted
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.config.agent_snapshot import McpServer
from loong_gateway.config.secrets import SecretUnavailable, resolve
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.control.origin import Origin
from loong_gateway.tools.contract import Tool, ToolContext, ToolFailed
from loong_gateway.tools.mcp import McpServers, ServerWorld
from tests.waiting import wait_until

FAKE = str(pathlib.Path(__file__).parents[2] / "fakes" / "mcp_server.py")
PLAIN = ("-I", "-S", FAKE)


class Bench:
    """Servers over a clock that is set by hand."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.state = str(directory / "state")
        self.now = 100.0
        self.threads = ThreadRegistry()
        self.config = SimpleNamespace(
            path=str(directory / "config.toml"),
            mcp={},
            tools=SimpleNamespace(allow=()),
            gateway=SimpleNamespace(tools_allow=()),
        )
        self.secrets: list[str] = []
        self.servers: McpServers | None = None
        self.directory = directory

    def open(self, *, allow: tuple[str, ...] = ("mcp.one.*",), **servers: Mapping[str, Any]) -> McpServers:
        self.config.tools.allow = allow
        self.config.mcp = {
            name: McpServer(
                name,
                command=more.get("command", sys.executable),
                args=more.get("args", (*PLAIN, more.get("mode", "good"), self.state)),
                env=more.get("env", {}),
                pass_env=more.get("pass_env", ()),
                read_only=more.get("read_only", ()),
                cwd=more.get("cwd"),
                startup_timeout_ms=more.get("startup_timeout_ms", 15_000),
            )
            for name, more in servers.items()
        }
        environ = {"PATH": os.environ["PATH"], "FROM_US": "1", "THE_SECRET": "s3cr3t-value"}

        def secret(ref: SecretRef) -> str:
            self.secrets.append(resolve(ref, environ))
            return self.secrets[-1]

        def scrub(text: str) -> str:
            for one in self.secrets:
                text = text.replace(one, "***")
            return text

        world = ServerWorld(self.threads, environ, secret, scrub, lambda: self.now)
        self.servers = McpServers(lambda: self.config, world)  # type: ignore[arg-type,return-value]
        return self.servers

    def noted(self) -> list[str]:
        try:
            with open(self.state, encoding="utf-8") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.servers is not None:
        made.servers.close(Deadline(10))
    assert made.threads.join_all(Deadline(15)) == []
    for line in made.noted():
        if line.startswith("began "):
            with pytest.raises(ProcessLookupError):
                os.kill(int(line.split()[1]), 0)


def named(servers: McpServers) -> dict[str, Tool]:
    servers.prepare()
    return {tool.name: tool for tool in servers.tools()}


def call(tool: Tool, seconds: float = 20.0, stop: StopToken | None = None, **given: object) -> Any:
    context = ToolContext(Origin("turn", "run:1"), Deadline(seconds), stop or StopToken())
    return tool.run(given, context)


def fact(servers: McpServers, name: str = "one") -> Mapping[str, Any]:
    return next(row for row in servers.facts() if row["name"] == name)


def test_offers_the_tools_of_every_page_and_calls_them(bench: Bench) -> None:
    servers = bench.open(one={"read_only": ("blocks",)})
    tools = named(servers)
    assert next(iter(tools)) == "mcp.one.echo" and len(tools) == 9
    echo = tools["mcp.one.echo"]
    assert echo.description == "does echo"
    assert echo.schema == {"type": "object", "properties": {"text": {"type": "string"}}}
    # Its own word that it only reads counts for nothing.
    assert echo.acts and not tools["mcp.one.blocks"].acts
    assert call(echo, text="ü") == {"text": "ü"}
    assert call(tools["mcp.one.blocks"]) == {
        "text": "one\n[image image/png]\ninside\n[resource file:///b]\n[resource file:///c]",
        "structured": {"n": 1},
    }
    with pytest.raises(ToolFailed, match="no such city"):
        call(tools["mcp.one.fail"])
    assert fact(servers)["state"] == "ready" and fact(servers)["restarts"] == 0
    answers = wait_until(
        lambda: (got := [one for one in bench.noted() if "answered" in one]) and len(got) == 2 and got
    )
    assert answers == ["answered p None {}", "answered r -32601 None"]


def test_a_server_that_no_list_allows_is_never_started(bench: Bench) -> None:
    servers = bench.open(one={}, two={}, allow=("mcp.two.echo", "time"))
    servers.prepare()
    servers.tick()
    assert fact(servers, "one") == {
        "name": "one",
        "enabled": True,
        "allowed": False,
        "state": "stopped",
        "tools": [],
        "skipped": [],
        "restarts": 0,
        "last_error": None,
    }
    assert fact(servers, "two")["state"] == "ready" and len(bench.noted()) >= 1
    assert sum(line.startswith("began") for line in bench.noted()) == 1


def test_its_environment_is_what_was_named(bench: Bench) -> None:
    ref = SecretRef("env", "THE_SECRET", "mcp.servers.one.env.FAKE_SECRET")
    servers = bench.open(one={"env": {"FAKE_SECRET": ref, "A": "b c"}, "pass_env": ("FROM_US",)})
    seen = call(named(servers)["mcp.one.pid"])["structured"]["environ"]
    assert seen == {"PATH": os.environ["PATH"], "FROM_US": "1", "A": "b c", "FAKE_SECRET": "s3cr3t-value"}


def test_a_secret_that_cannot_be_had_is_said(bench: Bench) -> None:
    ref = SecretRef("env", "NOT_SET", "mcp.servers.one.env.X")
    servers = bench.open(one={"env": {"X": ref}})
    assert named(servers) == {}
    assert "NOT_SET" in fact(servers)["last_error"] and servers.problems() == ["mcp_failed:one"]
    with pytest.raises(SecretUnavailable):
        resolve(ref, {})


def test_what_it_dies_of_is_shown_without_its_secrets_and_not_told_the_model(bench: Bench) -> None:
    ref = SecretRef("env", "THE_SECRET", "mcp.servers.one.env.FAKE_SECRET")
    servers = bench.open(one={"env": {"FAKE_SECRET": ref}})
    with pytest.raises(ToolFailed) as raised:
        call(named(servers)["mcp.one.leak"])
    assert "exit code 4" in str(raised.value) and "password" not in str(raised.value)
    assert fact(servers)["last_error"] == "it ended with exit code 4; its last words: password is ***"


def test_dies_and_is_started_again_after_growing_pauses(bench: Bench) -> None:
    servers = bench.open(one={})
    with pytest.raises(ToolFailed, match="SIGKILL"):
        call(named(servers)["mcp.one.die"])
    assert servers.problems() == ["mcp_failed:one"]
    assert servers.tick() and named(servers) == {} and not servers.tick()
    bench.now += 1.0
    servers.tick()
    wait_until(lambda: fact(servers)["state"] == "ready")
    assert servers.problems() == [] and fact(servers)["restarts"] == 1
    tools = named(servers)
    with pytest.raises(ToolFailed):
        call(tools["mcp.one.die"])
    assert servers.problems() == ["mcp_failed:one"]
    bench.now += 1.0
    servers.tick()
    assert fact(servers)["state"] == "failed"
    bench.now += 1.0
    servers.tick()
    wait_until(lambda: fact(servers)["state"] == "ready")
    with pytest.raises(ToolFailed, match="SIGKILL"):
        call(tools["mcp.one.die"])
    assert servers.problems() == ["mcp_failed:one"]
    with pytest.raises(ToolFailed, match="does not run now"):
        call(tools["mcp.one.echo"], text="x")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("crash", "no module named nothing"),
        ("future", "no version of the protocol"),
        ("hang", "did not answer in time"),
    ],
)
def test_a_bad_start_is_said_and_tried_again_later(bench: Bench, mode: str, words: str) -> None:
    servers = bench.open(one={"mode": mode, "startup_timeout_ms": 100 if mode == "hang" else 15_000})
    assert named(servers) == {} and named(servers) == {}
    assert words in fact(servers)["last_error"] and fact(servers)["state"] == "failed"
    assert sum(line.startswith("began") for line in bench.noted()) <= 1


def test_a_program_that_is_not_there_and_one_of_an_older_version(bench: Bench) -> None:
    servers = bench.open(
        one={"command": "no-such-program-here"}, two={"mode": "old"}, allow=("mcp.one.*", "mcp.two.*")
    )
    tools = named(servers)
    assert call(tools["mcp.two.echo"], text="x") == {"text": "x"}
    assert fact(servers)["last_error"] == "it cannot be started: no such file or directory"
    assert servers.problems() == ["mcp_failed:one"]


def test_tools_that_cannot_be_offered_are_left_out_and_named(bench: Bench) -> None:
    servers = bench.open(one={"mode": "odd"})
    assert list(named(servers)) == ["mcp.one.a_b_c"]
    skipped = fact(servers)["skipped"]
    assert [one.partition(":")[0][:5] for one in skipped] == [
        "a_b_c",
        "xxxxx",
        "one w",
        "array",
        "large",
        "one w",
        "one w",
    ]


@pytest.mark.parametrize("mode", ["endless", "no_tools"])
def test_a_server_without_tools_and_a_list_without_end(bench: Bench, mode: str) -> None:
    servers = bench.open(one={"mode": mode})
    assert named(servers) == {} and fact(servers)["state"] == "ready"


def test_a_list_that_changed_is_read_again(bench: Bench) -> None:
    servers = bench.open(one={})
    # The text was the same once more.
    assert call(named(servers)["mcp.one.grow"]) == {"structured": {"ok": True}}
    wait_until(lambda: servers.tick() or "mcp.one.grown" in named(servers))


def test_is_started_in_the_background_and_nobody_who_looks_waits(bench: Bench) -> None:
    servers = bench.open(one={}, two={"mode": "hang"}, allow=("mcp.one.*", "mcp.two.*"))
    assert servers.tools() == []
    servers.tick()
    wait_until(lambda: len(servers.tools()) == 9)
    assert fact(servers, "two")["state"] == "starting"


def test_a_call_that_is_given_up_is_cancelled_there(bench: Bench) -> None:
    servers = bench.open(one={})
    wait = named(servers)["mcp.one.wait"]
    with pytest.raises(ToolFailed, match="in time"):
        call(wait, seconds=0.05)
    stop = StopToken()
    done = threading.Event()

    def stopped() -> None:
        with pytest.raises(Interrupted):
            call(wait, stop=stop)
        done.set()

    thread = bench.threads.spawn("call", stopped)
    wait_until(lambda: bench.noted().count("waits") == 2)
    stop.set()
    thread.join(20)
    assert done.is_set()
    wait_until(lambda: sum(line.startswith("cancelled") for line in bench.noted()) == 2)


def test_a_flood_costs_the_flooding_server_alone(bench: Bench) -> None:
    servers = bench.open(one={}, two={}, allow=("mcp.one.*", "mcp.two.*"))
    tools = named(servers)
    with pytest.raises(ToolFailed, match="more than anybody can read"):
        call(tools["mcp.one.flood"])
    assert call(tools["mcp.two.echo"], text="x") == {"text": "x"}
    assert servers.problems() == ["mcp_failed:one"]


def test_nobody_waits_for_a_server_that_failed_before(bench: Bench) -> None:
    servers = bench.open(one={"mode": "hang", "startup_timeout_ms": 100})
    assert named(servers) == {}
    begun = len(bench.noted())
    bench.now += 3600
    assert named(servers) == {} and len(bench.noted()) == begun


def test_closing_ends_calls_and_starts(bench: Bench) -> None:
    servers = bench.open(one={}, two={"mode": "hang"}, allow=("mcp.one.*", "mcp.two.*"))
    bench.config.tools.allow = ("mcp.one.*",)
    wait = named(servers)["mcp.one.wait"]
    failed: list[Exception] = []

    def waits() -> None:
        with pytest.raises(ToolFailed) as raised:
            call(wait)
        failed.append(raised.value)

    bench.config.tools.allow = ("mcp.one.*", "mcp.two.*")
    starting = bench.threads.spawn("starting", servers.prepare)
    calling = bench.threads.spawn("calling", waits)
    wait_until(lambda: "waits" in bench.noted() and fact(servers, "two")["state"] == "starting")
    servers.close(Deadline(10))
    calling.join(20)
    starting.join(20)
    assert failed and fact(servers)["state"] == "stopped"
    assert named(servers) == {}
