"""The configuration file as clients of the port see and change it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.config import loading, schema
from loong_gateway.config.config_file import locked, read_bytes, replace_file
from loong_gateway.config.diagnostics import dotted
from loong_gateway.config.editing import edited, merged, spelt_as
from loong_gateway.config.hiding import hidden, hidden_text, restored
from loong_gateway.config.loading import MAX_CONFIG_BYTES, about_file
from loong_gateway.config.snapshot import Config, Diagnostic
from loong_gateway.config.toml_text import same
from loong_gateway.control.audit import Audit, NoAudit
from loong_gateway.control.settings import ConfigConflict, ConfigDocument, ConfigRefused, ConfigWritten

__all__ = ["ConfigDesk"]

logger = logging.getLogger("loong.config")

NO_AUDIT = NoAudit()


@dataclass(frozen=True)
class _File:
    """The file at one moment; `table` is None when it is no TOML."""

    source: bytes | None
    text: str
    table: dict[str, Any] | None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.source or b"").hexdigest()


class ConfigDesk:
    """Implements control.settings.SettingsDesk. Keeps nothing between calls but what it is given.

    `applied` is the configuration that this process runs on; `scrub` hides secrets that are known to it.
    """

    def __init__(
        self,
        places: loading.Home,
        *,
        applied: Callable[[], Config],
        environ: Mapping[str, str],
        scrub: Callable[[str], str],
        audit: Audit = NO_AUDIT,
        dev: bool = False,
    ) -> None:
        self._places = places
        self._applied = applied
        self._environ = environ
        self._scrub = scrub
        self._audit = audit
        self._dev = dev

    def read(self) -> ConfigDocument:
        """See SettingsDesk. Raises StoreUnwritable when the file cannot be read."""
        return self._document(self._file())

    def replace(self, raw: str, base: str) -> ConfigWritten:
        """See SettingsDesk."""

        def change(file: _File) -> str:
            given = self._parsed(raw)
            table = restored(given, file.table or {})
            return raw if same(table, given) else _edited(raw, given, table)

        return self._recorded("replace", self._write(change, base))

    def patch(self, changes: Mapping[str, object], base: str) -> ConfigWritten:
        """See SettingsDesk."""

        def change(file: _File) -> str:
            if file.table is None:
                raise ConfigRefused(self._findings(file.source)[0])
            table = restored(merged(file.table, spelt_as(file.table, changes)), file.table)
            return _edited(file.text, file.table, table)

        return self._recorded("patch", self._write(change, base))

    def _recorded(self, operation: str, written: ConfigWritten) -> ConfigWritten:
        facts = {"plane": "config", "operation": operation, "digest": written.document.digest}
        # Paths only: what stands there may be anything.
        self._audit.record("PlaneInvoked", {**facts, "changed": list(written.changed)})
        return written

    def schema(self) -> Mapping[str, object]:
        """See SettingsDesk."""
        return {"$schema": "http://json-schema.org/draft-07/schema#", **schema.schema_of(schema.root())}

    def lookup(self, path: str) -> Mapping[str, object] | None:
        """See SettingsDesk."""
        steps = [
            step for step in path.replace("/", ".").replace("[", ".").replace("]", "").split(".") if step
        ]
        node = schema.node_at(steps)
        if node is None:
            return None
        described = {
            "path": path,
            "schema": schema.schema_of(node, 1),
            "reloadKind": node.reload_kind,
            "hint": _hint(node),
            "hintPath": ".".join(steps) if node.setting is not None else None,
            "children": [_child(steps, child) for child in node.children.values()],
        }
        return {key: value for key, value in described.items() if value is not None}

    def _write(self, change: Callable[[_File], str], base: str) -> ConfigWritten:
        path = self._places.config
        try:
            with locked(path):
                file = self._file()
                if base != (file.digest if file.source is not None else ""):
                    raise ConfigConflict
                text = change(file)
                source = text.encode("utf-8")
                self._check(source)
                if source != file.source:
                    replace_file(path, source, file.source)
        except OSError as error:
            detail = (error.strerror or "it cannot be written").lower()
            raise StoreUnwritable(f"the config was not written: {detail}") from error
        written = _File(source, text, self._parsed(text))
        paths = sorted(set(_changes((), file.table or {}, written.table or {})))
        changed = tuple(map(dotted, paths))
        logger.info("config.toml was changed through the port: %s", ", ".join(changed) or "comments only")
        needs_restart = tuple(dotted(path) for path in paths if _needs_restart(path))
        return ConfigWritten(self._document(written), changed, needs_restart)

    def _file(self) -> _File:
        try:
            source = read_bytes(self._places.config, MAX_CONFIG_BYTES)
        except OSError as error:
            detail = (error.strerror or "it cannot be read").lower()
            raise StoreUnwritable(f"the config cannot be read: {detail}") from error
        if source is not None and len(source) > MAX_CONFIG_BYTES:
            return _File(source, "", None)
        try:
            text = (source or b"").decode("utf-8-sig")
            return _File(source, text, loading.parse(text))
        except ValueError:
            # What is wrong with it is found again, with its place, by the validation.
            return _File(source, "", None)

    def _document(self, file: _File) -> ConfigDocument:
        errors, warnings = self._findings(file.source)
        table = file.table
        return ConfigDocument(
            path=self._places.config,
            exists=file.source is not None,
            valid=not errors,
            raw="" if table is None else hidden_text(file.text, table, loading.parse, self._scrub),
            parsed={} if table is None else hidden(table),
            digest=file.digest,
            applied_digest=self._applied().digest,
            issues=errors,
            warnings=warnings,
        )

    def _findings(self, source: bytes | None) -> tuple[Sequence[Diagnostic], Sequence[Diagnostic]]:
        _, found = loading.validate_source(self._places.config, source, environ=self._environ, dev=self._dev)
        errors = tuple(one for one in found if one.severity == "error")
        return errors, tuple(one for one in found if one.severity != "error")

    def _check(self, source: bytes) -> None:
        errors, _ = self._findings(source)
        if errors:
            raise ConfigRefused(errors)

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            return loading.parse(text.replace("\r\n", "\n"))
        except ValueError as error:
            found = self._findings(text.encode("utf-8", "replace"))[0]
            raise ConfigRefused(found or (_unwritable(str(error)),)) from None


def _edited(text: str, before: Mapping[str, object], after: Mapping[str, object]) -> str:
    try:
        return edited(text, before, after, loading.parse)
    except ValueError as error:
        # One of our own words, or of UnicodeEncodeError, which is about half a character.
        detail = "holds a character that is none" if isinstance(error, UnicodeError) else str(error)
        raise ConfigRefused((_unwritable(detail),)) from None


def _unwritable(detail: str) -> Diagnostic:
    return about_file("config.file.syntax", detail=detail, fix="write it otherwise")


def _changes(
    path: tuple[str, ...], before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[tuple[str, ...]]:
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            olds, news = (one if isinstance(one, Mapping) else {} for one in (old, new))
            inner = list(_changes((*path, key), olds, news))
            yield from inner
            if inner or (key in before) == (key in after):
                continue
        if (key in before) != (key in after) or not same(old, new):
            yield (*path, key)


def _needs_restart(path: tuple[str, ...]) -> bool:
    node = schema.node_at(path)
    return node is not None and node.reload_kind == "restart"


def _hint(node: schema.Node) -> dict[str, object] | None:
    if node.setting is None:
        return None
    hint: dict[str, object] = {"help": node.setting.help} if node.setting.help else {}
    if node.setting.kind == "secret":
        hint["sensitive"] = True
    return hint or None


def _child(steps: Sequence[str], node: schema.Node) -> dict[str, object]:
    described = {
        "key": node.name,
        "path": ".".join((*steps, node.name)),
        "type": schema.schema_of(node, 0).get("type"),
        "required": False,
        "hasChildren": bool(node.children),
        "reloadKind": node.reload_kind,
        "hint": _hint(node),
    }
    return {key: value for key, value in described.items() if value is not None}
