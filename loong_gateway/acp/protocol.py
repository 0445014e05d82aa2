"""The words of the Agent Client Protocol, version 1: what is sent, and what is read of an agent's answers. Pure.

https://agentclientprotocol.com/protocol/overview
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loong_gateway import VERSION

__all__ = [
    "AUTH_REQUIRED",
    "INITIALIZE",
    "METHOD_NOT_FOUND",
    "PROTOCOL_VERSION",
    "AgentFacts",
    "chunk_of",
    "permission_answer",
    "permission_title",
    "prompt",
    "read_initialize",
    "read_session",
    "read_stop_reason",
    "session_of",
]

PROTOCOL_VERSION = 1
AUTH_REQUIRED = -32000
METHOD_NOT_FOUND = -32601
# An agent is offered neither files nor terminals: it uses its own hands.
INITIALIZE: Mapping[str, object] = {
    "protocolVersion": PROTOCOL_VERSION,
    "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
    "clientInfo": {"name": "loong", "title": "loong", "version": VERSION},
}
_STOP_REASONS = ("end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled")
_LONGEST_TITLE = 200
_ALLOWING = ("allow_once", "allow_always")
_REJECTING = ("reject_once", "reject_always")


@dataclass(frozen=True)
class AgentFacts:
    """What an agent says of itself. `auth_methods` are the names of the ways to log in that it knows."""

    version: int
    name: str = ""
    can_load: bool = False
    auth_methods: tuple[str, ...] = ()


def read_initialize(result: object) -> AgentFacts:
    """The answer to `initialize`. Raises ValueError."""
    answer = _table(result)
    version = answer.get("protocolVersion")
    if type(version) is not int:
        raise ValueError("initialize gave no protocolVersion")
    info = _table(answer.get("agentInfo"))
    name = " ".join(str(info[part])[:100] for part in ("name", "version") if isinstance(info.get(part), str))
    methods = answer.get("authMethods")
    return AgentFacts(
        version,
        name,
        _table(answer.get("agentCapabilities")).get("loadSession") is True,
        tuple(
            str(_table(one).get("name") or _table(one).get("id") or "")[:100] for one in _list(methods)[:10]
        ),
    )


def read_session(result: object) -> str:
    """The answer to `session/new`: the agent's name for the session. Raises ValueError."""
    found = _table(result).get("sessionId")
    if not isinstance(found, str) or not found or len(found) > 1000:
        raise ValueError("session/new gave no sessionId")
    return found


def prompt(session: str, text: str) -> dict[str, object]:
    """The parameters of `session/prompt`."""
    return {"sessionId": session, "prompt": [{"type": "text", "text": text}]}


def read_stop_reason(result: object) -> str:
    """The answer to `session/prompt`: why the turn ended. Raises ValueError."""
    reason = _table(result).get("stopReason")
    if reason not in _STOP_REASONS:
        raise ValueError("session/prompt gave no stopReason that is known")
    return str(reason)


def session_of(params: object) -> str | None:
    """The session that a request or a notice of the agent is about."""
    found = _table(params).get("sessionId")
    return found if isinstance(found, str) else None


def chunk_of(params: object) -> str:
    """The piece of the answer in a `session/update`, "" for one that holds none: thoughts, plans, calls of tools."""
    update = _table(_table(params).get("update"))
    if update.get("sessionUpdate") != "agent_message_chunk":
        return ""
    content = _table(update.get("content"))
    text = content.get("text")
    return text if content.get("type") == "text" and isinstance(text, str) else ""


def permission_title(params: object) -> str:
    """What the agent asks to be allowed to do, in its own words, on one line."""
    call = _table(_table(params).get("toolCall"))
    title = call.get("title") or call.get("kind") or "something"
    return " ".join(str(title).split())[:_LONGEST_TITLE]


def permission_answer(params: object, *, allowed: bool | None) -> dict[str, object]:
    """The answer to `session/request_permission`; None stands for a turn that is being cancelled.

    The narrowest of the options that say so is chosen; where there is none, nothing is.
    """
    options = [_table(one) for one in _list(_table(params).get("options"))]
    wanted = () if allowed is None else _ALLOWING if allowed else _REJECTING
    for kind in wanted:
        for option in options:
            if option.get("kind") == kind and isinstance(option.get("optionId"), str):
                return {"outcome": {"outcome": "selected", "optionId": option["optionId"]}}
    return {"outcome": {"outcome": "cancelled"}}


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
