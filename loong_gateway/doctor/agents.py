"""Checks of outside agents: whether they can be started. None is; `loong runtime acp doctor` does that."""

from __future__ import annotations

import os
import shutil

from loong_gateway.acp.dispatch import agents_of
from loong_gateway.acp.starts import directory_of, launchable
from loong_gateway.base.child_process import child_environment
from loong_gateway.config.secrets import SecretUnavailable, resolve, resolve_variables
from loong_gateway.config.snapshot import Config
from loong_gateway.doctor.contract import Check, Inspection, failed, passed
from loong_gateway.providers.contract import ProviderFault

__all__ = ["check_agents"]


def check_agents(inspection: Inspection) -> list[Check]:
    """One check for each agent that a message may call; none while agents are off."""
    config = inspection.config
    if config is None or not config.acp.enabled:
        return []
    names = dict.fromkeys((config.acp.default_agent, *agents_of(config.acp)))
    return [_check(inspection, config, agent) for agent in names]


def _check(inspection: Inspection, config: Config, agent: str) -> Check:
    name = f"agent {agent}"
    try:
        backend = launchable(config, agent)
        cwd = directory_of(config, agent, backend, inspection.places.state)
    except ProviderFault as fault:
        return failed(name, f"{fault}.", fault.fix)
    try:
        env = resolve_variables(backend.env, lambda ref: resolve(ref, inspection.environ))
    except SecretUnavailable as missing:
        return failed(name, f"{missing.message}.", missing.fix)
    command = str(backend.command)
    path = child_environment(backend.pass_env, env, inspection.environ).get("PATH", os.defpath)
    if shutil.which(os.path.join(cwd, command) if "/" in command else command, path=path) is None:
        return failed(
            name,
            f"acp.backends.{backend.name}.command: there is no program {command}.",
            "install it, or correct the command, then: loong runtime acp doctor",
        )
    return passed(name, f"{command} in {cwd}")
