"""What is asked of a running gateway and what it answers: one turn, sends, accounts, secrets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "MOST_FILES",
    "ChannelOutcome",
    "ChannelRequest",
    "ProbeOutcome",
    "SecretsOutcome",
    "SendFile",
    "SendOutcome",
    "SendRequest",
]

# How many files one send may have.
MOST_FILES = 10


@dataclass(frozen=True)
class SendFile:
    """A file to send: `copy` is its name in the home's directory of outgoing files, `name` what is shown.

    `kind` is that of contract.OutboundFile.
    """

    copy: str
    name: str
    kind: str = "file"


@dataclass(frozen=True)
class SendRequest:
    """Send a text, what `options` (contract.SendOption by name) add, and files. At least one of the three is there.

    `account` None means the channel's default, `target_kind` "" its usual kind of target. `wait_s` 0 returns as soon
    as it is on disk.
    """

    channel: str
    account: str | None
    target: str
    target_kind: str
    text: str
    wait_s: float = 30.0
    idempotency_key: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    files: tuple[SendFile, ...] = ()


@dataclass(frozen=True)
class SendOutcome:
    """What became of a send. `state`: "sent", "queued", "unknown", "failed", "expired" or "refused" (never stored).

    `account` is the config id used; `message_ids` are the platform's. A "failed" or "refused" send is not tried again.
    """

    id: str
    state: str
    account: str
    message_ids: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class ChannelRequest:
    """Start, stop or restart one account. `action` is that word; `account` None means the one that is served.

    `wait_s` is how long to wait for what becomes of it.
    """

    action: str
    channel: str
    account: str | None
    wait_s: float = 20.0


@dataclass(frozen=True)
class ChannelOutcome:
    """`outcome`: "started", "already_started", "restarted", "stopped", "already_stopped" or "stopping"."""

    outcome: str
    channel: str
    account: str
    phase: str
    identity: str | None = None
    last_error: str | None = None


@dataclass(frozen=True)
class ProbeOutcome:
    """What a platform answered. `outcome`: "ok", "refused", "no_answer", "failed" or "not_asked"."""

    outcome: str
    detail: str
    identity: str | None = None
    elapsed_ms: int | None = None


@dataclass(frozen=True)
class SecretsOutcome:
    """What a reload did with one account: "restarted", "unchanged", "stopped" (it is kept off), "unavailable".

    The port's own secret is told as the account `auth` of `gateway`; it is "replaced" when it changed.
    """

    channel: str
    account: str
    outcome: str
    detail: str = ""
