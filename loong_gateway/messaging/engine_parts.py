"""The world around an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from loong_channels.egress import Egress
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.control.audit import Audit, NoAudit
from loong_gateway.logs.redaction import Redactor
from loong_gateway.messaging.webhooks import Webhooks
from loong_gateway.storage.outgoing import Outgoing
from loong_gateway.storage.store import Store

__all__ = ["EngineParts"]


@dataclass(frozen=True)
class EngineParts:
    """What an engine is given.

    `provider_state` is the file for the health of keys, None without one; in `home` no agent may work.
    """

    store: Store
    threads: ThreadRegistry
    egress: Egress
    environ: dict[str, str]
    redactor: Redactor
    clock: Clock
    changed: Callable[[], None]
    outgoing: Outgoing
    webhooks: Webhooks = field(default_factory=Webhooks)
    audit: Audit = field(default_factory=NoAudit)
    provider_state: str | None = None
    home: str = ""
