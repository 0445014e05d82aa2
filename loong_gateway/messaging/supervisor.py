"""All slots of an owner: starting, finding, ticking and stopping them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from loong_channels.contract import ChannelSpec
from loong_channels.waiting import Deadline
from loong_gateway.config.snapshot import AccountConfig
from loong_gateway.messaging.slot_state import SlotState
from loong_gateway.messaging.slots import Slot
from loong_gateway.messaging.surfaces import Surface

__all__ = ["Supervisor"]


class Supervisor:
    """Holds the slots by channel and account; implements surfaces.Surfaces. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # Replaced, never changed, so that readers need no lock.
        self._slots: dict[tuple[str, str], Slot] = {}

    def add_if_absent(self, account: AccountConfig, make: Callable[[], Slot]) -> Slot | None:
        """Add the slot of an account, which the next `start` starts; None when the account has one already."""
        key = (account.channel, account.id)
        with self._guard:
            if key in self._slots:
                return None
            slot = make()
            self._slots = {**self._slots, key: slot}
            return slot

    def surface(self, channel: str, account: str) -> Surface | None:
        """See surfaces.Surfaces."""
        return self._slots.get((channel, account))

    def start(self, *, listed: bool = True) -> None:
        """Start every slot's thread, or start it again if it died; without `listed` only those outside the config."""
        for slot in self._slots.values():
            if listed or not slot.is_listed:
                slot.start()

    def states(self) -> Sequence[SlotState]:
        """The states of the configured surfaces, by channel and account."""
        return [slot.state() for slot in self.listed()]

    def specs(self) -> Sequence[ChannelSpec]:
        """What is known of the channels behind the slots."""
        return [slot.spec for slot in self._slots.values()]

    def started(self) -> bool:
        """True once every surface has been tried once."""
        return all(slot.state().started for slot in self._slots.values())

    def served_once(self) -> bool:
        """True once every surface has taken a batch or has heard that there is none."""
        return all(slot.served_once() for slot in self._slots.values() if slot.is_listed)

    def listed(self) -> Sequence[Slot]:
        """The slots of the configured surfaces, by channel and account."""
        return [slot for _, slot in sorted(self._slots.items()) if slot.is_listed]

    def stop_receiving(self, deadline: Deadline) -> list[str]:
        """Stop receiving what comes again, in parallel; blocks until that ended or the deadline.

        What comes only once is received until `stop`. Returns the gates that did not end.
        """
        slots = list(self._slots.values())
        for slot in slots:
            slot.stop_receiving()
        return [slot.gate for slot in slots if slot.stops_at_once and not slot.join(deadline)]

    def stop(self, deadline: Deadline) -> list[str]:
        """Stop all channels in parallel; blocks until they ended or the deadline. Returns the gates that did not."""
        slots = list(self._slots.values())
        for slot in slots:
            slot.stop()
        return [slot.gate for slot in slots if not slot.join(deadline)]

    def close(self) -> None:
        """Wake every blocked call of every channel for good."""
        for slot in self._slots.values():
            slot.close()
