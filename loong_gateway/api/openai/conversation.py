"""Which session a request belongs to, and which part of what the client tells is new there."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence

from loong_gateway.api.fields import optional_text
from loong_gateway.api.http_request import RequestHead
from loong_gateway.control import ControlPlane
from loong_gateway.control.runs import RunRequest
from loong_gateway.messaging.sessions import ROOT, display_name
from loong_gateway.providers.contract import CallOptions, Message

from .faults import ApiFault
from .names import Target, header

__all__ = ["IMAGE_MARK", "last_question", "run_request", "session_of"]

# Stands for a picture where nothing else was said with it.
IMAGE_MARK = "[image]"
_RESERVED = ("subagent:", "cron:", "acp:")


def session_of(document: Mapping[str, object], head: RequestHead, control: ControlPlane) -> str | None:
    """The stored key of the session: that of `user`, else the one a header names; None for a request by itself.

    Raises ApiFault and BadFields; blocks for a look into the store, which raises StoreUnwritable.
    """
    user = optional_text(document, "user")
    if user:
        # What clients write here may be somebody's address; nobody needs to read it in a list of sessions.
        return f"{ROOT}openai-{hashlib.sha256(user.encode()).hexdigest()[:32]}"
    field, given = header(head, "session-key")
    if not given:
        return None
    key = control.sessions.resolve(given)
    if _is_reserved(given) or (key is not None and _is_reserved(display_name(key))):
        raise ApiFault(400, "invalid_value", f"`{field}` cannot use reserved internal session namespaces.")
    if key is None:
        raise ApiFault(400, "invalid_value", f"`{field}` names a session of another agent.")
    return key


def _is_reserved(name: str) -> bool:
    """Whether a name could be taken for one in a namespace of the gateway itself, however it is spelled."""
    text = "".join(name.casefold().split())
    while text.startswith(ROOT):
        text = text[len(ROOT) :]
    return text.startswith(_RESERVED)


def run_request(
    messages: Sequence[Message],
    *,
    session: str | None,
    target: Target,
    options: CallOptions,
    head: RequestHead,
    system: str = "",
) -> RunRequest:
    """The run that answers a conversation. Without a session it is told exactly as the client tells it."""
    told = tuple(messages)
    if session is not None:
        said = [message.content for message in messages if message.role == "system"]
        system = "\n\n".join(text for text in (system, *said) if text)
        told = tuple(_since_answer([message for message in messages if message.role != "system"]))
    elif system:
        told = (Message("system", system), *told)
        system = ""
    return RunRequest(
        run_id=str(uuid.uuid4()),
        text=last_question(messages),
        session=session,
        messages=told,
        system=system,
        profile=target.profile,
        model=target.model,
        options=options,
        timeout_s=target.timeout_s,
        label=header(head, "message-channel")[1] or "",
        origin="http",
    )


def last_question(messages: Sequence[Message]) -> str:
    """What the user said last, which is what is remembered."""
    return next((message.content for message in reversed(messages) if message.role == "user"), "")


def _since_answer(messages: Sequence[Message]) -> Sequence[Message]:
    """What the session does not know yet: all after the last answer. Calls of tools are part of the next one."""
    for number in range(len(messages) - 1, -1, -1):
        message = messages[number]
        if message.role == "assistant" and not message.tool_calls:
            return messages[number + 1 :] or _last_exchange(messages)
    return messages


def _last_exchange(messages: Sequence[Message]) -> Sequence[Message]:
    asked = max((number for number, message in enumerate(messages) if message.role == "user"), default=0)
    return messages[asked:]
