"""Methods about the gateway as a whole, over a small one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import pytest

from loong_gateway.api.rpc.calls import ADMIN, READ, WRITE
from loong_gateway.api.rpc.methods_gateway import methods
from loong_gateway.api.rpc.params import BadParam
from loong_gateway.base.faults import CommandError
from loong_gateway.control import SecretsOutcome
from loong_gateway.control.runs import RunRequest
from tests.gateway.api.small_call import ask, refusal
from tests.gateway.api.small_runs import SmallRuns


class Runs(SmallRuns):
    running: tuple[str, ...] = ()

    def active(self, session: str | None = None) -> Sequence[str]:
        return self.running

    def start(self, request: RunRequest) -> None:
        self.requests.append(request)


class Sessions:
    def __init__(self) -> None:
        self.injected: list[tuple[str, str, str]] = []

    def resolve(self, given: str) -> str:
        return f"agent:main:{given}"

    def inject(self, key: str, text: str, *, role: str) -> int:
        self.injected.append((key, text, role))
        return 1


class Control:
    def __init__(self) -> None:
        self.runs = Runs()
        self.sessions = Sessions()
        self.restarts: list[tuple[str, float]] = []
        self.error: CommandError | None = None
        self.entries: list[Mapping[str, object]] = []

    def request_restart(self, reason: str, *, delay_s: float = 0.0) -> str:
        if self.error is not None:
            raise self.error
        self.restarts.append((reason, delay_s))
        return "requested" if len(self.restarts) == 1 else "already_requested"

    def restart_due_in_s(self) -> float | None:
        return self.restarts[0][1] if self.restarts else None

    def config(self) -> SimpleNamespace:
        return SimpleNamespace(path="/home/instance-1/config.toml")

    def reload_secrets(self) -> Sequence[SecretsOutcome]:
        if self.error is not None:
            raise self.error
        return [
            SecretsOutcome("gateway", "auth", "unavailable", "env X is not set"),
            SecretsOutcome("telegram", "work", "restarted"),
        ]

    @property
    def methods(self) -> list:
        return methods(self, announce=self.entries.append)

    def call(self, name: str, **params: object) -> object:
        return ask(self.methods, name, params)


@pytest.fixture
def control() -> Control:
    return Control()


def test_scopes(control: Control) -> None:
    assert {one.name: one.scope for one in control.methods} == {
        "gateway.identity.get": READ,
        "gateway.restart.preflight": READ,
        "gateway.restart.request": ADMIN,
        "secrets.reload": ADMIN,
        "system-event": ADMIN,
        "wake": WRITE,
        "last-heartbeat": READ,
        "set-heartbeats": ADMIN,
        "cron.status": READ,
        "cron.list": READ,
    }


def test_restart(control: Control) -> None:
    first = control.call("gateway.restart.request", reason="new config", delayMs=1500)
    assert (first["ok"], first["status"], first["restart"]) == (True, "scheduled", {"delayMs": 1500})
    # When it begins, not what this one asked for.
    again = control.call("gateway.restart.request", delayMs=5000)
    assert (again["status"], again["restart"]) == ("coalesced", {"delayMs": 1500})
    assert control.restarts == [("new config", 1.5), ("over the port", 5.0)]


def test_a_restart_that_cannot_be(control: Control) -> None:
    control.error = CommandError("run.not_up", phase="stopping")
    fault = refusal(control.methods, "gateway.restart.request")
    assert (fault.code, str(fault)) == ("UNAVAILABLE", control.error.message)
    control.error = CommandError("restart.refused", detail="config is invalid", where="-", fix="-")
    control.error.details = ("config.toml:3: gateway.port: not a number",)
    fault = refusal(control.methods, "gateway.restart.request")
    assert (fault.code, fault.retryable) == ("INVALID_REQUEST", False)
    found = fault.details["issues"]
    assert found == [{"path": "", "message": "config.toml:3: gateway.port: not a number"}]


def test_preflight(control: Control) -> None:
    assert control.call("gateway.restart.preflight") == {
        "safe": True,
        "counts": {"activeRuns": 0, "totalActive": 0},
        "blockers": [],
        "summary": "safe to restart now",
    }
    control.runs.running = ("a", "b")
    found = control.call("gateway.restart.preflight")
    assert found["safe"] is False
    assert found["blockers"] == [{"kind": "run", "count": 2, "message": "2 active runs"}]
    assert found["summary"] == "a restart would interrupt 2 active runs"


def test_secrets_reload_counts_what_could_not_be_read(control: Control) -> None:
    assert control.call("secrets.reload") == {"ok": True, "warningCount": 1}
    control.error = CommandError("run.channels_off")
    assert refusal(control.methods, "secrets.reload").code == "UNAVAILABLE"


def test_a_system_event_is_listed(control: Control) -> None:
    answer = control.call(
        "system-event", text="Node: \n up", host="h", ip=" ", tags=["a", ""], lastInputSeconds=3, other="x"
    )
    assert answer == {"ok": True}
    assert control.entries == [{"text": "Node: up", "host": "h", "tags": ["a"], "lastInputSeconds": 3}]
    for params in ({}, {"text": ""}, {"text": "  "}, {"text": 5}, {"text": "x", "host": 1}):
        with pytest.raises(BadParam):
            control.call("system-event", **params)
    assert len(control.entries) == 1


def test_wake(control: Control) -> None:
    assert control.call("wake", mode="now", text="look") == {"ok": True}
    [asked] = control.runs.requests
    assert (asked.text, asked.session, asked.durable) == ("look", "agent:main:main", True)
    assert control.call("wake", mode="next-heartbeat", text="later") == {"ok": True}
    assert control.sessions.injected == [("agent:main:main", "later", "system")]
    with pytest.raises(BadParam, match="at /mode"):
        control.call("wake", mode="later", text="look")
    assert len(control.runs.requests) == 1


def test_what_there_is_none_of(control: Control) -> None:
    assert control.call("last-heartbeat") is None
    assert control.call("set-heartbeats", enabled=True) == {"ok": True, "enabled": False}
    assert control.call("cron.status")["enabled"] is False
    assert control.call("cron.list")["jobs"] == []
    with pytest.raises(BadParam, match="must have required property 'enabled'"):
        control.call("set-heartbeats")


def test_identity_shows_a_digest_only(control: Control) -> None:
    found = control.call("gateway.identity.get")
    assert set(found) == {"deviceId", "publicKey"}
    assert len(found["deviceId"]) == 64
    assert "instance-1" not in str(found)
