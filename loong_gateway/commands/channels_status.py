"""`loong channels status`: the live state of every configured account, and on request what the platform says."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

from loong_channels import catalog
from loong_channels.contract import ChannelSpec
from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import ago, duration, one_line, plural
from loong_gateway.commands import channels_status_remote
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.config_access import load_config_beside
from loong_gateway.commands.render import style_of, table
from loong_gateway.commands.rpc_target import wants_remote
from loong_gateway.config.outside import egress_of, resolve_account
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.control import ProbeOutcome
from loong_gateway.messaging.probing import probed as outcome_of
from loong_gateway.owner.client import ControlClient
from loong_gateway.owner.status import Observation, observe
from loong_gateway.owner.verdict import headline, next_steps, problems
from loong_gateway.views.channels import spec_of, surface_of

HELP = "show the live state of each channel account"
EXAMPLES = ("loong channels status", "loong channels status --probe")
EXIT_CODES = (
    "0 every enabled account is ready or kept off; 1 one is not, or no gateway runs; 2 it could not run"
)
PROBE_S = 5.0
SCHEMA_VERSION = 1
NOT_RUNNING = "not running"
NOT_KNOWN = "not known"
NOT_SELECTED = "not selected"
# When anything came from the platform, when a message came, when a send succeeded. How long ago never means trouble.
CLOCKS = ("last_heard_ms", "last_inbound_ms", "last_outbound_ms")
# What the document takes over from the status of the gateway.
LIVE = (
    "since_ms",
    "last_error",
    "trouble",
    "next_try_ms",
    "stopped_by",
    *CLOCKS,
    "restarts",
    "kicked_total",
    "consecutive_failures",
    "last_failure_ms",
    "last_recovery_ms",
    "last_duplicate_reclaim_ms",
    "recent_incidents",
    "identity",
    "inbox",
    "outbox",
)

Json = Mapping[str, object]


@dataclass(frozen=True)
class Row:
    """One account with what is known of it."""

    account: AccountConfig
    enabled: bool
    phase: str
    surface: Json | None
    probed: ProbeOutcome | None

    @property
    def name(self) -> str:
        """Channel and account as every text writes them."""
        return f"{self.account.channel}/{self.account.id}"

    @property
    def bad(self) -> bool:
        """True when somebody should look at this account."""
        if not self.enabled or self.phase == NOT_SELECTED:
            return self.probed is not None and self.probed.outcome not in ("ok", "not_asked")
        if self.surface is not None and self.surface.get("stopped_by"):
            # Somebody wants it so.
            return False
        return self.phase != "ready" or (self.probed is not None and self.probed.outcome != "ok")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument(
        "--probe", action="store_true", help="also ask each platform whether it accepts the credential"
    )
    add_target_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the state; 1 when it is not what an operator wants."""
    if args.token_file or wants_remote(args, context):
        return channels_status_remote.run(args, context)
    seen = observe(context.places)
    status = seen.document
    config, valid = load_config_beside(context, live=bool(status["lock_held"]))
    probes = _probe_all(context, config, status) if args.probe else {}
    rows = [
        _row(config, account, status, probes.get((account.channel, account.id)))
        for channel in config.channels.values()
        for account in channel.accounts.values()
    ]
    if not valid:
        rows = _rows_of_surfaces(status, probed=args.probe)
    rows.sort(key=lambda row: (not row.bad, row.name))
    if context.json:
        context.document(_document(config, status, rows))
    else:
        _print(context, config, seen, rows, probed=args.probe)
    return 1 if not status.get("running") or any(row.bad for row in rows) else 0


def _row(config: Config, account: AccountConfig, status: Json, probed: ProbeOutcome | None) -> Row:
    enabled = config.channels[account.channel].enabled and account.enabled
    surface = surface_of(status, account.channel, account.id) if status.get("lock_held") else None
    if enabled and status.get("stale"):
        # What a frozen owner said last says nothing of now.
        return Row(account, enabled, NOT_KNOWN, None, probed)
    if surface is not None:
        phase = str(surface.get("phase"))
    elif not enabled:
        phase = "-"
    else:
        # A gateway runs one account of a family; the others are configured for another occasion.
        phase = NOT_SELECTED if status.get("lock_held") else NOT_RUNNING
    return Row(account, enabled, phase, surface, probed)


def _rows_of_surfaces(status: Json, *, probed: bool) -> list[Row]:
    """What the owner serves, where the config does not tell which accounts there are."""
    surfaces = status["surfaces"]
    result = ProbeOutcome("not_asked", "not asked: the config is invalid") if probed else None
    rows = []
    for surface in surfaces if isinstance(surfaces, list) else ():
        name = str(surface["account"])
        account = AccountConfig(str(surface["channel"]), name, name, enabled=True, settings={})
        stale = bool(status["stale"])
        phase = NOT_KNOWN if stale else str(surface["phase"])
        rows.append(Row(account, True, phase, None if stale else surface, result))
    return rows


def _probe_all(context: Context, config: Config, status: Json) -> dict[tuple[str, str], ProbeOutcome]:
    """Ask the platform of every enabled account, all at once: through the gateway where it serves the account."""
    results: dict[tuple[str, str], ProbeOutcome] = {}
    threads = ThreadRegistry()

    def start(account: AccountConfig, probe: Callable[[], ProbeOutcome]) -> None:
        def body() -> None:
            results[account.channel, account.id] = probe()

        threads.spawn(f"probe:{account.channel}:{account.id}", body)

    asked = []
    for channel in config.channels.values():
        spec = spec_of(channel.name)
        if spec is None or not channel.enabled:
            continue
        for account in channel.accounts.values():
            if account.enabled:
                asked.append((account.channel, account.id))
                # Loaded here, not in several threads at once.
                catalog.channel_class(channel.name)
                start(account, functools.partial(_probe, context, config, spec, account, status))
    threads.join_all(Deadline(PROBE_S + 2))
    late = ProbeOutcome("no_answer", f"no answer in {PROBE_S:g} s")
    return {key: results.get(key, late) for key in asked}


