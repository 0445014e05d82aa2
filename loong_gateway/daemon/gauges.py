"""Figures of the owner and of its port, for whoever reads the metrics. They are taken when somebody looks."""

from __future__ import annotations

import os

from loong_gateway.api.auth import Auth
from loong_gateway.api.listener import Listener
from loong_gateway.base.clock import Clock
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.process import boot_clock_ns
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.storage import inbox
from loong_gateway.storage.store import Store

__all__ = ["show_owner", "show_port"]


def show_owner(metrics: Metrics, store: Store, lock: OwnerLock, clock: Clock) -> None:
    """How old the heartbeat and the oldest open message are, in seconds, and how long commits took."""

    def heartbeat_age_s() -> float:
        return max(0, boot_clock_ns() - os.fstat(lock.fileno).st_mtime_ns) / 1e9

    def oldest_unprocessed_s() -> float:
        since_ms = store.read(inbox.oldest_pending_ms)
        return 0.0 if since_ms is None else max(0, clock.wall_ms() - since_ms) / 1000

    metrics.show("heartbeat_age_s", heartbeat_age_s)
    metrics.show("oldest_unprocessed_s", oldest_unprocessed_s)
    metrics.show("store_commit", store.commits)


def show_port(metrics: Metrics, listener: Listener, auth: Auth, hooks: Auth | None) -> None:
    """Open connections and wrong credentials."""
    metrics.show("connections_unproven", lambda: listener.counts()[0])
    metrics.show("connections_proven", lambda: listener.counts()[1])
    metrics.show("auth_failures", lambda: auth.failures)
    if hooks is not None:
        metrics.show("hook_auth_failures", lambda: hooks.failures)
