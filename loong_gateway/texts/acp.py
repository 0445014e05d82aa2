"""Texts about outside agents: whether there are any, how they start, how they fail."""

from __future__ import annotations

_CHECK = "loong runtime acp doctor"

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "acp.disabled": (
        "agents are switched off",
        "acp.enabled",
        "set acp.enabled = true and restart, then: loong runtime acp doctor",
        2,
    ),
    "acp.no_backend": (
        "nothing is configured that could be started for agent {agent}",
        "acp.backends",
        "write [acp.backends.{agent}] with command, then: loong validate-config",
        2,
    ),
    "acp.no_command": (
        "backend {backend} has no command",
        "acp.backends.{backend}.command",
        "write the program that speaks the Agent Client Protocol, then: loong validate-config",
        2,
    ),
    "acp.no_secret": (
        "a secret of the environment of backend {backend} cannot be had: {detail}",
        "acp.backends.{backend}.env",
        "make it available, then: loong runtime acp doctor",
        2,
    ),
    "acp.no_directory": (
        "agent {agent} has no directory to work in: {detail}",
        "acp.backends.{backend}.cwd",
        "name a directory that exists, outside of the gateway's home, then: loong validate-config",
        2,
    ),
    "acp.not_ready": ("agent {agent} did not get ready: {detail}", "acp.backends.{backend}", _CHECK, 2),
    "acp.version": (
        "agent {agent} speaks version {version} of the protocol, this gateway speaks 1",
        "acp.backends.{backend}",
        "install a version of it that speaks 1, then: loong runtime acp doctor",
        2,
    ),
    "acp.wants_login": (
        "agent {agent} wants a login first{methods}",
        "acp.backends.{backend}",
        "log in with the agent's own program, or pass its key with pass_env, then: loong runtime acp doctor",
        2,
    ),
    "acp.failed": ("agent {agent} failed: {detail}", "acp.backends.{backend}", "loong logs --lines 50", 2),
    "acp.refused": ("agent {agent} refused: {detail}", "acp.backends.{backend}", _CHECK, 2),
    "acp.timed_out": (
        "agent {agent} did not end within {seconds} s",
        "acp.turn_timeout_ms",
        "ask for less at once, or raise acp.turn_timeout_ms, then: loong validate-config",
        2,
    ),
    "acp.full": (
        "all {most} agents that may run at once are busy",
        "acp.max_concurrent_sessions",
        "wait, or raise acp.max_concurrent_sessions, then: loong validate-config",
        2,
    ),
    "acp.busy": (
        "agent {agent} was busy with another message of this conversation all the time",
        None,
        "wait, or end it with /stop, then: loong runtime acp status",
        2,
    ),
    "acp.resting": (
        "backend {backend} failed to start {times} times and is tried again in {seconds} s",
        "acp.backends.{backend}",
        _CHECK,
        2,
    ),
    "acp.stopped": ("agent {agent} was stopped", None, "ask again: loong ask --acp --message hi", 2),
    "acp.needs_gateway": (
        "an agent can only be asked through the running gateway",
        None,
        "loong gateway run",
        2,
    ),
}
