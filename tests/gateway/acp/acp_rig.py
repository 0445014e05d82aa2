"""Agents over a real store and real processes; see tests/fakes/acp_agent.py for what those do."""

from __future__ import annotations

import contextlib
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from loong_channels.contract import Address
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.acp.agents import AcpAgents, AcpParts
from loong_gateway.acp.starts import AgentStarts
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers
from loong_gateway.config.agent_snapshot import AcpBackend, AcpSettings
from loong_gateway.config.loading import validate_source
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.control.origin import Origin
from loong_gateway.providers.contract import Completion, ProviderFault
from loong_gateway.storage import acp_sessions
from loong_gateway.storage.acp_sessions import AcpSession
from loong_gateway.storage.store import Store
from tests.clocks import HandClock
from tests.waiting import wait_until

AGENT = str(pathlib.Path(__file__).parents[2] / "fakes" / "acp_agent.py")
WAIT_S = 10.0


class AcpRig:
    """`notes` is what happened to the agents; `settings` may be replaced at any time."""

    def __init__(self, directory: pathlib.Path, manner: str, **settings: Any) -> None:
        self.directory = directory
        (directory / "work").mkdir(exist_ok=True)
        (directory / "home").mkdir(exist_ok=True)
        self.notes_path = directory / "notes"
        config, _ = validate_source("config.toml", b"", environ={})
        assert config is not None
        self.settings = AcpSettings(enabled=True, **settings)
        self._base = config
        self.be(manner)
        self.threads = ThreadRegistry()
        self.timers = Timers("timers", self.threads)
        self.clock = HandClock()
        self.store = Store.open(str(directory / "store"), threads=self.threads)
        # What a person says when an agent asks, and after how long unless the turn ends before.
        self.allows = False
        self.patience_s = 0.0
        self.asked: list[str] = []
        self.audited: list[tuple[str, object, str | None]] = []
        self.agents = self.pool()
        self.turns = 0

    def pool(self) -> AcpAgents:
        """Agents as a new process of the gateway has them."""
        return AcpAgents(
            AcpParts(
                self.store,
                config=lambda: replace(self._base, acp=self.settings),
                starts=AgentStarts(
                    self.threads,
                    self.timers,
                    self.clock,
                    {"PATH": "/usr/bin:/bin", "GIVEN": "1", "SECRET": "2"},
                    str(self.directory / "home"),
                    self._secret,
                ),
                permit=self._permit,
                audit=self,
                threads=self.threads,
                clock=self.clock,
                home=str(self.directory / "home"),
            )
        )

    def _secret(self, ref: SecretRef) -> str:
        if ref.value != "GIVEN":
            raise SecretUnavailable("config.secret.unavailable", detail="it is not set")
        return "from-elsewhere"

    def be(self, manner: str, **backend: Any) -> None:
        """What is started from now on."""
        made = {
            "command": sys.executable,
            "args": (AGENT, manner, str(self.notes_path)),
            "cwd": str(self.directory / "work"),
            "pass_env": ("GIVEN",),
            **backend,
        }
        self.settings = replace(self.settings, backends={"codex": AcpBackend("codex", **made)})

    def record(self, kind: str, facts: Mapping[str, object], *, agent: str | None = None) -> None:
        self.audited.append((kind, facts["outcome"], agent))

    def _permit(self, _origin: Origin, _agent: str, title: str, stop: StopToken) -> bool:
        self.asked.append(title)
        stop.wait(self.patience_s)
        return self.allows

    def origin(self, session: str = "a", *, turn: str | None = None) -> Origin:
        self.turns += 1
        return Origin(
            "chat",
            turn or f"inbox:{self.turns}",
            f"agent:main:{session}",
            Address("telegram", "work", session),
        )

    def ask(
        self, text: str, session: str = "a", *, turn: str | None = None, limit_s: float = WAIT_S, **how: Any
    ) -> Completion:
        chosen = self.agents.choose(self.origin(session, turn=turn), f"@codex {text}")
        assert chosen is not None
        return chosen.complete(
            deadline=Deadline(limit_s), stop=how.get("stop", StopToken()), on_text=how.get("on_text")
        )

    def fault(self, text: str, session: str = "a", **how: Any) -> ProviderFault:
        try:
            completion = self.ask(text, session, **how)
        except ProviderFault as fault:
            return fault
        raise AssertionError(f"no fault, but {completion}")

    def notes(self, *first: str) -> list[list[Any]]:
        """What happened to the agents, that begins so."""
        if not self.notes_path.exists():
            return []
        lines = [json.loads(line) for line in self.notes_path.read_text().splitlines()]
        return [line for line in lines if line[: len(first)] == list(first)]

    def wait_note(self, *first: str) -> list[Any]:
        return wait_until(lambda: self.notes(*first), what=str(first))[0]

    def session(self, session: str = "a") -> AcpSession | None:
        self.store.write(lambda conn: None)
        return self.store.read(lambda conn: acp_sessions.find(conn, f"acp:codex:agent:main:{session}"))

    def processes(self) -> list[str]:
        return [name for name in self.threads.alive() if name.startswith("peer:")]


@contextlib.contextmanager
def acp_rig(directory: pathlib.Path, manner: str = "good", **settings: Any) -> Iterator[AcpRig]:
    rig = AcpRig(directory, manner, **settings)
    try:
        yield rig
    finally:
        rig.agents.close(Deadline(5))
        rig.timers.close(Deadline(5))
        rig.store.close(Deadline(5))
        assert rig.threads.join_all(Deadline(5)) == []
