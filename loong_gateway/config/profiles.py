"""Reads [provider] and [providers.ID], and decides which profile answers and which stand in for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from loong_channels.settings import Setting
from loong_gateway.base.wording import nearest
from loong_gateway.config.diagnostics import did_you_mean, dotted, quoted
from loong_gateway.config.kinds import KINDS, REGION, REGION_ENV, Kind, canonical, placed
from loong_gateway.config.provider_settings import ACTIVE_PROVIDER, FALLBACK_PROVIDERS, PROVIDER
from loong_gateway.config.snapshot import ProviderProfile, SecretRef
from loong_gateway.config.tables import Table, fold

__all__ = ["BUILT_IN", "read_providers"]

# What the development profile answers with when no provider is configured.
BUILT_IN = "echo"
_FLAT_ID = "default"
_CONTRADICTION = "config.provider.contradiction"
# Times that grow with each failure, and their bounds, which are never below them.
_GROWING = (
    ("retry_initial_backoff_ms", "retry_max_backoff_ms"),
    ("model_candidate_cooldown_ms", "model_candidate_cooldown_max_ms"),
    ("profile_cooldown_ms", "profile_cooldown_max_ms"),
)


def read_providers(
    root: Table, *, dev: bool
) -> tuple[Mapping[str, ProviderProfile], str | None, tuple[str, ...]]:
    """The profiles by id, the id of the active one, None without any, and the ids of those that stand in for it."""
    tables: dict[str, Table] = root.children("providers")
    flat = root.child("provider") if "provider" in root else None
    flat_id = _FLAT_ID if _FLAT_ID not in tables else "provider"
    if flat is not None:
        tables[flat_id] = flat
    profiles = {name: _profile(name, table) for name, table in tables.items()}
    if not profiles:
        return ({BUILT_IN: _echo()}, BUILT_IN, ()) if dev else ({}, None, ())
    active = _active(root, sorted(profiles), flat_id if flat is not None else None)
    return profiles, active, _fallbacks(root, sorted(profiles), active)


def _fallbacks(root: Table, names: list[str], active: str) -> tuple[str, ...]:
    found: list[str] = []
    for given in root.read(FALLBACK_PROVIDERS):
        wanted = str(given).strip()
        name = _meant(wanted, names)
        if name is None:
            near = nearest(wanted, names)
            root.add(
                "config.provider.unknown_fallback",
                FALLBACK_PROVIDERS.name,
                at_value=True,
                given=quoted(wanted),
                suggestion=did_you_mean(wanted, names),
                fix=f"write {quoted(near)} instead" if near else f"write one of: {', '.join(names)}",
            )
        elif name == active or name in found:
            why = "is the active one" if name == active else "stands there twice"
            detail = f"{quoted(name)} {why}, and is not asked again"
            root.add(_CONTRADICTION, FALLBACK_PROVIDERS.name, at_value=True, detail=detail, fix="remove it")
        else:
            found.append(name)
    return tuple(found)


def _meant(wanted: str, names: list[str]) -> str | None:
    return next((name for same in (str, fold) for name in names if same(name) == same(wanted)), None)


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
    name = _meant(wanted, names)
    if name is not None:
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
    for first, longest in _GROWING:
        values[longest] = max(values[longest], values[first])
    _check_base_url(table, kind, values["base_url"], values["endpoint"])
    _check_region(table, kind, values)
    _tell_contradictions(table, kind, values)
    key: SecretRef = values["api_key"]
    token: SecretRef = values["oauth_access_token"]
    if (
        token.form == "absent"
        and key.form == "absent"
        and not {"api_key_env", "oauth_access_token_env"} & set(map(fold, table.raw))
    ):
        values["oauth_access_token"] = replace(token, fallback_env=kind.oauth_env)
    if key.form == "absent" and len(kind.key_env) > 1:
        key = replace(key, fallback_env=tuple(dict.fromkeys((*key.fallback_env, *kind.key_env))))
    values["api_key"] = replace(key, several=True)
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
        detail = f"unknown kind; expected one of {', '.join(sorted(KINDS))}"
        suggestion = did_you_mean(raw.strip().lower(), [*KINDS])
        fix = f'write: kind = "{nearest(raw.strip().lower(), [*KINDS]) or setting.default}"'
        table.add(
            "config.value.invalid", setting.name, at_value=True, detail=detail, suggestion=suggestion, fix=fix
        )
    return KINDS[known or str(setting.default)]


def _check_base_url(table: Table, kind: Kind, base_url: str | None, endpoint: str | None) -> None:
    detail, fix = "", ""
    if base_url is None:
        if kind.own_base_url and endpoint is None and "base_url" not in table:
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


def _check_region(table: Table, kind: Kind, values: Mapping[str, object]) -> None:
    if REGION in placed(kind, table.reading.environ).base_url and not (
        values["base_url"] or values["endpoint"]
    ):
        table.add(
            "config.provider.region_missing", kind=kind.name, names=", ".join(REGION_ENV), first=REGION_ENV[0]
        )


def _tell_contradictions(table: Table, kind: Kind, values: dict[str, Any]) -> None:
    """Note what is written and cannot take effect, and leave it out where it would do harm."""
    endpoint, effort = values["endpoint"], values["reasoning_effort"]
    found = []
    if endpoint and (values["models_endpoint"] or endpoint.endswith("/chat/completions")):
        found += [
            (
                name,
                "has no effect beside endpoint, which is the whole address of the chat call",
                "remove one of them",
            )
            for name in ("base_url", "chat_completions_path")
            if values[name]
        ]
    if values["wire_api"] == "responses" and kind.protocol != "openai_chat":
        found.append(("wire_api", f"kind {kind.name} speaks a protocol of its own", "remove it"))
    if effort and kind.efforts and effort not in kind.efforts:
        takes = f"kind {kind.name} takes {', '.join(kind.efforts)}; {effort} is not sent"
        found.append(("reasoning_effort", takes, "write one of those"))
        values["reasoning_effort"] = None
    if values["oauth_access_token"].form != "absent" and kind.auth != "bearer":
        detail = f"kind {kind.name} takes no such token; it is not sent"
        found.append(("oauth_access_token", detail, "write the key as api_key"))
        values["oauth_access_token"] = SecretRef("absent", None, "")
    for name, detail, fix in found:
        table.add(_CONTRADICTION, name, at_value=True, detail=detail, fix=fix)


def _echo() -> ProviderProfile:
    defaults = {fold(setting.name): setting.default for setting in PROVIDER.settings}
    del defaults["allow_plain_http"]
    absent = SecretRef("absent", None, "")
    defaults.update(kind=BUILT_IN, model=BUILT_IN, api_key=absent, oauth_access_token=absent, headers={})
    return ProviderProfile(id=BUILT_IN, where="built-in", **defaults)  # type: ignore[arg-type]
