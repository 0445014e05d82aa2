"""`loong audit recent|summary|verify|repair`: the journal of what was done and refused, read from its file."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Callable

from loong_gateway.audit.chain import Finding, check
from loong_gateway.audit.journal import Journal
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import plural, visible
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.commands.key_values import key_values
from loong_gateway.owner.files import reason
from loong_gateway.owner.lock import lock_state

__all__ = ["COMMANDS"]

MOST_EVENTS = 10_000

Json = dict[str, object]


class Command:
    """One verb, as commandline.verbs wants it. `act` gives the document, the lines for people and the exit code."""

    def __init__(
        self,
        name: str,
        text: str,
        exit_codes: str,
        act: Callable[[Journal, argparse.Namespace, Context], tuple[Json, list[str], int]],
        limit: int = 0,
    ) -> None:
        self._name = name
        self._act = act
        self._limit = limit
        self.HELP = text
        self.EXAMPLES = (f"loong audit {name}", f"loong audit {name} --json")
        self.EXIT_CODES = exit_codes

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the flags of this verb."""
        if self._limit:
            parser.add_argument(
                "--limit", type=int, default=self._limit, metavar="N", help="at most so many of the newest"
            )

    def run(self, args: argparse.Namespace, context: Context) -> int:
        """Read the journal and show what was asked for."""
        if self._limit and not 1 <= args.limit <= MOST_EVENTS:
            detail = f"--limit must be from 1 to {MOST_EVENTS}"
            raise CommandError("usage.bad_arguments", detail=detail, fix="loong audit recent --help")
        config = load_config(context)
        path = config.audit.path or context.places.audit
        try:
            told, lines, code = self._act(Journal(path), args, context)
        except FileNotFoundError as error:
            if config.audit.mode == "off":
                raise CommandError("audit.off", config=config.path) from error
            raise CommandError("audit.missing", path=path) from error
        except OSError as error:
            raise CommandError("audit.unreadable", detail=reason(error), path=path) from error
        if context.json:
            context.document({"command": self._name, "config": config.path, "journal_path": path, **told})
        else:
            for line in lines:
                context.out(line)
        return code


def _recent(journal: Journal, args: argparse.Namespace, _: Context) -> tuple[Json, list[str], int]:
    events = journal.newest(args.limit)
    told: Json = {"limit": args.limit, "loaded_events": len(events), "events": events}
    return told, [_line(event) for event in events] or ["nothing is recorded yet"], 0


def _summary(journal: Journal, args: argparse.Namespace, _: Context) -> tuple[Json, list[str], int]:
    events = journal.newest(args.limit)
    counts = Counter(_kind(event)[0] for event in events)
    times = [event.get("timestamp_epoch_s") for event in events]
    told: Json = {
        "limit": args.limit,
        "loaded_events": len(events),
        "event_kind_counts": dict(sorted(counts.items())),
        "first_timestamp_epoch_s": times[0] if times else None,
        "last_timestamp_epoch_s": times[-1] if times else None,
    }
    lines = [f"{number:>6}  {kind}" for kind, number in counts.most_common()]
    return told, [f"{plural(len(events), 'event')}, the newest ones, by kind", *lines], 0


def _verify(journal: Journal, _: argparse.Namespace, __: Context) -> tuple[Json, list[str], int]:
    found = check(journal.lines())
    first = found.first_break
    told: Json = {
        "valid": first is None,
        "total_events": found.total,
        "valid_events": found.valid,
        "unsealed_events": found.unsealed,
        "sealed_torn_lines": found.sealed_lines,
        "unfinished_bytes": found.unfinished_bytes,
        "starts_after": found.starts_after,
        "first_break": None if first is None else vars(first),
    }
    return told, _verdict(found), 0 if first is None else 1


def _verdict(found: Finding) -> list[str]:
    first = found.first_break
    if first is not None:
        event = f", event {visible(first.event_id)}" if first.event_id else ""
        return [
            f"broken: {first.reason}",
            f"  where: {first.file}:{first.line}{event}",
            f"  {found.valid} of {plural(found.total, 'event')} hold; nothing after that place is certain",
        ]
    lines = [f"ok: {plural(found.total, 'event')}, each follows the one before it"]
    if found.starts_after is not None:
        lines.append(f"  older ones are not there any more; the first follows {visible(found.starts_after)}")
    if found.sealed_lines:
        lines.append(f"  {plural(found.sealed_lines, 'torn line')}, each named by the event after it")
    if found.unfinished_bytes:
        lines.append("  the last line is unfinished; the next event will name it")
    return lines


def _repair(journal: Journal, _: argparse.Namespace, context: Context) -> tuple[Json, list[str], int]:
    if lock_state(context.places).held:
        raise CommandError("audit.running", path=journal.path)
    told = journal.repair()
    return told, [key_values(told)], 1 if told["outcome"] == "refused" else 0


def _kind(event: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    kind = event.get("kind")
    if isinstance(kind, dict) and len(kind) == 1:
        ((name, facts),) = kind.items()
        return str(name), facts if isinstance(facts, dict) else {}
    return str(kind), {}


def _line(event: Mapping[str, object]) -> str:
    name, facts = _kind(event)
    at_s = event.get("timestamp_epoch_s")
    is_time = isinstance(at_s, int) and 0 <= at_s < 1 << 34
    when = (
        datetime.fromtimestamp(int(str(at_s)), timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
        if is_time
        else "?"
    )
    return f"{when}  {visible(name)}  {key_values(facts)}".rstrip()


_READ_CODES = "0 done; 2 there is no journal, or it cannot be read"
COMMANDS = {
    "recent": Command("recent", "show the newest events of the audit journal", _READ_CODES, _recent, 50),
    "summary": Command("summary", "count the newest events by kind", _READ_CODES, _summary, 200),
    "verify": Command(
        "verify",
        "look whether the chain of the audit journal holds",
        "0 it holds; 1 it does not; 2 there is no journal, or it cannot be read",
        _verify,
    ),
    "repair": Command(
        "repair",
        "seal old events without an envelope; a chain that is broken stays as it is",
        "0 healthy or repaired; 1 refused; 2 there is no journal, a gateway runs, or it cannot be read",
        _repair,
    ),
}