def _probe(
    context: Context, config: Config, spec: ChannelSpec, account: AccountConfig, status: Json
) -> ProbeOutcome:
    owned = bool(status.get("lock_held"))
    if owned and surface_of(status, account.channel, account.id) is not None:
        answer = _ask_owner(context, account)
        if answer is not None:
            return answer
    if owned and spec.probe_takes_over:
        # It would take the account away from the gateway, if that has it; also from one that does not answer.
        return ProbeOutcome("not_asked", "not asked: the running gateway may have the account")
    try:
        resolved = resolve_account(spec, account, context.environ)
    except SecretUnavailable as error:
        return ProbeOutcome("not_asked", f"not asked: {error}")
    channel = catalog.channel_class(account.channel)(resolved, egress_of(config.network, context.environ))
    return outcome_of(lambda deadline: channel.probe(deadline=deadline), PROBE_S, context.clock)


def _ask_owner(context: Context, account: AccountConfig) -> ProbeOutcome | None:
    """What the gateway hears over its live channel; None when it cannot be asked."""
    body: dict[str, object] = {"channel": account.channel, "account": account.id, "timeout_s": PROBE_S}
    try:
        answer = ControlClient(context.places).post("/api/gateway/probe", body, timeout_s=PROBE_S + 1)
    except CommandError:
        return None
    identity, elapsed_ms = answer.get("identity"), answer.get("elapsed_ms")
    return ProbeOutcome(
        str(answer.get("outcome")),
        one_line(answer.get("detail") or ""),
        identity if isinstance(identity, str) else None,
        elapsed_ms if isinstance(elapsed_ms, int) else None,
    )


def _answers(rows: Sequence[Row]) -> str:
    asked = [row.probed for row in rows if row.probed is not None]
    good = sum(1 for probed in asked if probed.outcome == "ok")
    return f"{good} of {plural(len(asked), 'account')} answered the probe."


def _print(context: Context, config: Config, seen: Observation, rows: list[Row], *, probed: bool) -> None:
    asked = f" {_answers(rows)}" if probed and rows else ""
    context.out(headline(seen, context.places) + asked)
    if rows:
        _print_table(context, rows, probed=probed)
    else:
        context.out(f"No channel is configured in {config.path}.")
    for line in _incidents(rows, context.clock.wall_ms()):
        context.out(line)
    for line in (*problems(seen, context.places), *next_steps(seen, context.places)):
        context.out(line)


def _incidents(rows: Sequence[Row], now_ms: int) -> list[str]:
    """What happened to each account since the gateway started, the newest first; nothing where nothing did."""
    lines = []
    for row in rows:
        found = (row.surface or {}).get("recent_incidents")
        if not isinstance(found, list) or not found:
            continue
        lines += ["", f"Incidents of {row.name}:"]
        for one in found:
            times = f" x{one['count']}" if one.get("count", 1) > 1 else ""
            said = one_line(one.get("detail") or "-")
            lines.append(f"  {ago(one.get('at_ms'), now_ms)}: {one.get('kind')}{times}: {said}")
    return lines


def _ago(surface: Json | None, name: str, now_ms: int) -> str:
    moment_ms = (surface or {}).get(name)
    return "-" if surface is None else ago(moment_ms if isinstance(moment_ms, int) else None, now_ms)


def _print_table(context: Context, rows: list[Row], *, probed: bool) -> None:
    now_ms = context.clock.wall_ms()
    head = ["CHANNEL", "ACCOUNT", "STATE", "PHASE", "SINCE", "HEARD", "LAST IN", "LAST OUT"]
    cells = [head + (["PROBE"] if probed else [])]
    meanings = {}
    for number, row in enumerate(rows, 1):
        since_ms = row.surface.get("since_ms") if row.surface is not None else None
        since = duration(max(0, now_ms - since_ms) // 1000) if isinstance(since_ms, int) else "-"
        state = "enabled" if row.enabled else "disabled"
        cells.append([row.account.channel, row.account.id, state, row.phase, since])
        cells[-1] += [_ago(row.surface, name, now_ms) for name in CLOCKS]
        if probed:
            cells[-1].append(row.probed.detail if row.probed is not None else "-")
        if row.bad:
            meanings[number, 3] = "bad"
        elif row.phase == "ready":
            meanings[number, 3] = "good"
    context.out()
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    for line in table(cells, style, identifiers=(1,), meanings=meanings):
        context.out(line)


def _document(config: Config, status: Json, rows: list[Row]) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "config": config.path,
        "gateway": {
            name: status.get(name) for name in ("phase", "running", "stale", "ready", "lock_held", "pid")
        },
        "accounts": [_account_document(row) for row in rows],
    }


def _account_document(row: Row) -> dict[str, object]:
    surface = row.surface or {}
    probe = None if row.probed is None else vars(row.probed)
    return {
        "channel": row.account.channel,
        "account": row.account.id,
        "enabled": row.enabled,
        "phase": None if row.phase == "-" else row.phase.replace(" ", "_"),
        **{name: surface.get(name) for name in LIVE},
        "probe": probe,
    }
