"""`loong channels` and `loong channels list`: what is configured, what this build knows."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import cast

from loong_channels import catalog
from loong_gateway.base.wording import plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config, status_or_none
from loong_gateway.commands.render import style_of, table
from loong_gateway.config.snapshot import Config
from loong_gateway.views.channels import channels_document

HELP = "list the configured channel accounts and what each can do"
EXAMPLES = ("loong channels", "loong channels list --all")
EXIT_CODES = "0 done; 2 the configuration cannot be loaded"
FEW = 3

Json = Mapping[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--all", action="store_true", help="the whole catalog, also what is not configured")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the list; 0 unless the configuration cannot be loaded."""
    config = load_config(context)
    document = channels_document(config, context.environ, status_or_none(context))
    if context.json:
        context.document(document)
        return 0
    accounts = [cast("Json", entry) for entry in cast("Sequence[object]", document["channels"])]
    if args.all:
        _print_catalog(context)
    else:
        _print_accounts(context, config, accounts)
    context.out(f"config={config.path}")
    return 0


def _say(context: Context, *lines: str) -> None:
    for line in lines:
        context.out(line)


def _print_accounts(context: Context, config: Config, accounts: list[Json]) -> None:
    if not accounts:
        _say(context, f"No channel is configured in {config.path}.", *_first_steps(context), "")
        return
    _say(context, _verdict(accounts), "")
    rows = [["CHANNEL", "ACCOUNT", "STATE", "SEND", "SERVE", "TRANSPORT", "ALLOWED"]]
    meanings = {}
    for number, entry in enumerate(sorted(accounts, key=_urgency), 1):
        rows.append(_row(config, entry))
        if rows[-1][2] == "misconfigured":
            meanings[number, 2] = "bad"
    _say(context, *_table(context, rows, meanings))
    issues = [line for entry in sorted(accounts, key=_urgency) for line in _issues(context, entry)]
    if issues:
        _say(context, "", *issues)
    sending = [row.id for row in catalog.KNOWN.values() if row.package is not None and not row.receives]
    others = ""
    if sending:
        more = f" (and {len(sending) - FEW} more: --all)" if len(sending) > FEW else ""
        others = f"   Others this build can only send to: {', '.join(sorted(sending)[:FEW])}{more}"
    live = context.places.command("channels status")
    _say(context, "", f"* default account.  Live state: {live}{others}")


def _first_steps(context: Context) -> list[str]:
    return [
        "  fix: add [telegram] with enabled = true, bot_token and allowed_chat_ids, then: "
        + context.places.command("validate-config")
    ]


def _verdict(accounts: list[Json]) -> str:
    states = [_state(entry) for entry in accounts]
    ready = sum(1 for entry in accounts if _health(entry, "serve") == "ready")
    are = "is" if ready == 1 else "are"
    text = f"{ready} of {plural(len(accounts), 'account')} {are} configured to receive"
    for word in ("misconfigured", "disabled", "unsupported"):
        number = states.count(word)
        if number:
            text += f"; {number} {'is' if number == 1 else 'are'} {word}"
    return text + "."


def _urgency(entry: Json) -> tuple[int, str, str]:
    return (
        0 if _state(entry) == "misconfigured" else 1,
        str(entry["id"]),
        str(entry["configured_account_id"]),
    )


def _operation(entry: Json, name: str) -> Json:
    for operation in cast("Sequence[Json]", entry["operations"]):
        if operation["id"] == name:
            return operation
    raise KeyError(name)


def _health(entry: Json, name: str) -> str:
    return str(_operation(entry, name)["health"])


def _state(entry: Json) -> str:
    if not entry["compiled"]:
        return "unsupported"
    if not entry["enabled"]:
        return "disabled"
    healths = (_health(entry, "send"), _health(entry, "serve"))
    return "misconfigured" if "misconfigured" in healths else "enabled"


def _row(config: Config, entry: Json) -> list[str]:
    channel, account = str(entry["id"]), str(entry["configured_account_id"])
    shown = {"ready": "yes", "misconfigured": "no", "disabled": "-", "unsupported": "-"}
    return [
        channel,
        f"{account} *" if entry["is_default_account"] else account,
        _state(entry),
        shown[_health(entry, "send")],
        shown[_health(entry, "serve")],
        catalog.spec(channel).transport if entry["compiled"] else "-",
        _allowed(config, channel, account),
    ]


def _allowed(config: Config, channel: str, account: str) -> str:
    try:
        setting = catalog.spec(channel).conversation_setting
    except LookupError:
        return "-"
    listed = config.channels[channel].accounts[account].settings.get(setting)
    values = list(listed) if isinstance(listed, (list, tuple)) else []
    if "*" in values:
        return "any"
    return plural(len(values), "chat" if "chat" in setting else "conversation")


def _issues(context: Context, entry: Json) -> list[str]:
    found: dict[str, str] = {}
    if _state(entry) != "misconfigured":
        return []
    name = f"{entry['id']}/{entry['configured_account_id']}"
    other = "correct it in the config, then: loong doctor"
    for operation in ("send", "serve"):
        about = _operation(entry, operation)
        pairs = zip(cast("Sequence[str]", about["issues"]), cast("Sequence[object]", about["fixes"]))
        found.update({f"{name}: {issue}": str(fix or other) for issue, fix in pairs})
    flagged = {line: fix.replace("loong ", context.places.command("")) for line, fix in found.items()}
    return [text for line, fix in flagged.items() for text in (line, f"  fix: {fix}")]


def _print_catalog(context: Context) -> None:
    rows = [["CHANNEL", "LABEL", "IN THIS BUILD", "KIND", "ALSO CALLED"]]
    known = sorted(catalog.KNOWN.values(), key=lambda row: (row.status == "stub", row.id))
    for row in known:
        in_build = "no" if row.package is None else "send, serve" if row.receives else "send"
        rows.append([row.id, row.label, in_build, row.kind, ", ".join(row.aliases) or "-"])
    built = sum(1 for row in known if row.package is not None)
    _say(
        context,
        f"{len(known)} channels are known; {built} {'works' if built == 1 else 'work'} in this build.",
        "",
    )
    _say(context, *_table(context, rows, {}), "")


def _table(context: Context, rows: list[list[str]], meanings: dict[tuple[int, int], str]) -> list[str]:
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    return table(rows, style, identifiers=(1,), meanings=meanings)
