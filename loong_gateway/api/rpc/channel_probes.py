"""Asks every platform at once, and is done in time whatever they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError
from loong_gateway.base.parallel import gather
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.control import ControlPlane, ProbeOutcome

__all__ = ["probe_all"]

# The rest is for finding the accounts and for the answer's way back.
SHARE = 0.8
LONGEST_S = 30.0


def probe_all(
    control: ControlPlane, threads: ThreadRegistry, *, budget_s: float, only: str | None = None
) -> dict[tuple[str, str], ProbeOutcome | None]:
    """What the platform of each served account answered, by channel and account; None for one that was too late.

    Blocks for four fifths of `budget_s` at most.
    """
    patience_s = min(LONGEST_S, budget_s * SHARE)
    surfaces = control.status().get("surfaces")
    asked: dict[tuple[str, str], Callable[[], ProbeOutcome]] = {}
    for surface in surfaces if isinstance(surfaces, list) else ():
        key = (str(surface.get("channel")), str(surface.get("account")))
        if key[0] in control.config().channels and only in (None, key[0]):
            asked[key] = _question(control, key, patience_s)
    answered: Mapping[tuple[str, str], ProbeOutcome] = gather(threads, "probe", asked, Deadline(patience_s))
    return {key: answered.get(key) for key in asked}


def _question(control: ControlPlane, key: tuple[str, str], patience_s: float) -> Callable[[], ProbeOutcome]:
    def ask() -> ProbeOutcome:
        try:
            return control.probe_channel(*key, timeout_s=patience_s)
        except CommandError as error:
            # It has been stopped in the meantime, or the gateway ends.
            return ProbeOutcome("failed", error.message)

    return ask
