"""Accounts of a channel: ids, which one is the default, and what an account takes over from its channel's block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from loong_channels import catalog
from loong_channels.contract import ChannelSpec
from loong_gateway.config.diagnostics import did_you_mean, dotted
from loong_gateway.config.secrets import peek
from loong_gateway.config.settings import CHANNEL_COMMON, LATER_CHANNEL_SETTINGS
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig, SecretRef
from loong_gateway.config.tables import Table, names_of

__all__ = ["credential_source", "normalise_id", "read_channels", "warn_shared_credentials"]

_ENABLED, _DEFAULT_ACCOUNT, _PLAIN_HTTP = CHANNEL_COMMON

_BLOCK = ("enabled", "default_account", "accounts", "allow_plain_http", "managed_bridge_plugin_id")
_ACCOUNT = ("enabled", "allow_plain_http")


def normalise_id(text: str) -> str:
    """The id that an account is known by: lower case, letters, digits, single `-` and `_` inside; else `default`."""
    made: list[str] = []
    for character in text.lower():
        if character.isascii() and character.isalnum():
            made.append(character)
        elif made and made[-1] not in "-_":
            made.append(character if character in "-_" else "-")
    return "".join(made).rstrip("-_") or "default"


@dataclass(frozen=True)
class _Flat:
    """The block of a channel without its accounts."""

    table: Table
    enabled: bool
    plain_http: bool
    settings: Mapping[str, object]


def read_channels(root: Table) -> dict[str, ChannelConfig]:
    """Every configured channel that this build serves, in the order of the catalog.

    A block of a channel that it cannot serve is ignored, with one warning if it is enabled.
    """
    channels = {}
    for key, row in catalog.by_config_key().items():
        if key not in root:
            continue
        table = root.child(key)
        if row.package is None:
            _ignore(row, table)
        else:
            channels[row.id] = _channel(catalog.spec(row.id), table)
    return channels


def warn_shared_credentials(root: Table, channels: Mapping[str, ChannelConfig]) -> None:
    """Note every two enabled accounts of a channel that are configured with one credential."""
    for channel in channels.values():
        seen: dict[object, str] = {}
        for account in channel.accounts.values():
            source = credential_source(account)
            if source is None or not account.enabled:
                continue
            first = seen.setdefault(source, account.id)
            if first != account.id:
                root.add(
                    "config.channel_account.shared_credential",
                    catalog.KNOWN[channel.name].config_key,
                    first=first,
                    second=account.id,
                )


def credential_source(account: AccountConfig) -> object:
    """What tells where the credential of an account comes from, comparable by `==`; None when it has none."""
    for name in catalog.spec(account.channel).secrets[:1]:
        ref = account.settings[name]
        if isinstance(ref, SecretRef) and (ref.form != "absent" or ref.fallback_env):
            return ref.form, ref.value, ref.fallback_env
    return None


def _ignore(row: catalog.KnownChannel, table: Table) -> None:
    names = LATER_CHANNEL_SETTINGS.get(row.id)
    if names is not None:
        table.warn_unknown((*names, *_BLOCK))
        for account in table.children("accounts").values():
            account.warn_unknown((*names, *_ACCOUNT))
    if table.get("enabled") is True:
        table.add("config.channel.not_in_this_build", label=row.label, table=row.config_key)


def _channel(spec: ChannelSpec, table: Table) -> ChannelConfig:
    later = LATER_CHANNEL_SETTINGS.get(spec.name, ())
    table.warn_unknown(names_of(spec.settings, (*_BLOCK, *later)))
    flat = _flat(spec, table)
    tables = table.children("accounts")
    accounts = _accounts(spec, flat, tables, later) if tables else {}
    if not accounts:
        return _single(spec, flat, table)
    default, source = _default_account(table, accounts)
    return ChannelConfig(spec.name, flat.enabled, accounts, default, source, explicit_accounts=True)


def _flat(spec: ChannelSpec, table: Table) -> _Flat:
    plain_http = bool(table.read(_PLAIN_HTTP))
    settings = {
        setting.name: table.read_secret(setting)
        if setting.kind == "secret"
        else table.read(setting, plain_http=plain_http)
        for setting in spec.settings
    }
    _check_wildcard(spec, table)
    return _Flat(table, bool(table.read(_ENABLED)), plain_http, settings)


def _single(spec: ChannelSpec, flat: _Flat, table: Table) -> ChannelConfig:
    identity = _runtime_identity(spec, flat.settings, table.reading.environ)
    account = AccountConfig(spec.name, normalise_id(identity), identity, flat.enabled, flat.settings)
    given = table.read(_DEFAULT_ACCOUNT)
    # Judged by what is written, not by the credential: whether a secret resolves must not decide validity.
    written = flat.settings.get("account_id")
    if given is not None and normalise_id(str(given)) != normalise_id(str(written or "")):
        _unknown_default(table, str(given), [])
    return ChannelConfig(
        spec.name,
        flat.enabled,
        {account.id: account},
        account.id,
        "runtime_identity",
        explicit_accounts=False,
    )


def _accounts(
    spec: ChannelSpec, flat: _Flat, tables: Mapping[str, Table], later: tuple[str, ...]
) -> dict[str, AccountConfig]:
    accounts: dict[str, AccountConfig] = {}
    spelt: dict[str, str] = {}
    for key, table in tables.items():
        account_id = normalise_id(key)
        if account_id in spelt:
            table.add(
                "config.channel_account.duplicate_id",
                first=dotted((spelt[account_id],)),
                second=dotted((key,)),
                id=account_id,
            )
            continue
        spelt[account_id] = key
        table.warn_unknown(names_of(spec.settings, (*_ACCOUNT, *later)))
        accounts[account_id] = _account(spec, flat, table, account_id, key)
    return accounts


def _account(spec: ChannelSpec, flat: _Flat, table: Table, account_id: str, key: str) -> AccountConfig:
    plain_http = bool(table.read(_PLAIN_HTTP)) if _PLAIN_HTTP.name in table else flat.plain_http
    settings: dict[str, object] = {}
    for setting in spec.settings:
        inherited = flat.settings[setting.name]
        if isinstance(inherited, SecretRef):
            settings[setting.name] = table.read_secret(setting, inherited=inherited)
        elif setting.name in table:
            settings[setting.name] = table.read(setting, plain_http=plain_http)
        else:
            settings[setting.name] = inherited
    _check_wildcard(spec, table)
    enabled = bool(table.read(replace(_ENABLED, default=True)))
    return AccountConfig(spec.name, account_id, key, flat.enabled and enabled, settings)


def _check_wildcard(spec: ChannelSpec, table: Table) -> None:
    """Refuse `*` where the channel does not know it; a list of whole numbers has refused it already."""
    listed = {setting.name: setting.kind for setting in spec.settings}
    for name in (spec.conversation_setting, spec.sender_setting):
        raw = table.get(name)
        if spec.wildcard or listed.get(name) != "ids" or not isinstance(raw, list) or "*" not in raw:
            continue
        table.add(
            "config.value.invalid",
            name,
            at_value=True,
            detail='"*" is not allowed here; list each id',
            suggestion="",
            fix="write each id",
        )


def _default_account(table: Table, accounts: Mapping[str, AccountConfig]) -> tuple[str, str]:
    ids = sorted(accounts)
    given = table.read(_DEFAULT_ACCOUNT)
    if given is not None:
        wanted = normalise_id(str(given))
        if wanted in accounts:
            return wanted, "explicit_default"
        _unknown_default(table, str(given), ids)
    if "default" in accounts:
        return "default", "mapped_default"
    return ids[0], "fallback"


def _unknown_default(table: Table, given: str, ids: list[str]) -> None:
    table.add(
        "config.channel_account.unknown_default",
        _DEFAULT_ACCOUNT.name,
        at_value=True,
        given=normalise_id(given),
        accounts=", ".join(ids) or "none",
        suggestion=did_you_mean(normalise_id(given), ids),
        fix=f"write one of: {', '.join(ids)}" if ids else "remove default_account, or add that account",
    )


def _runtime_identity(spec: ChannelSpec, settings: Mapping[str, object], environ: Mapping[str, str]) -> str:
    """The name of the only account of a block: what `account_id` says, else what its credential tells in public."""
    written = settings.get("account_id")
    if isinstance(written, str) and written.strip():
        return written.strip()
    ref = settings.get(spec.secrets[0]) if spec.secrets else None
    secret = peek(ref, environ) if isinstance(ref, SecretRef) else None
    if secret is None:
        return "default"
    if spec.name == "wecom":
        return f"wecom_{normalise_id(secret)}"
    if spec.name == "telegram":
        # A token is <id of the bot>:<secret>; the id is public (https://core.telegram.org/bots/api#authorizing-your-bot).
        number = secret.partition(":")[0]
        return f"bot_{number}" if number.isdecimal() and ":" in secret else "default"
    if spec.name == "feishu":
        # The id of an app is no secret, it only stands beside one.
        return f"{settings.get('domain')}_{secret}"
    return "default"
