"""channels.send: a text to one of the targets that the configuration names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from loong_channels import catalog
from loong_gateway.base.faults import CommandError
from loong_gateway.config.selectors import account_for
from loong_gateway.control import ControlPlane, SendRequest
from loong_gateway.tools.contract import BadArgument, Tool, ToolContext, ToolFailed

__all__ = ["message_tools"]

MAX_TEXT = 20_000
WAIT_S = 20.0


def message_tools(control: ControlPlane) -> list[Tool]:
    """The one tool."""

    def send(given: Mapping[str, object], context: ToolContext) -> Mapping[str, object]:
        target, text = str(given["target"]), str(given["text"])
        settings = control.config().tools.messages
        if not settings.enabled or target not in settings.targets:
            raise BadArgument("args.target: is none of tools.messages.targets")
        channel, account, conversation = target.split(":", 2)
        try:
            _check_boundary(control, channel, account, conversation)
            outcome = control.send(
                SendRequest(
                    channel,
                    account,
                    conversation,
                    "",
                    text,
                    wait_s=context.deadline.bounded(WAIT_S),
                    idempotency_key=_key(context, target, text),
                )
            )
        except CommandError as error:
            raise ToolFailed(error.message) from None
        if outcome.state == "refused":
            raise ToolFailed(outcome.error or "refused")
        return {
            "target": target,
            "state": outcome.state,
            "messageIds": list(outcome.message_ids),
            "error": outcome.error,
        }

    def available() -> bool:
        settings = control.config().tools.messages
        return settings.enabled and bool(settings.targets)

    return [
        Tool(
            "channels.send",
            "send a text to one of the targets that the configuration names (CHANNEL:ACCOUNT:TARGET)",
            send,
            {
                "target": {"type": "string", "maxLength": 512},
                "text": {"type": "string", "maxLength": MAX_TEXT},
            },
            required=frozenset({"target", "text"}),
            acts=True,
            available=available,
        )
    ]


def _check_boundary(control: ControlPlane, channel: str, account: str, target: str) -> None:
    """The account's own list of conversations holds for what the model sends, as it does for replies."""
    found = account_for(control.config(), channel, account)
    spec = catalog.spec(found.channel)
    conversation = target.partition(":")[0] if spec.threads else target
    listed = found.settings.get(spec.conversation_setting)
    allowed = {str(one) for one in listed} if isinstance(listed, (tuple, list)) else set()
    if conversation not in allowed and not (spec.wildcard and "*" in allowed):
        raise ToolFailed(f"the target is not in {spec.conversation_setting} of its account")


def _key(context: ToolContext, target: str, text: str) -> str | None:
    """The same for the same words to the same target in the same turn, so that they are sent once."""
    turn = context.origin.turn
    if not turn:
        # A call from the port under no name: each is one of its own.
        return None
    words = "\0".join((turn, target, text)).encode("utf-8", "surrogatepass")
    return f"tool-{hashlib.sha256(words).hexdigest()[:40]}"
