"""Reads [provider] and [providers.ID] and decides which profile answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from loong_channels.settings import Setting
from loong_gateway.base.wording import nearest
from loong_gateway.config.diagnostics import did_you_mean, dotted, quoted
from loong_gateway.config.kinds import KINDS, Kind, canonical, kinds_in_build
from loong_gateway.config.settings import ACTIVE_PROVIDER, PROVIDER
from loong_gateway.config.snapshot import ProviderProfile, SecretRef
from loong_gateway.config.tables import Table, fold

__all__ = ["BUILT_IN", "read_providers"]

# What the development profile answers with when no provider is configured.
BUILT_IN = "echo"
_FLAT_ID = "default"


def read_providers(root: Table, *, dev: bool) -> tuple[Mapping[str, ProviderProfile], str | None]:
    """The profiles by id, and the id of the active one; None without any."""
    tables: dict[str, Table] = root.children("providers")
    flat = root.child("provider") if "provider" in root else None
    flat_id = _FLAT_ID if _FLAT_ID not in tables else "provider"
    if flat is not None:
        tables[flat_id] = flat
    profiles = {name: _profile(name, table) for name, table in tables.items()}
    if not profiles:
        return ({BUILT_IN: _echo()}, BUILT_IN) if dev else ({}, None)
    active = _active(root, sorted(profiles), flat_id if flat is not None else None)
    kind = profiles[active].kind
    if not KINDS[kind].in_build:
        tables[active].add(
            "config.provider.kind_not_in_this_build",
            "kind",
            at_value=True,
            kind=kind,
            kinds=", ".join(kinds_in_build()),
        )
    return profiles, active


def _active(root: Table, names: list[str], flat: str | None) -> str:
    used = flat or names[0]
    given = root.read(ACTIVE_PROVIDER)
    if given is None:
        if flat is None and len(names) > 1:
            root.add(
                "config.provider_selection.implicit_active", "providers", count=len(names), used=quoted(used)
            )
        return used
    wanted = str(given).strip()
    for same in (str, fold):
        for name in names:
            if same(name) == same(wanted):
                return name
    root.add(
        "config.provider_selection.unknown_active",
        ACTIVE_PROVIDER.name,
        at_value=True,
        near=quoted(nearest(wanted, names) or used),
        used=dotted((used,)),
    )
    return used


def _profile(name: str, table: Table) -> ProviderProfile:
    kind = _kind(name, table)
    row = replace(PROVIDER, settings=tuple(_with_key_env(setting, kind) for setting in PROVIDER.settings))
    values = table.read_all(row)
    del values["allow_plain_http"]
    values["retry_max_backoff_ms"] = max(values["retry_max_backoff_ms"], values["retry_initial_backoff_ms"])
    _check_base_url(table, kind, values["base_url"], values["endpoint"])
    key: SecretRef = values["api_key"]
    if key.form == "absent" and len(kind.key_env) > 1:
        more = tuple(dict.fromkeys((*key.fallback_env, *kind.key_env)))
        values["api_key"] = replace(key, fallback_env=more)
    values["kind"] = kind.name
    return ProviderProfile(id=name, where=dotted(table.path), **values)


def _with_key_env(setting: Setting, kind: Kind) -> Setting:
    if setting.name != "api_key":
        return setting
    return replace(setting, env=kind.key_env[0] if kind.key_env else None)


def _kind(name: str, table: Table) -> Kind:
    setting = PROVIDER.settings[0]
    raw = table.get(setting.name)
    if not isinstance(raw, str) or not raw.strip():
        # A wrong type is noted when the whole table is read.
        known = canonical(name)
        if raw is None and known is not None and known != setting.default and len(table.path) > 1:
            table.add("config.provider.kind_missing", kind=known)
        return KINDS[str(setting.default)]
    known = canonical(raw)
    if known is None:
        names = kinds_in_build()
        detail = f"unknown kind; expected one of {', '.join(names)}"
        suggestion = did_you_mean(raw.strip().lower(), [*KINDS])
        fix = f'write: kind = "{nearest(raw.strip().lower(), [*KINDS]) or setting.default}"'
        table.add(
            "config.value.invalid", setting.name, at_value=True, detail=detail, suggestion=suggestion, fix=fix
        )
    return KINDS[known or str(setting.default)]


def _check_base_url(table: Table, kind: Kind, base_url: str | None, endpoint: str | None) -> None:
    detail, fix = "", ""
    if base_url is None:
        if kind.own_base_url and endpoint is None and kind.in_build and "base_url" not in table:
            detail = f"is needed for kind {kind.name}"
            fix = 'write the root of the API: base_url = "https://HOST/v1"'
    elif kind.never and kind.never in base_url:
        detail = f"is the coding lane; kind {kind.name} would bill it as ordinary use"
        fix = f'write: kind = "{kind.name}_coding"'
    elif kind.always and kind.always not in base_url:
        detail = f"lacks {kind.always}; another lane of this service bills beside the plan"
        fix = f'write: base_url = "{kind.base_url}"'
    elif base_url.endswith("/chat/completions"):
        detail = "already ends in the path of the chat call"
        fix = "write the root of the API, or use endpoint for the full address"
    if detail:
        table.add("config.value.invalid", "base_url", at_value=True, detail=detail, suggestion="", fix=fix)


def _echo() -> ProviderProfile:
    defaults = {fold(setting.name): setting.default for setting in PROVIDER.settings}
    del defaults["allow_plain_http"]
    defaults.update(kind=BUILT_IN, model=BUILT_IN, api_key=SecretRef("absent", None, ""), headers={})
    return ProviderProfile(id=BUILT_IN, where="built-in", **defaults)  # type: ignore[arg-type]
