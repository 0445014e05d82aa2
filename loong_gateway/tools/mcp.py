"""The servers of [mcp.servers]: started when a list allows their tools, kept, started again when they die."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.child_process import child_environment
from loong_gateway.base.parallel import gather
from loong_gateway.base.stdio_peer import PeerFailed, PeerProgram
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import one_line
from loong_gateway.config.agent_snapshot import McpServer
from loong_gateway.config.secrets import SecretUnavailable, resolve, resolve_variables
from loong_gateway.config.snapshot import Config, SecretRef
from loong_gateway.logs.redaction import Redactor
from loong_gateway.tools.contract import Tool, ToolContext, ToolFailed
from loong_gateway.tools.mcp_client import McpClient, RemoteTool

__all__ = ["McpServers", "ServerWorld", "is_wanted", "look_once"]

logger = logging.getLogger("loong.mcp")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
# Who lived as long as this is forgiven earlier ends.
STEADY_S = 60.0
# A list that changed is read again within this.
REFRESH_S = 5.0
CLOSE_S = 3.0
LONGEST_ERROR = 400
PROBLEM = "mcp_failed"
STOPPED, STARTING, READY, FAILED = "stopped", "starting", "ready", "failed"


@dataclass(frozen=True)
class ServerWorld:
    """What servers are started with. `secret` blocks and raises SecretUnavailable; `scrub` takes secrets out."""

    threads: ThreadRegistry
    environ: Mapping[str, str]
    secret: Callable[[SecretRef], str]
    scrub: Callable[[str], str]
    clock: Callable[[], float] = time.monotonic


def is_wanted(config: Config, name: str) -> bool:
    """Whether any list allows a tool of this server; without that it is never started."""
    server = config.mcp[name]
    listed = (*config.tools.allow, *config.gateway.tools_allow)
    return server.enabled and any(one.startswith(f"mcp.{name}.") for one in listed)


def _program_of(server: McpServer, world: ServerWorld, cwd: str) -> PeerProgram:
    """What to start, with the secrets of its environment. Blocks; raises SecretUnavailable."""
    command = (server.command or "", *server.args)
    given = child_environment(server.pass_env, resolve_variables(server.env, world.secret), world.environ)
    return PeerProgram(f"mcp:{server.name}", command, cwd, given)


def look_once(config: Config, name: str, environ: Mapping[str, str]) -> Mapping[str, object]:
    """Start a server that is enabled, whether a list allows it or not, and end it again: its row of `facts`.

    Blocks up to its `startup_timeout_ms`.
    """
    redactor = Redactor()
    # What a command has to say of it stands in the row.
    logging.getLogger("loong").addHandler(logging.NullHandler())

    def secret(ref: SecretRef) -> str:
        value = resolve(ref, environ)
        redactor.register(value)
        return value

    alone = replace(
        config, tools=replace(config.tools, allow=(f"mcp.{name}.*",)), mcp={name: config.mcp[name]}
    )
    servers = McpServers(lambda: alone, ServerWorld(ThreadRegistry(), environ, secret, redactor.scrub))
    servers.prepare()
    row = {**servers.facts()[0], "allowed": is_wanted(config, name)}
    servers.close(Deadline(CLOSE_S))
    return row


class McpServers:
    """Thread-safe. The servers are fixed, which of them are wanted is read at each use."""

    def __init__(self, config: Callable[[], Config], world: ServerWorld) -> None:
        self._config = config
        self._world = world
        self._stop = StopToken()
        # For the one thread that ticks.
        self._told: list[str] = []
        self._servers = {
            name: _Server(server, server.cwd or os.path.dirname(config().path), world, self._stop)
            for name, server in config().mcp.items()
            if server.enabled
        }

    def tools(self) -> list[Tool]:
        """What the wanted servers that run offer, as `mcp.SERVER.TOOL`. Quick."""
        return [tool for server in self._wanted() for tool in server.tools()]

    def prepare(self) -> None:
        """Wait until each wanted server has been started once, or has failed. Blocks up to `startup_timeout_ms`.

        For one that failed before nobody waits.
        """
        due = [server for server in self._wanted() if server.is_new()]
        if len(due) == 1:
            due[0].care()
        elif due:
            longest = max(server.startup_s for server in due) + 1
            gather(self._world.threads, "mcp", {id(one): one.care for one in due}, Deadline(longest))

    def tick(self) -> bool:
        """Start in the background what is wanted and does not run. Never blocks.

        True when `problems` or the names of `tools` changed.
        """
        for server in self._wanted():
            if server.is_due() and not self._stop.is_set():
                try:
                    self._world.threads.spawn(f"mcp-start:{server.name}", server.care)
                except RuntimeError:
                    logger.warning("no thread for the server %s: the system gives no more", server.name)
        before, self._told = self._told, [*self.problems(), *(tool.name for tool in self.tools())]
        return before != self._told

    def facts(self) -> Sequence[Mapping[str, object]]:
        """How each configured server is, by name. `last_error` is one line without secrets."""
        config = self._config()
        off = {"state": STOPPED, "tools": [], "skipped": [], "restarts": 0, "last_error": None}
        rows = []
        for name, server in sorted(config.mcp.items()):
            live = self._servers[name].facts() if name in self._servers else off
            wanted = name in self._servers and is_wanted(config, name)
            rows.append({"name": name, "enabled": server.enabled, "allowed": wanted, **live})
        return rows

    def problems(self) -> list[str]:
        """Machine codes: `mcp_failed:NAME` for each wanted server that does not run although it was needed."""
        return [f"{PROBLEM}:{server.name}" for server in self._wanted() if server.has_failed()]

    def close(self, deadline: Deadline) -> None:
        """End all of them and start none any more. Blocks; a call that still runs is interrupted."""
        self._stop.set("the gateway stops")
        living = {name: functools.partial(server.close, deadline) for name, server in self._servers.items()}
        if any(server.is_alive() for server in self._servers.values()):
            gather(self._world.threads, "mcp", living, deadline)

    def _wanted(self) -> list[_Server]:
        config = self._config()
        return [
            server for name, server in self._servers.items() if name in config.mcp and is_wanted(config, name)
        ]


class _Server:
    """One server through all of its lives. `_changed` protects everything; nothing blocks while it is held."""

    def __init__(self, settings: McpServer, cwd: str, world: ServerWorld, stop: StopToken) -> None:
        self.name = settings.name
        self.startup_s = settings.startup_timeout_ms / 1000
        self._settings = settings
        self._cwd = cwd
        self._world = world
        self._stop = stop
        self._changed = threading.Condition()
        self._client: McpClient | None = None
        self._state = STOPPED
        self._lives = 0
        self._failures = 0
        self._begun_at = 0.0
        self._next_try = 0.0
        self._last_error: str | None = None

    def is_new(self) -> bool:
        """Whether its first start has not come to an end."""
        with self._changed:
            return self._state in (STOPPED, STARTING) and not self._failures and not self._stop.is_set()

    def is_due(self) -> bool:
        """Whether it is to be started now, or its tools to be listed anew."""
        self._look()
        with self._changed:
            if self._state == READY:
                return self._client is not None and self._client.is_stale
            return self._state != STARTING and self._world.clock() >= self._next_try

    def care(self) -> None:
        """Start it, or wait until another thread has, or list its tools anew. Blocks; raises nothing."""
        with self._changed:
            if self._state == STARTING:
                self._changed.wait_for(lambda: self._state != STARTING, self.startup_s)
                return
            stale = self._client if self._state == READY else None
            if self._stop.is_set() or (stale is None and self._world.clock() < self._next_try):
                return
            if stale is None:
                self._state = STARTING
        if stale is not None:
            try:
                stale.refresh(Deadline(REFRESH_S), self._stop)
            except PeerFailed as failed:
                # What it offered before is still offered.
                logger.warning("the tools of %s were not listed: %s", self.name, failed.message)
            return
        self._start()

    def tools(self) -> list[Tool]:
        """What it offers now. Quick."""
        self._look()
        with self._changed:
            client = self._client if self._state == READY else None
        return [] if client is None else [self._tool(one) for one in client.tools]

    def facts(self) -> dict[str, object]:
        """See McpServers.facts."""
        self._look()
        with self._changed:
            client = self._client if self._state == READY else None
            return {
                "state": self._state,
                "tools": [] if client is None else [f"mcp.{self.name}.{one.name}" for one in client.tools],
                "skipped": [] if client is None else list(client.skipped),
                "restarts": max(0, self._lives - 1),
                "last_error": self._last_error,
            }

    def has_failed(self) -> bool:
        """Whether it does not run although it was needed."""
        self._look()
        with self._changed:
            return self._failures > 0 and self._state != READY

    def is_alive(self) -> bool:
        """Whether there is a process of it."""
        with self._changed:
            return self._client is not None or self._state == STARTING

    def close(self, deadline: Deadline) -> None:
        """End it. Blocks."""
        with self._changed:
            # The stop token is set, so a start ends soon.
            self._changed.wait_for(lambda: self._state != STARTING, deadline.remaining())
            client, self._client = self._client, None
            self._state = STOPPED
        if client is not None:
            client.close(deadline)

    def _start(self) -> None:
        client, error, words = None, "", ""
        try:
            program = _program_of(self._settings, self._world, self._cwd)
            client = McpClient(program, self._world.threads, Deadline(self.startup_s), self._stop)
        except SecretUnavailable as fault:
            error = f"a secret of its environment cannot be had: {fault.message}"
        except PeerFailed as failed:
            error, words = failed.message, str(failed)
        except Exception:
            # Whoever waits for this start must not wait for ever.
            logger.exception("the start of the server %s failed", self.name)
            error = "internal error"
        with self._changed:
            if client is not None:
                self._client, self._state, self._begun_at = client, READY, self._world.clock()
                self._lives += 1
            elif self._stop.is_set():
                self._state = STOPPED
            else:
                self._fail(words or error)
            self._changed.notify_all()
        if client is not None:
            logger.info("the server %s is ready, it offers %d tools", self.name, len(client.tools))
        elif not self._stop.is_set():
            logger.warning("the server %s did not start: %s", self.name, error)

    def _look(self) -> None:
        """Take note that it died."""
        with self._changed:
            failure = self._client.peer.failure if self._state == READY and self._client is not None else None
            if failure is None:
                return
            if self._world.clock() - self._begun_at >= STEADY_S:
                self._failures = 0
            self._fail(str(failure))
            self._client = None
        # Its own words may be somebody's message: they stand in `facts` alone.
        logger.warning("the server %s died: %s", self.name, failure.message)

    def _fail(self, error: str) -> None:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._next_try = self._world.clock() + pause_s
        self._state = FAILED
        self._last_error = one_line(self._world.scrub(error), LONGEST_ERROR)

    def _tool(self, offered: RemoteTool) -> Tool:
        return Tool(
            f"mcp.{self.name}.{offered.name}",
            offered.description,
            functools.partial(self._call, offered.remote),
            acts=offered.remote not in self._settings.read_only,
            schema=offered.schema,
        )

    def _call(self, remote: str, given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        with self._changed:
            client = self._client if self._state == READY else None
        if client is None:
            raise ToolFailed("the tool server does not run now")
        return client.call(remote, given, context.deadline, context.stop)
