"""Which agent answers a turn, if any. Pure: decided by the configuration, by where a turn comes from, and by one name.

A message calls an agent with "@NAME " or "NAME:" at its very beginning, in any case. That name chooses among the agents
of the configuration who answers in a conversation that may reach them; it decides nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from loong_channels.contract import Address
from loong_gateway.config.agent_snapshot import AcpBackend, AcpDispatch, AcpSettings

__all__ = ["ALLOWED", "Decision", "agents_of", "backend_of", "decide"]

ALLOWED = "allowed"
_PREFIX = re.compile(r"\s*(?:@(?P<at>[\w.-]+)[:,]?|(?P<plain>[\w.-]+):)\s+(?=\S)")


@dataclass(frozen=True)
class Decision:
    """`reason` is "allowed" or why not. `text` is what the agent is told: the message without the agent's name."""

    reason: str
    agent: str = ""
    activation_origin: str = ""
    text: str = ""


def decide(settings: AcpSettings, address: Address | None, text: str, *, explicit: bool = False) -> Decision:
    """Who answers. `explicit` turns ask for an agent; others must come from a chat that may reach one.

    Reasons: "allowed", "dispatch_disabled", "channel_not_allowed", "account_not_allowed", "thread_required",
    "root_conversation_required", "agent_prefix_required".
    """
    called, rest = _called(settings, text)
    if explicit:
        return Decision(ALLOWED, called or settings.default_agent, "explicit_request", rest)
    refusal = _refusal(settings.dispatch, address) if settings.enabled else "dispatch_disabled"
    if refusal:
        return Decision(refusal)
    if called:
        return Decision(ALLOWED, called, "automatic_agent_prefixed", rest)
    if settings.dispatch.conversation_routing == "all":
        return Decision(ALLOWED, settings.default_agent, "automatic_dispatch", text)
    return Decision("agent_prefix_required")


def agents_of(settings: AcpSettings) -> tuple[str, ...]:
    """The names that a message may call."""
    return settings.allowed_agents or (settings.default_agent,)


def backend_of(settings: AcpSettings, agent: str) -> AcpBackend | None:
    """What is started for an agent: the backend of its name, else the selected one, else the only one."""
    backends = settings.backends
    if agent in backends:
        return backends[agent]
    if settings.backend is not None:
        return backends.get(settings.backend)
    return next(iter(backends.values())) if len(backends) == 1 else None


def _refusal(dispatch: AcpDispatch, address: Address | None) -> str:
    if not dispatch.enabled or address is None:
        return "dispatch_disabled"
    if dispatch.allowed_channels and address.channel not in dispatch.allowed_channels:
        return "channel_not_allowed"
    if dispatch.allowed_account_ids and address.account not in dispatch.allowed_account_ids:
        return "account_not_allowed"
    if dispatch.thread_routing == "thread_only" and address.thread is None:
        return "thread_required"
    if dispatch.thread_routing == "root_only" and address.thread is not None:
        return "root_conversation_required"
    return ""


def _called(settings: AcpSettings, text: str) -> tuple[str, str]:
    """The agent that a text calls, and the rest of it; "" and the whole text when it calls none."""
    found = _PREFIX.match(text)
    if found is not None:
        name = (found["at"] or found["plain"]).lower()
        for agent in agents_of(settings):
            if agent.lower() == name:
                return agent, text[found.end() :]
    return "", text
