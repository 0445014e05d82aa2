"""Refused messages: counted, and logged once per conversation and minute with ids, so that an admin can allow them."""

from __future__ import annotations

import logging

from loong_channels.contract import Inbound
from loong_gateway.base.clock import Clock
from loong_gateway.base.metrics import Metrics
from loong_gateway.base.notices import Notices

__all__ = ["Drops"]

logger = logging.getLogger("loong.trust")

QUIET_S = 60.0


class Drops:
    """Speaks about refused messages, never with their text. Thread-safe."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._spoken = Notices(clock, quiet_s=QUIET_S)

    def record(self, inbound: Inbound, reason: str) -> None:
        """Count one refused message and log it unless its conversation was named in the last minute."""
        address = inbound.address
        self._metrics.add(f"dropped:{reason}:{address.surface}")
        if self._spoken.due(f"{reason}:{address.lane}"):
            logger.info(
                "inbound dropped channel=%s account=%s conversation=%s sender=%s reason=%s",
                address.channel,
                address.account,
                address.conversation,
                inbound.sender_id or "-",
                reason,
            )
