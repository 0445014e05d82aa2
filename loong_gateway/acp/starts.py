"""Starts of agents: what is started where, the way to a session, and pauses between starts that fail."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Callable

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.acp import protocol
from loong_gateway.acp.dispatch import backend_of
from loong_gateway.acp.faults import KINDS
from loong_gateway.acp.link import CLOSE_S, AgentLink
from loong_gateway.base.child_process import child_environment
from loong_gateway.base.clock import Clock
from loong_gateway.base.stdio_peer import PeerFailed, PeerProgram
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers
from loong_gateway.config.agent_snapshot import AcpBackend
from loong_gateway.config.secrets import SecretUnavailable, resolve_variables
from loong_gateway.config.snapshot import Config, SecretRef
from loong_gateway.providers.contract import ProviderFault

__all__ = ["AgentStarts", "directory_of", "launchable"]

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class AgentStarts:
    """Thread-safe; `_guard` protects what is known of starts that failed.

    `environ` is the gateway's own, of which an agent is given little; `home` is where no agent may work.
    `secret` blocks and raises SecretUnavailable.
    """

    def __init__(
        self,
        threads: ThreadRegistry,
        timers: Timers,
        clock: Clock,
        environ: Mapping[str, str],
        home: str,
        secret: Callable[[SecretRef], str],
    ) -> None:
        self._threads = threads
        self._timers = timers
        self._clock = clock
        self._environ = environ
        self._home = home
        self._secret = secret
        self._guard = threading.Lock()
        # By backend: how many in a row, and when the next one may be.
        self._failures: dict[str, tuple[int, float]] = {}

    def start(
        self, config: Config, agent: str, known: str | None, deadline: Deadline, stop: StopToken
    ) -> tuple[AgentLink, protocol.AgentFacts]:
        """A process with a session in it, that of an earlier process where the agent can.

        Blocks; raises ProviderFault.
        """
        backend = launchable(config, agent)
        cwd = directory_of(config, agent, backend, self._home)
        self._rest(backend)
        limit = deadline.within(config.acp.startup_timeout_ms / 1000)
        link = None
        try:
            env = resolve_variables(backend.env, self._secret)
            given = child_environment(backend.pass_env, env, self._environ)
            program = PeerProgram(f"acp-{agent}", (str(backend.command), *backend.args), cwd, given)
            link = AgentLink(program, self._threads, self._timers)
            facts = link.initialize(limit, stop)
            if facts.version != protocol.PROTOCOL_VERSION:
                raise ProviderFault.of(
                    "acp.version", "not_supported", agent=agent, backend=backend.name, version=facts.version
                )
            try:
                link.open_session(cwd, known, facts.can_load, limit, stop)
            except PeerFailed as failed:
                if failed.code != protocol.AUTH_REQUIRED:
                    raise
                methods = f" ({', '.join(facts.auth_methods)})" if facts.auth_methods else ""
                raise ProviderFault.of(
                    "acp.wants_login", "auth_rejected", agent=agent, backend=backend.name, methods=methods
                ) from None
        except SecretUnavailable as missing:
            self._failed(backend)
            raise ProviderFault.of(
                "acp.no_secret", "provider_missing", backend=backend.name, detail=missing.message
            ) from None
        except (PeerFailed, ProviderFault) as failed:
            if link is not None:
                link.close(Deadline(CLOSE_S))
            if stop.is_set():
                raise ProviderFault.of("acp.stopped", "interrupted", agent=agent) from None
            self._failed(backend)
            if isinstance(failed, ProviderFault):
                raise
            raise ProviderFault.of(
                "acp.not_ready", KINDS[failed.kind], agent=agent, backend=backend.name, detail=failed
            ) from None
        with self._guard:
            self._failures.pop(backend.name, None)
        return link, facts

    def _rest(self, backend: AcpBackend) -> None:
        with self._guard:
            times, due_s = self._failures.get(backend.name, (0, 0.0))
        wait_s = due_s - self._clock.monotonic_s()
        if wait_s > 0:
            raise ProviderFault.of(
                "acp.resting",
                "provider_overloaded",
                retry_after_s=wait_s,
                backend=backend.name,
                times=times,
                seconds=round(wait_s) or 1,
            )

    def _failed(self, backend: AcpBackend) -> None:
        with self._guard:
            times = self._failures.get(backend.name, (0, 0.0))[0] + 1
            # The first one may have been an accident.
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(times - 2, 10)) if times > 1 else 0.0
            self._failures[backend.name] = (times, self._clock.monotonic_s() + pause_s)


def launchable(config: Config, agent: str) -> AcpBackend:
    """What is started for an agent. Raises ProviderFault when there is nothing, or no command."""
    backend = backend_of(config.acp, agent)
    if backend is None:
        raise ProviderFault.of("acp.no_backend", "provider_missing", agent=agent)
    if not backend.command:
        raise ProviderFault.of("acp.no_command", "provider_missing", backend=backend.name)
    return backend


def directory_of(config: Config, agent: str, backend: AcpBackend, home: str) -> str:
    """Where it works: an absolute directory that exists and is not in `home`. Raises ProviderFault."""
    given = backend.cwd or config.tools.file_root
    detail = ""
    if not given:
        detail = "neither acp.backends has one nor tools.file_root"
    elif not os.path.isabs(given):
        detail = f"{given} is not absolute"
    elif not os.path.isdir(given):
        detail = f"{given} is not there"
    else:
        own = os.path.realpath(home) if home else ""
        if own and os.path.commonpath((own, os.path.realpath(given))) == own:
            detail = f"{given} is in the gateway's home"
    if detail or not given:
        raise ProviderFault.of(
            "acp.no_directory", "provider_missing", agent=agent, backend=backend.name, detail=detail
        )
    return given
