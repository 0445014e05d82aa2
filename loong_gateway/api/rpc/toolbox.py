"""What methods may use that belongs to the connections and not to the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

from .health import HealthBoard
from .presence import Presence
from .probing import Prober

__all__ = ["Toolbox"]


@dataclass(frozen=True)
class Toolbox:
    """`note_presence` tells everyone who may hear it that something about `presence` has changed.

    `scrub` takes secrets out of a text. `identity` is a name of this gateway that stays the same over restarts.
    """

    health: HealthBoard
    presence: Presence
    prober: Prober
    note_presence: Callable[[], None]
    wall_ms: Callable[[], int]
    scrub: Callable[[str], str]
    identity: str

    def announce(self, fields: Mapping[str, object]) -> None:
        """List what somebody says of a host or a program, and tell everyone."""
        self.presence.told(fields)
        self.note_presence()
