"""Checks of the audit journal: its modes, and whether its newest part holds together."""

from __future__ import annotations

import os
import stat

from loong_gateway.audit.chain import check
from loong_gateway.audit.journal import Journal
from loong_gateway.doctor.contract import Check, Inspection, Repair, failed, passed, warned
from loong_gateway.owner.files import reason

__all__ = ["check_audit"]

NAME = "audit journal"
LOOKED_AT = 2000


def check_audit(inspection: Inspection) -> list[Check]:
    """All checks of this file. Reads the last files of the journal; changes nothing."""
    config = inspection.config
    if config is None:
        return []
    if config.audit.mode == "off":
        return [passed(NAME, "switched off")]
    path = config.audit.path or inspection.places.audit
    open_to_others = [*_modes(os.path.dirname(path), 0o700), *_modes(path, 0o600)]
    try:
        lines = list(Journal(path).lines(LOOKED_AT))
    except FileNotFoundError:
        return open_to_others or [passed(NAME, "nothing is recorded yet")]
    except OSError as error:
        return [failed(NAME, f"{path} cannot be read: {reason(error)}.", "see: loong audit verify")]
    first = check(lines).first_break
    if first is not None:
        where = f"{first.file}:{first.line}"
        return [*open_to_others, failed(NAME, f"{where}: {first.reason}.", "see: loong audit verify")]
    return open_to_others or [passed(NAME, path)]


def _modes(path: str, wanted: int) -> list[Check]:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        # Not there yet.
        return []
    if not mode & 0o077:
        return []
    repair = Repair("chmod", path, wanted)
    fix = f"loong doctor --fix    (will run: {repair.display})"
    return [warned(NAME, f"{path} is open to others ({mode:04o}).", fix, repair)]
