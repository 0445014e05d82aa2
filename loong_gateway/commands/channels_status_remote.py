"""`channels status` of a gateway that an address names: what it says of its accounts, nothing of this home."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from loong_gateway.base.wording import ago, one_line, plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.render import style_of, table
from loong_gateway.commands.rpc_verbs import ask, table_of

PROBE_MS = 5000
MARGIN_S = 5.0


def run(args: argparse.Namespace, context: Context) -> int:
    """Print one line per account; 0 when all that are enabled work."""
    params: dict[str, object] = {"probe": args.probe, "timeoutMs": PROBE_MS}
    answer = ask(args, context, "channels.status", params, timeout_s=PROBE_MS / 1000 + MARGIN_S)
    accounts = _accounts(answer)
    bad = [name for name, account in accounts if _is_bad(account)]
    if context.json:
        context.document(answer)
        return 1 if bad else 0
    works = len(accounts) - len(bad)
    context.out(f"Gateway answers: {works} of {plural(len(accounts), 'account')} as wanted.")
    if accounts:
        context.out()
        _print(context, accounts, answer.get("ts"), probed=args.probe)
    return 1 if bad else 0


def _accounts(answer: Mapping[str, object]) -> list[tuple[tuple[str, str], Mapping[str, object]]]:
    found = []
    for channel, listed in table_of(answer.get("channelAccounts")).items():
        for one in listed if isinstance(listed, list) else []:
            account = table_of(one)
            found.append(((one_line(channel, 60), one_line(account.get("accountId") or "-", 60)), account))
    return sorted(found, key=lambda pair: (not _is_bad(pair[1]), pair[0]))


def _is_bad(account: Mapping[str, object]) -> bool:
    if account.get("enabled") is False:
        return False
    probe = table_of(account.get("probe"))
    return account.get("connected") is not True or (bool(probe) and probe.get("ok") is not True)


def _print(
    context: Context,
    accounts: list[tuple[tuple[str, str], Mapping[str, object]]],
    now_ms: object,
    *,
    probed: bool,
) -> None:
    at_ms = now_ms if isinstance(now_ms, int) else context.clock.wall_ms()
    head = ["CHANNEL", "ACCOUNT", "STATE", "PHASE", "LAST IN", "LAST OUT"]
    rows = [head + (["PROBE"] if probed else []) + ["LAST ERROR"]]
    meanings = {}
    for number, ((channel, name), account) in enumerate(accounts, 1):
        row = [
            channel,
            name,
            "disabled" if account.get("enabled") is False else "enabled",
            _phase(account),
            *(_ago(account, key, at_ms) for key in ("lastInboundAt", "lastOutboundAt")),
        ]
        if probed:
            row.append(_probe(table_of(account.get("probe"))))
        rows.append([*row, one_line(account.get("lastError") or "-")])
        meanings[number, 3] = "bad" if _is_bad(account) else "good"
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    for line in table(rows, style, identifiers=(1,), meanings=meanings):
        context.out(line)


def _phase(account: Mapping[str, object]) -> str:
    """As `channels status` of this host says it; a gateway that knows no phases says less."""
    phase = account.get("phase")
    if isinstance(phase, str) and phase:
        return one_line(phase, 60)
    if account.get("enabled") is False:
        return "-"
    return next((word for word in ("connected", "running") if account.get(word) is True), "not running")


def _ago(account: Mapping[str, object], key: str, now_ms: int) -> str:
    moment = account.get(key)
    return ago(moment if isinstance(moment, int) else None, now_ms)


def _probe(probe: Mapping[str, object]) -> str:
    if not probe:
        return "not asked"
    took = probe.get("elapsedMs")
    if probe.get("ok") is True:
        return f"ok {took} ms" if isinstance(took, int) else "ok"
    return one_line(probe.get("error") or "failed")
