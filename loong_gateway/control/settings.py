"""The configuration as clients see and change it. Secrets never leave: a mark stands in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from loong_gateway.config.hiding import REDACTED
from loong_gateway.config.snapshot import Diagnostic

__all__ = ["REDACTED", "ConfigConflict", "ConfigDocument", "ConfigRefused", "ConfigWritten", "SettingsDesk"]


@dataclass(frozen=True)
class ConfigDocument:
    """The file as it is now. `raw` and `parsed` carry REDACTED for every secret.

    `digest` changes with every change of the file; `applied_digest` is that of the file that this process runs on.
    A file that is no TOML has neither `raw` nor `parsed`, for its secrets cannot be told from the rest.
    """

    path: str
    exists: bool
    valid: bool
    raw: str
    parsed: Mapping[str, object]
    digest: str
    applied_digest: str
    issues: Sequence[Diagnostic]
    warnings: Sequence[Diagnostic]


@dataclass(frozen=True)
class ConfigWritten:
    """What a write did. `changed` are the dotted paths, `needs_restart` those that only a restart applies."""

    document: ConfigDocument
    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


class ConfigConflict(Exception):
    """Raised when the file is not the one that the caller has seen."""


class ConfigRefused(Exception):
    """Raised for a configuration that is not valid; nothing was written. `issues` say why."""

    def __init__(self, issues: Sequence[Diagnostic]) -> None:
        super().__init__("; ".join(f"{issue.field_path}: {issue.message}" for issue in issues))
        self.issues = tuple(issues)


class SettingsDesk(Protocol):
    """Thread-safe; each method blocks for files."""

    def read(self) -> ConfigDocument:
        """The file of this moment."""

    def replace(self, raw: str, base: str) -> ConfigWritten:
        """Write `raw` (TOML) in place of the file whose digest is `base`, with a backup, whole or not at all.

        REDACTED where a secret is stored keeps that one. `base` is "" where there is no file yet.

        Raises ConfigConflict, ConfigRefused, StoreUnwritable when the disk refuses.
        """

    def patch(self, changes: Mapping[str, object], base: str) -> ConfigWritten:
        """Merge `changes` into the file (RFC 7396: null removes), keeping its comments. Raises as `replace`."""

    def schema(self) -> Mapping[str, object]:
        """The whole configuration as a JSON Schema."""

    def lookup(self, path: str) -> Mapping[str, object] | None:
        """One place of it: {path, schema, reloadKind, hint?, children: [...]}; None when there is no such place."""
