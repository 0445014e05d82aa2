"""CHANNEL=ACCOUNT: which account of which channel family runs. The sentences are fixed by the operator contract."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from loong_channels import catalog
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import nearest, one_line
from loong_gateway.config.accounts import credential_source, normalise_id
from loong_gateway.config.diagnostics import did_you_mean, dotted
from loong_gateway.config.snapshot import AccountConfig, ChannelConfig, Config

__all__ = ["account_for", "fallback_warning", "parse_selectors", "select", "unserved"]

_RUN = "loong gateway run"


def parse_selectors(entries: Iterable[str]) -> dict[str, str]:
    """The selected account per channel family, both normalised. Touches no config.

    Raises CommandError for the first entry that is malformed, unknown, not servable here, or a second of its family.
    """
    selected: dict[str, str] = {}
    for entry in entries:
        family, account = _parse(one_line(entry, 200))
        if family in selected:
            raise CommandError("selector.duplicate", channel=family)
        selected[family] = account
    return selected


def select(config: Config, selectors: Mapping[str, str]) -> list[AccountConfig]:
    """The accounts that run: per enabled family the selected one, else its default. Sorted by family.

    Raises CommandError for a selector that the config cannot honour, or two accounts with one credential.
    """
    for family, account in selectors.items():
        others = {of: one for of, one in selectors.items() if of != family}
        _check_selected(config, family, account, others)
    chosen = []
    for family in catalog.gateway_channels():
        channel = config.channels.get(family)
        if channel is None or not channel.enabled:
            continue
        found = channel.accounts[selectors.get(family, channel.default_account)]
        if not found.enabled:
            raise _account_disabled(config, channel, found)
        chosen.append(found)
    _refuse_shared_credentials(config, chosen)
    return chosen


def unserved(config: Config, served: Collection[tuple[str, str]]) -> list[tuple[AccountConfig, str]]:
    """The enabled accounts that an owner leaves out, each with the sentence that says so, in the order of the config.

    `served` are (family, account id) of what runs; a family of which nothing is named runs its default account.
    """
    found = []
    for family in catalog.gateway_channels():
        channel = config.channels.get(family)
        if channel is None or not channel.enabled:
            continue
        runs = {one for of, one in served if of == family} or {channel.default_account}
        found += [
            (account, f"{family}/{account.id} is enabled but not served: one account per channel runs")
            for account in channel.accounts.values()
            if account.enabled and account.id not in runs
        ]
    return found


def account_for(config: Config, channel: str, account: str | None) -> AccountConfig:
    """The account that `send` and `serve` use; None means the default one. `channel` may be an alias.

    Raises CommandError for a channel or account that is unknown, not configured or disabled.
    """
    family = catalog.canonical(channel)
    if family is None:
        suggestion = did_you_mean(channel.strip().lower(), catalog.KNOWN)
        raise CommandError("selector.channel_unknown", given=one_line(channel, 100), suggestion=suggestion)
    if catalog.KNOWN[family].package is None:
        raise CommandError("selector.channel_not_in_this_build", channel=family)
    found = config.channels.get(family)
    if found is None:
        raise CommandError("selector.channel_not_configured", channel=family, path=config.path)
    wanted = found.default_account if account is None else normalise_id(account)
    if wanted not in found.accounts:
        raise _unknown_account(config, found, account or wanted, "loong channels")
    chosen = found.accounts[wanted]
    if not chosen.enabled:
        raise _account_disabled(config, found, chosen)
    return chosen


def fallback_warning(config: Config, channel: str, account: str | None) -> str | None:
    """The line to warn with when `account` was left out and the default was only guessed, else None."""
    found = config.channels.get(catalog.canonical(channel) or "")
    if account is not None or found is None or found.default_source != "fallback" or len(found.accounts) < 2:
        return None
    key = catalog.KNOWN[found.name].config_key
    return (
        f"warning: {found.name} omitted --account and routed to configured account `{found.default_account}` "
        f"via fallback default selection; set {key}.default_account or pass --account to avoid routing surprises"
    )


def _parse(entry: str) -> tuple[str, str]:
    if not entry:
        raise CommandError("selector.empty", example=_example())
    channel, equals, account = (part.strip() for part in entry.partition("="))
    if not equals:
        raise CommandError("selector.no_equals", given=entry, example=_example())
    if not channel:
        raise CommandError("selector.no_channel", given=entry, example=_example())
    family = _family(channel)
    if not account:
        raise CommandError("selector.no_account", given=entry, example=_example())
    return family, normalise_id(account)


def _family(channel: str) -> str:
    available = catalog.gateway_channels()
    family = catalog.canonical(channel)
    if family is None:
        raise CommandError(
            "selector.unknown_channel",
            given=channel,
            available=", ".join(available),
            suggestion=did_you_mean(channel.lower(), available),
            fix=_example(),
        )
    if family in available:
        return family
    outbound = catalog.KNOWN[family].kind == "outbound"
    raise CommandError(
        "selector.not_supported",
        given=channel,
        channel=family,
        available=", ".join(available),
        reason=f" (outbound-only: use `channels send {family}`)" if outbound else "",
        fix="loong channels",
    )


def _example() -> str:
    return f"{_RUN} --channel-account telegram=work"


def _run_with(selectors: Mapping[str, str]) -> str:
    return " ".join(
        [_RUN, *(f"--channel-account {family}={account}" for family, account in selectors.items())]
    )


def _check_selected(config: Config, family: str, account: str, others: Mapping[str, str]) -> None:
    channel = config.channels.get(family)
    if channel is None or not channel.enabled:
        raise CommandError("selector.channel_disabled", channel=family, path=config.path)
    # The only account of a block goes by the name that is shown for it everywhere.
    if account not in channel.accounts and not channel.explicit_accounts:
        fix = _run_with(others)
        raise CommandError("selector.no_accounts", channel=family, given=account, path=config.path, fix=fix)
    if account not in channel.accounts:
        near = nearest(account, sorted(channel.accounts))
        fix = _run_with({**others, family: near}) if near else "loong channels"
        raise _unknown_account(config, channel, account, fix)
    if not channel.accounts[account].enabled:
        raise _account_disabled(config, channel, channel.accounts[account])


def _unknown_account(config: Config, channel: ChannelConfig, given: str, fix: str) -> CommandError:
    ids = sorted(channel.accounts)
    return CommandError(
        "selector.unknown_account",
        given=one_line(given, 100),
        accounts=", ".join(ids),
        suggestion=did_you_mean(normalise_id(given), ids),
        channel=catalog.KNOWN[channel.name].config_key,
        path=config.path,
        fix=fix,
    )


def _account_disabled(config: Config, channel: ChannelConfig, account: AccountConfig) -> CommandError:
    key = catalog.KNOWN[channel.name].config_key
    whole = not channel.enabled or not channel.explicit_accounts
    return CommandError(
        "selector.account_disabled",
        channel=channel.name,
        account=account.id,
        where=f"{key}.enabled" if whole else f"{key}.accounts.{dotted((account.label,))}.enabled",
        path=config.path,
    )


def _refuse_shared_credentials(config: Config, chosen: Iterable[AccountConfig]) -> None:
    seen: dict[object, AccountConfig] = {}
    for account in chosen:
        source = credential_source(account)
        first = seen.setdefault((account.channel, source), account) if source is not None else account
        if first is not account:
            raise CommandError(
                "selector.same_credential",
                first=f"{first.channel}={first.id}",
                second=f"{account.channel}={account.id}",
                path=config.path,
            )
