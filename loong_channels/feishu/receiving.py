"""Taking in what people write. Holds the place of the receiving side."""

from __future__ import annotations

from loong_channels.contract import Account, Host
from loong_channels.faults import Refused
from loong_channels.net import Egress
from loong_channels.waiting import StopToken

from .api import Api

__all__ = ["receive"]


def receive(account: Account, api: Api, host: Host, stop: StopToken, egress: Egress) -> None:  # noqa: ARG001
    """Receive until `stop` is set. Raises faults."""
    raise Refused("not yet", code="not_yet")
