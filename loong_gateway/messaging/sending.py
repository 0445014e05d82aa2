"""One part to one platform, with what every sender does about small mishaps. No storage, no state."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from loong_channels.contract import Channel, Outbound, Receipt
from loong_channels.faults import Fault, Moved, Overloaded, Unreachable
from loong_channels.waiting import Deadline, StopToken

__all__ = ["jittered", "send_patiently", "surely_not_sent"]

QUICK_RETRIES_S = (0.5, 2.0)


def send_patiently(
    channel: Channel,
    outbound: Outbound,
    *,
    deadline: Deadline,
    stop: StopToken,
    moved: Callable[[str, str], None],
) -> Receipt:
    """Send a part; twice more, after short pauses, while it is sure that nothing arrived.

    A conversation that goes on under another id is followed once; `moved` hears old and new id. Blocks. Raises faults.
    """
    for pause_s in (*QUICK_RETRIES_S, None):
        try:
            return _send_following(channel, outbound, deadline, stop, moved)
        except Fault as fault:
            if pause_s is None or not surely_not_sent(fault) or stop.wait(jittered(pause_s)):
                raise
    raise AssertionError("the last try returns or raises")


def surely_not_sent(fault: Fault) -> bool:
    """Whether the platform certainly does not have what was sent."""
    return isinstance(fault, Overloaded) or (isinstance(fault, Unreachable) and not fault.maybe_processed)


def jittered(seconds: float) -> float:
    """Half to all of `seconds`, at random, so that many who failed together do not come back together."""
    return float(random.uniform(0.5, 1.0) * seconds)  # noqa: S311  spreads retries, guards nothing


def _send_following(
    channel: Channel,
    outbound: Outbound,
    deadline: Deadline,
    stop: StopToken,
    moved: Callable[[str, str], None],
) -> Receipt:
    try:
        return channel.send(outbound, deadline=deadline, stop=stop)
    except Moved as fault:
        moved(outbound.address.conversation, fault.conversation)
        address = dataclasses.replace(outbound.address, conversation=fault.conversation)
        return channel.send(dataclasses.replace(outbound, address=address), deadline=deadline, stop=stop)
