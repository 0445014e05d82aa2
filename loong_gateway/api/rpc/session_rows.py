"""Sessions and messages as the wire shows them. https://docs.openclaw.ai/gateway/protocol"""

from __future__ import annotations

from typing import Callable, TypeVar

from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.control import ControlPlane
from loong_gateway.control.sessions import SessionInfo, TranscriptMessage

from .calls import RpcFault
from .session_keys import AGENT_ID

__all__ = ["defaults", "kept", "message_row", "session_row"]

T = TypeVar("T")
MAIN_KEY = "agent:main:main"


def kept(action: Callable[[], T]) -> T:
    """Do something with the store. Raises RpcFault when it cannot be done now."""
    try:
        return action()
    except StoreUnwritable as error:
        raise RpcFault("UNAVAILABLE", f"the store cannot be used: {error}", retryable=True) from None


def defaults(control: ControlPlane) -> dict[str, object]:
    """What a session uses that says nothing else."""
    config = control.config()
    profile = config.providers.get(config.active_provider or "")
    if profile is None:
        return {"modelProvider": None, "model": None, "contextTokens": None}
    return {"modelProvider": profile.id, "model": profile.model, "contextTokens": None}


def session_row(control: ControlPlane, info: SessionInfo) -> dict[str, object]:
    """A session as a row of a list."""
    row: dict[str, object] = {
        "key": info.key,
        "kind": info.kind,
        "sessionId": info.session_id,
        "agentId": AGENT_ID,
        "displayName": info.display_name,
        "updatedAt": info.updated_ms,
        "isMain": info.key == MAIN_KEY,
        "hasActiveRun": bool(control.runs.active(info.key)),
    }
    if info.channel:
        row["channel"] = info.channel
        if info.kind in ("direct", "group"):
            row["chatType"] = info.kind
    if info.archived_ms is not None:
        row["archivedAt"] = info.archived_ms
    if info.preview:
        row["lastMessagePreview"] = info.preview
    named = defaults(control)
    row.update({name: named[name] for name in ("model", "modelProvider") if named[name]})
    return row


def message_row(message: TranscriptMessage, longest: int | None = None) -> dict[str, object]:
    """A message of a history."""
    text = message.text if longest is None else message.text[:longest]
    return {
        "role": message.role,
        "content": [{"type": "text", "text": text}],
        "timestamp": message.at_ms,
    }
