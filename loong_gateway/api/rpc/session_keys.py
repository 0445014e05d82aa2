"""What clients call sessions and agents, checked. There is one agent, `main`."""

from __future__ import annotations

from loong_gateway.control import ControlPlane

from .calls import Call, RpcFault

__all__ = ["AGENT_ID", "LONGEST_KEY", "check_agent", "session_of"]

AGENT_ID = "main"
LONGEST_KEY = 512


def check_agent(call: Call) -> None:
    """Raise RpcFault when the request names another agent than ours."""
    given = call.params.text("agentId", longest=LONGEST_KEY)
    if given is not None and given.strip() != AGENT_ID:
        shown = given if given.isprintable() and len(given) <= 64 else "?"
        raise RpcFault("INVALID_REQUEST", f'invalid {call.method} params: unknown agent id "{shown}"')


def session_of(control: ControlPlane, given: str) -> str:
    """The stored key that `given` means. Raises RpcFault for the session of an agent that there is not."""
    found = control.sessions.resolve(given)
    if found is None:
        agent = given.split(":")[1] if given.count(":") else given
        shown = agent if agent.isprintable() and len(agent) <= 64 else "?"
        raise RpcFault("INVALID_REQUEST", f'Agent "{shown}" no longer exists in configuration')
    return found
