"""What a check is given and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loong_gateway.base.clock import Clock
from loong_gateway.config.snapshot import Config, Diagnostic
from loong_gateway.owner.paths import Places

__all__ = ["FAIL", "PASS", "WARN", "Check", "Inspection", "Repair", "failed", "passed", "warned"]

PASS = "pass"  # noqa: S105  a level, not a password
WARN = "warn"
FAIL = "fail"


@dataclass(frozen=True)
class Repair:
    """One thing that `--fix` may do. `act` is "chmod" or "mkdir"; `mode` is the wanted permission."""

    act: str
    path: str
    mode: int

    @property
    def display(self) -> str:
        """The same as a shell would be told."""
        if self.act == "mkdir":
            return f"mkdir -p -m {self.mode:o} {self.path}"
        return f"chmod {self.mode:o} {self.path}"


@dataclass(frozen=True)
class Check:
    """The result of one check. `level` is PASS, WARN or FAIL; `detail` is one sentence without secrets.

    `fix` is what to do, ending in a command where there is one. `channel` and `account` are set where the finding
    belongs to one account; `reason` is then a stable word for machines.
    """

    name: str
    level: str
    detail: str
    fix: str | None = None
    repair: Repair | None = None
    channel: str | None = None
    account: str | None = None
    reason: str | None = None

    @property
    def command(self) -> str | None:
        """The part of `fix` that can be pasted into a shell, if there is one."""
        if self.fix is None:
            return None
        start = self.fix.find("loong ")
        return self.fix[start:].strip() if start >= 0 else None


@dataclass(frozen=True)
class Inspection:
    """Everything a check may look at. `config` is None when it cannot be loaded; `status` when it cannot be read.

    `status` is the document of `gateway status --json`; `status_error` says why there is none.
    """

    places: Places
    environ: Mapping[str, str]
    clock: Clock
    config: Config | None
    diagnostics: tuple[Diagnostic, ...] = ()
    status: Mapping[str, object] | None = None
    status_error: str = ""

    @property
    def owner_alive(self) -> bool:
        """True while some process holds the owner lock of this home."""
        return bool(self.status and self.status.get("lock_held"))


def passed(name: str, detail: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name, PASS, detail)


def warned(name: str, detail: str, fix: str | None = None, repair: Repair | None = None) -> Check:
    """A check whose finding does not stop anything."""
    return Check(name, WARN, detail, fix, repair)


def failed(name: str, detail: str, fix: str | None = None, repair: Repair | None = None) -> Check:
    """A check whose finding stops something from working."""
    return Check(name, FAIL, detail, fix, repair)
