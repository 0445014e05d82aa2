"""Who may talk to the gateway: pure rules over an account's allow-lists. Nothing here does I/O or keeps state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loong_channels.contract import ChannelSpec, Inbound
from loong_gateway.config.snapshot import AccountConfig

__all__ = ["TrustPolicy", "Verdict", "allows_conversation", "judge", "policy_of"]


@dataclass(frozen=True)
class Verdict:
    """Whether a message may enter. `reason` is "ok" or the stable word under which refusals are counted."""

    allowed: bool
    reason: str


@dataclass(frozen=True)
class TrustPolicy:
    """An account's allow-lists. No `conversations`: everybody is refused; no `senders`: nobody is restricted."""

    conversations: frozenset[str]
    senders: frozenset[str]
    require_mention: bool
    any_conversation: bool = False


ALLOWED = Verdict(allowed=True, reason="ok")


def policy_of(account: AccountConfig, spec: ChannelSpec, moved: Mapping[str, str]) -> TrustPolicy:
    """Read the lists of an account; `moved` maps old conversation ids to the ones they go on under."""
    listed = _ids(account.settings.get(spec.conversation_setting))
    conversations = listed | {new for old, new in moved.items() if old in listed}
    return TrustPolicy(
        conversations=conversations,
        senders=_ids(account.settings.get(spec.sender_setting)),
        require_mention=bool(account.settings.get("require_mention", False)),
        any_conversation=spec.wildcard and "*" in listed,
    )


def judge(policy: TrustPolicy, inbound: Inbound) -> Verdict:
    """Decide about one message."""
    if inbound.sender_is_bot:
        return Verdict(allowed=False, reason="bot_message")
    if not allows_conversation(policy, inbound.address.conversation):
        return Verdict(allowed=False, reason="conversation_not_allowed")
    if policy.senders and inbound.sender_id not in policy.senders:
        return Verdict(allowed=False, reason="sender_not_allowed")
    if policy.require_mention and inbound.kind != "direct" and not inbound.addressed:
        return Verdict(allowed=False, reason="mention_required")
    return ALLOWED


def allows_conversation(policy: TrustPolicy, conversation: str) -> bool:
    """Whether anything may go to or come from this conversation at all."""
    return policy.any_conversation or conversation in policy.conversations


def _ids(value: object) -> frozenset[str]:
    return frozenset(str(item) for item in value) if isinstance(value, (tuple, list)) else frozenset()
