"""The pages about the port, held against the tables that the gateway itself answers from."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

from loong_gateway.api.hooks import hook_auth
from loong_gateway.api.port import ENDPOINT_OF, all_routes
from loong_gateway.api.rpc.connect import ALL_SCOPES, CLIENT_IDS, CLIENT_MODES
from loong_gateway.api.rpc.events import EVENTS
from loong_gateway.api.rpc.health import HealthBoard
from loong_gateway.api.rpc.methods import all_methods
from loong_gateway.api.rpc.presence import Presence
from loong_gateway.api.rpc.probing import Prober
from loong_gateway.api.rpc.toolbox import Toolbox
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.pool import Pool
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers
from loong_gateway.config.settings import HTTP_ENDPOINTS
from tests.e2e.world import staged
from tests.gateway.api.rpc.rpc_kit import RpcGateway
from tests.gateway.api.whole_port import ENVIRON, HOOK_TOKEN, WholeGateway

DOCS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs"
RPC = (DOCS / "rpc.md").read_text(encoding="utf-8")
PORT = (DOCS / "port.md").read_text(encoding="utf-8")
METHOD_ROW = re.compile(r"^\| `([^`]+)` \| (?:`([^`]+)`|none) \|", re.MULTILINE)


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next one of its rank."""
    rank = title.partition(" ")[0]
    start = page.index(f"\n{title}\n") + 1
    body = start + len(title)
    end = re.search(rf"^#{{1,{len(rank)}}} ", page[body:], re.MULTILINE)
    return page[start:] if end is None else page[start : body + end.start()]


def listed(page: str, title: str) -> list[str]:
    """The words in code of the first column of the tables under a heading."""
    rows = re.findall(r"^\| ([^|]*`[^|]*) \|", section(page, title), re.MULTILINE)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def test_the_methods_and_their_scopes_are_those_of_the_table() -> None:
    control, threads = RpcGateway(), ThreadRegistry()
    prober = Prober(control, Pool("rpc", threads, threads=1, waiting=1, weight=1), Timers("t", threads))
    toolbox = Toolbox(HealthBoard(control, wall_ms), Presence(wall_ms, None), prober, dict, wall_ms, str)
    found = METHOD_ROW.findall(section(RPC, "## Methods"))
    assert dict(found) == {method.name: method.scope or "" for method in all_methods(control, toolbox)}
    assert len(dict(found)) == len(found), "a method stands there twice"


def test_the_events_are_those_that_hello_lists() -> None:
    assert listed(RPC, "## Events")[: len(EVENTS)] == list(EVENTS)


def test_scopes_modes_and_own_names_of_clients_are_those_that_are_known() -> None:
    connect = section(RPC, "## Connect")
    scopes = set(re.findall(r"`(operator\.[a-z.]+)`", connect))
    assert scopes == set(ALL_SCOPES)
    rows = {
        row[0]: set(re.findall(r"`([^`]+)`", row[1]))
        for row in re.findall(r"^\| `([^`]+)` \| (.*) \|$", connect, re.MULTILINE)
    }
    assert rows["client.mode"] == set(CLIENT_MODES)
    assert rows["client.id"] - {"openclaw-"} == {
        name for name in CLIENT_IDS if not name.startswith("openclaw-")
    }


def test_the_paths_are_those_of_the_routes() -> None:
    control = WholeGateway()
    routes = all_routes(control, control.applied, ENVIRON, hook_auth(HOOK_TOKEN))
    answered = {(route.method, route.path) for route in routes if route.access != "own"}
    below = {route.path for route in routes if route.is_prefix}
    found = [tuple(one.split(" ")) for one in listed(PORT, "## Paths")]
    named = {one for one in found if "{" not in one[1] and not one[1].startswith("/hooks/")}
    assert named == answered
    assert len(set(found)) == len(found), "a path stands there twice"
    assert {path.rpartition("/")[0] for _, path in set(found) - named} == below


def test_the_endpoints_that_can_be_switched_off_are_named() -> None:
    text = section(PORT, "## Paths")
    for name in HTTP_ENDPOINTS:
        assert f"`{name}`" in text
    assert set(ENDPOINT_OF.values()) == set(HTTP_ENDPOINTS)


@pytest.mark.parametrize("page", ["rpc.md", "port.md", "operations.md", "sessions.md"])
def test_links_to_headings_lead_to_one(page: str) -> None:
    for name, anchor in re.findall(r"\]\(([a-z]*(?:\.md)?)#([^)]+)\)", (DOCS / page).read_text("utf-8")):
        headings = re.findall(r"^#+ (.*)$", (DOCS / (name or page)).read_text("utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
        assert anchor in anchors, f"{page}: {name}#{anchor}"


def test_the_program_of_the_page_talks_to_a_gateway(tmp_path: pathlib.Path) -> None:
    program = re.search(r"```python\n(.*?)```", RPC, re.DOTALL)
    assert program is not None
    with staged(tmp_path) as (gateway, _, _):
        gateway.start()
        with open(gateway.document()["token_path"], encoding="ascii") as file:
            token = file.read().strip()
        done = subprocess.run(
            [sys.executable, "-c", program.group(1)],
            env={**os.environ, "TOKEN": token, "URL": f"ws://127.0.0.1:{gateway.port}/"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    connected, answer = done.stdout.splitlines()
    assert connected == f"connected to loong {gateway.document()['version']}"
    assert "hello" in answer
