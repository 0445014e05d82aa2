"""The audit journal, as those see it who have something to record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["Audit", "NoAudit"]


class Audit(Protocol):
    """Thread-safe; returns at once and never raises."""

    def record(self, kind: str, facts: Mapping[str, object], *, agent: str | None = None) -> None:
        """Keep that something happened. `kind` is "AuthorizationDenied", "ConnectorInvoked", "ProviderFailover"...

        `facts` are JSON values about it: names, ids, counts and outcomes, never what was said, and no secret.
        """


class NoAudit:
    """Keeps nothing."""

    def record(self, kind: str, facts: Mapping[str, object], *, agent: str | None = None) -> None:
        """See Audit."""
