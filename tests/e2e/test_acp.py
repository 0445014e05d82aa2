"""Outside agents behind a real gateway: by chat, by command, over a kill and a stop."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.gateway import Gateway, config_for
from tests.fakes.telegram import FakeTelegram
from tests.waiting import wait_until

AGENT = pathlib.Path(__file__).parents[1] / "fakes" / "acp_agent.py"


class World:
    def __init__(self, telegram: FakeTelegram, gateway: Gateway, notes: pathlib.Path) -> None:
        self.telegram = telegram
        self.gateway = gateway
        self._notes = notes

    def notes(self, *first: str) -> list[list[Any]]:
        if not self._notes.exists():
            return []
        lines = [json.loads(line) for line in self._notes.read_text().splitlines()]
        return [line for line in lines if line[: len(first)] == list(first)]

    def prompts(self) -> list[str]:
        return [params["prompt"][0]["text"] for _, _, params in self.notes("request", "session/prompt")]


@pytest.fixture(name="world")
def _world(tmp_path: pathlib.Path) -> Iterator[World]:
    work, notes = tmp_path / "work", tmp_path / "notes"
    work.mkdir()
    more = f"""
[acp]
enabled = true
[acp.backends.codex]
command = "{sys.executable}"
args = ["{AGENT}", "good", "{notes}"]
cwd = "{work}"
"""
    config = '[provider]\nkind = "echo"\n' + config_for(None, None, more=more)
    with FakeTelegram() as telegram:
        telegram.add_private(1001)
        with Gateway(tmp_path, config + config_for(telegram, None)) as gateway:
            gateway.start()
            yield World(telegram, gateway, notes)


def test_who_calls_an_agent_is_answered_by_it_and_others_by_the_model(world: World) -> None:
    world.telegram.say("@codex look at this")
    world.telegram.say("hello")
    first, second = world.telegram.wait_messages(2)
    assert first.text == "echo: look at this"
    assert "hello" in second.text
    assert world.prompts() == ["look at this"]
    asked = world.gateway.run("ask", "--acp", "--message", "and this")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "echo: and this\n", "")
    status = json.loads(world.gateway.run("status", "--json").stdout)["acp"]
    assert (status["availability"], status["persisted_session_count"]) == ("available", 2)
    wait_until(lambda: world.gateway.document()["acp"]["turns"]["completed"] == 2)
    snapshot = json.loads(world.gateway.run("acp-observability", "--json").stdout)["snapshot"]
    assert snapshot["sessions"]["activation_origin_counts"] == {
        "automatic_agent_prefixed": 1,
        "explicit_request": 1,
    }
    sessions = json.loads(world.gateway.run("list-acp-sessions", "--json").stdout)["sessions"]
    assert {one["state"] for one in sessions} == {"ready"}
    bound = next(one for one in sessions if one["binding"])
    assert bound["binding"]["conversation_id"] == "1001" and bound["binding"]["account_id"]
    # The agents end with the gateway.
    assert world.gateway.stop() == 0
    assert len(world.notes("input closed")) == 2
    stored = json.loads(world.gateway.run("list-acp-sessions", "--json").stdout)["sessions"]
    assert {one["state"] for one in stored} == {"closed"}


def test_a_turn_that_a_kill_interrupted_is_not_handed_to_the_agent_again(world: World) -> None:
    world.telegram.say("@codex wait")
    wait_until(world.prompts)
    world.gateway.kill()
    world.gateway.start()
    (told,) = world.telegram.wait_messages(1)
    assert "may have done part of it already" in told.text
    assert world.prompts() == ["wait"]
    world.telegram.say("@codex go on")
    assert world.telegram.wait_messages(2)[1].text == "echo: go on"
    assert len(world.notes("request", "session/load")) == 1


def test_a_person_is_asked_for_what_the_agent_may_do(world: World) -> None:
    world.telegram.say("@codex permission")
    (question,) = world.telegram.wait_messages(1)
    assert question.text.startswith("May I run codex with step=delete all files?")
    world.telegram.say(f"/deny {question.text.partition('/deny ')[2].split()[0]}")
    wait_until(lambda: "no" in world.telegram.texts(1001))


def test_the_port_tells_of_agents(world: World) -> None:
    token = (pathlib.Path(world.gateway.home) / "gateway-runtime" / "control-token").read_text().strip()

    def told(path: str, body: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(
            world.gateway.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    asked = {"channel_id": "telegram", "account_id": "default", "input": "codex: look"}
    dispatch = told("/v1/acp/dispatch", asked)["dispatch"]
    assert (dispatch["reason"], dispatch["agent"]) == ("allowed", "codex")
    assert told("/api/gateway/acp/status")["availability"] == "available"
    assert told("/api/gateway/acp/observability")["snapshot"]["turns"]["completed"] == 0


def test_a_stop_ends_an_agent_that_does_not_hear(world: World) -> None:
    world.gateway.write_config(
        pathlib.Path(world.gateway.config_path).read_text().replace('"good"', '"deaf"')
        + "\n[gateway]\ndrain_s = 0\n"
    )
    assert world.gateway.stop() == 0
    world.gateway.start()
    world.telegram.say("@codex wait")
    wait_until(world.prompts)
    assert world.gateway.stop() == 0
    (cancelled,) = world.notes("notice", "session/cancel")
    with pytest.raises(ProcessLookupError):
        # Its process is in the name that this agent gives a session.
        os.kill(int(cancelled[2]["sessionId"].split("-")[1]), 0)
    world.gateway.start()
    assert "may have done part of it already" in world.telegram.wait_messages(1)[0].text


def test_stop_cancels_the_agent(world: World) -> None:
    world.telegram.say("@codex wait")
    wait_until(world.prompts)
    world.telegram.say("/stop")
    wait_until(lambda: world.notes("notice", "session/cancel"))
    world.telegram.say("@codex still there?")
    wait_until(lambda: "echo: still there?" in world.telegram.texts(1001))
    assert len(world.notes("request", "initialize")) == 1
