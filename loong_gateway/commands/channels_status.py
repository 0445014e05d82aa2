"""`loong channels status`: the live state of every configured account, and on request what the platform says."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loong_channels import catalog
from loong_channels.faults import BadCredentials, Fault, TimedOut, Unreachable
from loong_channels.waiting import Deadline
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.wording import duration, plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config_beside
from loong_gateway.commands.render import latency, style_of, table
from loong_gateway.config.outside import egress_of, resolve_account
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.owner.status import Observation, observe
from loong_gateway.owner.verdict import headline, next_steps, problems
from loong_gateway.views.channels import spec_of, surface_of

HELP = "show the live state of each channel account"
EXAMPLES = ("loong channels status", "loong channels status --probe")
EXIT_CODES = "0 every enabled account is ready; 1 one is not, or no gateway runs; 2 it could not run"
PROBE_S = 5.0
SCHEMA_VERSION = 1
NOT_RUNNING = "not running"
NOT_KNOWN = "not known"
NOT_SELECTED = "not selected"

Json = Mapping[str, object]


@dataclass(frozen=True)
class Probed:
    """What a platform answered. `outcome`: "ok", "refused", "no_answer", "failed" or "not_asked"."""

    outcome: str
    text: str
    identity: str | None = None
    elapsed_s: float | None = None


@dataclass(frozen=True)
class Row:
    """One account with what is known of it."""

    account: AccountConfig
    enabled: bool
    phase: str
    surface: Json | None
    probed: Probed | None

    @property
    def name(self) -> str:
        """Channel and account as every text writes them."""
        return f"{self.account.channel}/{self.account.id}"

    @property
    def bad(self) -> bool:
        """True when somebody should look at this account."""
        if not self.enabled or self.phase == NOT_SELECTED:
            return self.probed is not None and self.probed.outcome not in ("ok", "not_asked")
        return self.phase != "ready" or (self.probed is not None and self.probed.outcome != "ok")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument(
        "--probe", action="store_true", help="also ask each platform whether it accepts the credential"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the state; 1 when it is not what an operator wants."""
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


def _row(config: Config, account: AccountConfig, status: Json, probed: Probed | None) -> Row:
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
    result = Probed("not_asked", "not asked: the config is invalid") if probed else None
    rows = []
    for surface in surfaces if isinstance(surfaces, list) else ():
        name = str(surface["account"])
        account = AccountConfig(str(surface["channel"]), name, name, enabled=True, settings={})
        stale = bool(status["stale"])
        phase = NOT_KNOWN if stale else str(surface["phase"])
        rows.append(Row(account, True, phase, None if stale else surface, result))
    return rows


def _probe_all(context: Context, config: Config, status: Json) -> dict[tuple[str, str], Probed]:
    """Ask the platform of every enabled account, all at once."""
    results: dict[tuple[str, str], Probed] = {}
    threads = ThreadRegistry()

    def start(account: AccountConfig) -> None:
        def body() -> None:
            results[account.channel, account.id] = _probe(context, config, account)

        threads.spawn(f"probe:{account.channel}:{account.id}", body)

    asked = []
    for channel in config.channels.values():
        for account in channel.accounts.values():
            spec = spec_of(channel.name)
            if not channel.enabled or not account.enabled or spec is None:
                continue
            surface = surface_of(status, account.channel, account.id) if status.get("lock_held") else None
            if spec.probe_takes_over and surface is not None:
                # It would take the account away from the gateway that serves it.
                results[account.channel, account.id] = _of_owner(surface)
                asked.append((account.channel, account.id))
            else:
                # Loaded here, not in several threads at once.
                catalog.channel_class(channel.name)
                asked.append((account.channel, account.id))
                start(account)
    threads.join_all(Deadline(PROBE_S + 1))
    late = Probed("no_answer", f"no answer in {latency(PROBE_S)}")
    return {key: results.get(key, late) for key in asked}


def _of_owner(surface: Json) -> Probed:
    """What the running gateway knows, where asking the platform would disturb it."""
    if surface.get("phase") == "ready":
        return Probed("ok", "ready in the running gateway")
    return Probed("not_asked", "not asked: the running gateway has the account")


def _probe(context: Context, config: Config, account: AccountConfig) -> Probed:
    begun_s = context.clock.monotonic_s()
    try:
        resolved = resolve_account(catalog.spec(account.channel), account, context.environ)
        channel = catalog.channel_class(account.channel)(resolved, egress_of(config.network, context.environ))
        identity = channel.probe(deadline=Deadline(PROBE_S))
    except SecretUnavailable as error:
        return Probed("not_asked", f"not asked: {error}")
    except BadCredentials as error:
        return Probed("refused", f"refused: {error}")
    except TimedOut:
        return Probed("no_answer", f"no answer in {latency(PROBE_S)}")
    except Unreachable as error:
        return Probed("no_answer", f"no answer: {error}")
    except Fault as error:
        return Probed("failed", str(error))
    elapsed_s = context.clock.monotonic_s() - begun_s
    return Probed("ok", f"ok {latency(elapsed_s)} as {identity}", identity, elapsed_s)


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
    for line in (*problems(seen, context.places), *next_steps(seen, context.places)):
        context.out(line)


def _print_table(context: Context, rows: list[Row], *, probed: bool) -> None:
    now_ms = context.clock.wall_ms()
    cells = [["CHANNEL", "ACCOUNT", "STATE", "PHASE", "SINCE"] + (["PROBE"] if probed else [])]
    meanings = {}
    for number, row in enumerate(rows, 1):
        since_ms = row.surface.get("since_ms") if row.surface is not None else None
        since = duration(max(0, now_ms - since_ms) // 1000) if isinstance(since_ms, int) else "-"
        state = "enabled" if row.enabled else "disabled"
        cells.append([row.account.channel, row.account.id, state, row.phase, since])
        if probed:
            cells[-1].append(row.probed.text if row.probed is not None else "-")
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
    probe = None
    if row.probed is not None:
        elapsed_s = row.probed.elapsed_s
        probe = {
            "outcome": row.probed.outcome,
            "detail": row.probed.text,
            "identity": row.probed.identity,
            "elapsed_ms": None if elapsed_s is None else round(elapsed_s * 1000),
        }
    return {
        "channel": row.account.channel,
        "account": row.account.id,
        "enabled": row.enabled,
        "phase": None if row.phase == "-" else row.phase.replace(" ", "_"),
        "since_ms": surface.get("since_ms"),
        "last_error": surface.get("last_error"),
        "last_inbound_ms": surface.get("last_inbound_ms"),
        "last_outbound_ms": surface.get("last_outbound_ms"),
        "restarts": surface.get("restarts"),
        "identity": surface.get("identity"),
        "inbox": surface.get("inbox"),
        "outbox": surface.get("outbox"),
        "probe": probe,
    }
