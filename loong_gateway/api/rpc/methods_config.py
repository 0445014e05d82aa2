"""`config.*`: the configuration file, looked at and changed. Secrets never leave; their marks may come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timezone
from math import isfinite

from loong_gateway import VERSION
from loong_gateway.base.faults import StoreUnwritable
from loong_gateway.base.wording import one_line
from loong_gateway.config.loading import parse
from loong_gateway.config.snapshot import Diagnostic
from loong_gateway.control import ControlPlane
from loong_gateway.control.settings import ConfigConflict, ConfigDocument, ConfigRefused, ConfigWritten

from .calls import ADMIN, READ, Call, Method, RpcFault
from .params import BadParam

__all__ = ["methods"]

LONGEST_RAW = 1 << 20
LONGEST_PATH = 1024
MOST_ISSUES = 50
_PATH = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./[]-*")
_Write = Callable[[str, str], ConfigWritten]


def methods(control: ControlPlane) -> list[Method]:
    """The methods over `control`. `config.set` and `config.apply` take TOML, `config.patch` JSON or TOML."""
    desk = _Configs(control)
    return [
        Method("config.get", READ, desk.get, waits=True),
        Method("config.schema", READ, desk.schema, waits=True),
        Method("config.schema.lookup", READ, desk.lookup, waits=True),
        Method("config.set", ADMIN, desk.replace, waits=True, writes_config=True),
        Method("config.apply", ADMIN, desk.replace, waits=True, writes_config=True),
        Method("config.patch", ADMIN, desk.patch, waits=True, writes_config=True),
    ]


class _Configs:
    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._started = datetime.now(timezone.utc).isoformat(timespec="milliseconds")

    def get(self, _call: Call) -> object:
        return _document(self._read())

    def schema(self, _call: Call) -> object:
        return {
            "schema": self._control.settings.schema(),
            "uiHints": {},
            "version": VERSION,
            "generatedAt": self._started,
        }

    def lookup(self, call: Call) -> object:
        path = call.params.required_text("path", longest=LONGEST_PATH)
        if not set(path) <= _PATH:
            raise BadParam("at /path: must match pattern")
        found = self._control.settings.lookup(path)
        if found is None:
            raise RpcFault("INVALID_REQUEST", "config schema path not found")
        return found

    def replace(self, call: Call) -> object:
        return self._written(call, self._control.settings.replace)

    def patch(self, call: Call) -> object:
        return self._written(call, lambda raw, base: self._control.settings.patch(_changes(raw), base))

    def _written(self, call: Call, write: _Write) -> object:
        raw = call.params.required_text("raw", longest=LONGEST_RAW)
        base = call.params.text("baseHash") or ""
        if not base and self._read().exists:
            raise RpcFault("INVALID_REQUEST", "config base hash required; re-run config.get and retry")
        try:
            written = write(raw, base)
        except ConfigConflict as error:
            message = "config changed since last load; re-run config.get and retry"
            raise RpcFault("INVALID_REQUEST", message) from error
        except ConfigRefused as error:
            raise _refusal(error.issues) from error
        except RecursionError:
            raise RpcFault("INVALID_REQUEST", "invalid config: nested too deeply") from None
        except StoreUnwritable as error:
            raise _unwritable(error) from error
        return {
            "ok": True,
            **_document(written.document),
            "changed": list(written.changed),
            "restart": {"required": bool(written.needs_restart), "paths": list(written.needs_restart)},
        }

    def _read(self) -> ConfigDocument:
        try:
            return self._control.settings.read()
        except StoreUnwritable as error:
            raise _unwritable(error) from error


def _changes(raw: str) -> Mapping[str, object]:
    """A merge patch, written as JSON, or as TOML where nothing is to be removed."""
    try:
        given = json.loads(raw) if raw.lstrip().startswith("{") else parse(raw)
    except (ValueError, RecursionError):
        raise RpcFault("INVALID_REQUEST", "invalid config: the patch is neither JSON nor TOML") from None
    assert isinstance(given, dict)
    return given


def _unwritable(error: StoreUnwritable) -> RpcFault:
    return RpcFault("UNAVAILABLE", str(error), retryable=True)


def _refusal(issues: Sequence[Diagnostic]) -> RpcFault:
    listed = [_issue(issue) for issue in issues[:MOST_ISSUES]]
    first = listed[0] if listed else {"path": "", "message": "it is not valid"}
    where = f"{first['path']}: " if first["path"] else ""
    return RpcFault(
        "INVALID_REQUEST",
        one_line(f"invalid config: {where}{first['message']}", 500),
        details={"issues": listed},
    )


def _issue(issue: Diagnostic) -> dict[str, str]:
    return {"path": issue.field_path, "message": issue.message}


def _document(document: ConfigDocument) -> dict[str, object]:
    parsed = _json(document.parsed)
    return {
        "path": document.path,
        "exists": document.exists,
        "valid": document.valid,
        "raw": document.raw,
        "parsed": parsed,
        "config": parsed,
        "hash": document.digest,
        "configRevisionHash": document.digest,
        "appliedConfigHash": document.applied_digest,
        "issues": [_issue(issue) for issue in document.issues],
        "warnings": [_issue(issue) for issue in document.warnings],
    }


def _json(value: object) -> object:
    """A value of TOML in JSON, which has neither moments nor numbers without end."""
    if isinstance(value, Mapping):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(inner) for inner in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not isfinite(value) else value
