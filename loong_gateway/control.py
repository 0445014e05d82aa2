"""What the port may ask of a running gateway. The runtime implements it; tests implement a small one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = [
    "MOST_FILES",
    "ChannelOutcome",
    "ChannelRequest",
    "ControlPlane",
    "ProbeOutcome",
    "SecretsOutcome",
    "SendFile",
    "SendOutcome",
    "SendRequest",
    "TurnRequest",
    "TurnResult",
]

# How many files one send may have.
MOST_FILES = 10


@dataclass(frozen=True)
class TurnRequest:
    """Ask for one answer. `session` is a session name or key; the text is not empty."""

    session: str
    text: str
    timeout_s: float = 600.0


@dataclass(frozen=True)
class TurnResult:
    """The answer, or why there is none. `error_code` is one of the provider fault classes, or "" when all is well."""

    text: str
    error: str = ""
    error_code: str = ""
    usage: Mapping[str, int] | None = None


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
    """What a reload did with one account: "restarted", "unchanged", "stopped" (it is kept off), "unavailable"."""

    channel: str
    account: str
    outcome: str
    detail: str = ""


class ControlPlane(Protocol):
    """All methods are thread-safe and return at once unless their text says that they block."""

    def started(self) -> bool:
        """True once every enabled surface has been started once."""

    def ready(self) -> tuple[str, ...]:
        """The reasons why the gateway is not ready, empty when it is: "starting", "stopping", "store_unwritable"..."""

    def status(self) -> Mapping[str, object]:
        """The status document: the fields of `gateway status --json`, without what only the reader can know."""

    def request_stop(self, reason: str) -> str:
        """Ask for a stop; "requested" or "already_requested"."""

    def resume(self) -> bool:
        """Switch the channels on again that the crash-loop breaker keeps off; False when they are on."""

    def turn(self, request: TurnRequest) -> TurnResult:
        """Run one turn in the lane of its session. Blocks up to `timeout_s`. Never raises for a provider's fault."""

    def send(self, request: SendRequest) -> SendOutcome:
        """Put it into the outbox and wait for its fate. Blocks up to `wait_s`.

        Raises CommandError for an unknown channel, account or target kind, an option that the channel does not take,
        a file that is no copy, StoreUnwritable when it cannot be kept.
        """

    def channel(self, request: ChannelRequest) -> ChannelOutcome:
        """Start, stop or restart one account. Blocks up to `wait_s`. Raises CommandError for one not served here."""

    def probe_channel(self, channel: str, account: str, *, timeout_s: float) -> ProbeOutcome:
        """Ask a platform through the channel that serves the account. Blocks up to `timeout_s`.

        Raises CommandError for an account that is not served here.
        """

    def reload_secrets(self) -> Sequence[SecretsOutcome]:
        """Read all secrets of the accounts again and restart those that need it. Blocks for files and programs."""
