"""`loong runtime work-unit VERB`: what changes something through the running gateway, else in the store itself.

The flags are the fields of `control.work_units.VERBS`; `COMMANDS` has what the table of verbs names for each.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import cast

from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import Context
from loong_gateway.commands.key_values import key_values
from loong_gateway.commands.rpc_client import RpcRefused
from loong_gateway.commands.through_gateway import change
from loong_gateway.control.work_units import VERBS, Field, Verb, checked
from loong_gateway.storage import migrations
from loong_gateway.storage.local import LocalStore, on_empty
from loong_gateway.texts import find

__all__ = ["COMMANDS"]

EXAMPLE_ID = "wu-0123456789abcdef"
# What each verb is given in its first example; its second one adds --json.
EXAMPLES = {
    "create": '--kind issue --title "Fix the build"',
    "show": f"--id {EXAMPLE_ID}",
    "list": "--status ready",
    "events": f"--id {EXAMPLE_ID}",
    "claim": "--owner worker-1",
    "start": f"--id {EXAMPLE_ID} --owner worker-1",
    "heartbeat": f"--id {EXAMPLE_ID} --owner worker-1",
    "complete": f"--id {EXAMPLE_ID} --owner worker-1 --disposition completed",
    "recover": "",
    "archive": f"--id {EXAMPLE_ID}",
    "assign": f"--id {EXAMPLE_ID} --assigned-to maria",
    "update": f"--id {EXAMPLE_ID} --priority high",
    "depend": f"--blocking-id {EXAMPLE_ID} --blocked-id wu-fedcba9876543210",
    "undepend": f"--blocking-id {EXAMPLE_ID} --blocked-id wu-fedcba9876543210",
    "note": f'--id {EXAMPLE_ID} --note "waits for the release"',
    "health": "",
}
# Left to the page about work units, so that the help of a verb stays one screen.
SELDOM = (
    *("project_id", "channel_id", "thread_id", "message_id", "external_ref", "source_url", "actor"),
    *("parent_work_unit_id", "initial_backoff_ms", "max_backoff_ms"),
)
# What a line about a unit tells, in this order.
SHOWN = ("work_unit_id", "kind", "status", "priority", "attempt_count", "next_run_at_ms", "assigned_to")

Json = Mapping[str, object]


class Command:
    """One verb, as commandline.verbs wants it."""

    EXIT_CODES = (
        "0 done; 1 refused: no such unit, no lease, not in this state; 2 wrong usage, or it could not run"
    )

    def __init__(self, verb: Verb) -> None:
        self._verb = verb
        self.HELP = verb.text
        line = f"loong runtime work-unit {verb.name} {EXAMPLES[verb.name]}".rstrip()
        self.EXAMPLES = (line, f"{line} --json")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the flags of this verb."""
        for field in self._verb.fields:
            _add_flag(parser, field)

    def run(self, args: argparse.Namespace, context: Context) -> int:
        """Carry it out and show what came of it."""
        verb = self._verb
        given = {field.name: getattr(args, field.name) for field in verb.fields}
        payload = given.get("result_payload_json")
        if payload is not None:
            given["result_payload_json"] = _parsed(verb, str(payload))
        request = checked(verb, given)
        answer = (_changed if verb.changes else _looked_up)(context, verb, request)
        if context.json:
            context.document(answer)
        else:
            for line in _lines(verb.name, answer):
                context.out(line)
        return 0


COMMANDS = {verb.name: Command(verb) for verb in VERBS.values()}


def _add_flag(parser: argparse.ArgumentParser, field: Field) -> None:
    name = f"--{field.name.replace('_', '-')}"
    text = argparse.SUPPRESS if field.name in SELDOM else field.text
    if field.kind == "flag":
        parser.add_argument(name, action="store_true", help=text)
    else:
        parser.add_argument(
            name,
            type=int if field.kind == "int" else str,
            required=field.required,
            default=field.default,
            metavar={"id": "ID", "int": "N", "json": "JSON"}.get(field.kind, "TEXT"),
            help=text if field.name != "id" or field.required else argparse.SUPPRESS,
        )


def _parsed(verb: Verb, given: str) -> object:
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        raise CommandError(
            "work_unit.bad_value", field="result_payload_json", detail="must be JSON", operation=verb.name
        ) from None


def _changed(context: Context, verb: Verb, request: Json) -> Json:
    given = {name: value for name, value in request.items() if value is not None}
    now_ms = context.clock.wall_ms()
    try:
        answer = change(
            context, f"work_units.{verb.name}", given, lambda conn: verb.act(conn, request, now_ms)
        )
    except RpcRefused as error:
        # What the store refuses is said in the same words as without a gateway.
        row = find(error.reason) if error.reason.startswith("work_unit.") else None
        if row is not None:
            error.code, error.message, error.exit_code = error.reason, error.text, row[3]
            error.fix = error.said_fix or error.fix
        raise
    return cast(Json, answer)


def _looked_up(context: Context, verb: Verb, request: Json) -> Json:
    now_ms = context.clock.wall_ms()
    answer = LocalStore(context.places).read(
        lambda conn: verb.act(conn, request, now_ms) if migrations.has(conn, "work_units") else None
    )
    return on_empty(lambda conn: verb.act(conn, request, now_ms)) if answer is None else answer


def _lines(verb: str, answer: Json) -> list[str]:
    if verb == "list":
        return [_unit_line(cast(Json, one)) for one in cast("list[object]", answer["work_units"])] or [
            "no such work unit is stored"
        ]
    if verb == "events":
        return [key_values(cast(Json, one)) for one in cast("list[object]", answer["events"])]
    if verb == "claim":
        if not answer["claimed"]:
            return ["claimed=false"]
        return [f"claimed=true {_unit_line(cast(Json, answer['snapshot']))}"]
    return [_unit_line(answer) if "work_unit" in answer else key_values(answer)]


def _unit_line(snapshot: Json) -> str:
    unit = cast(Json, snapshot["work_unit"])
    lease = cast(Json, snapshot["lease"] or {})
    shown = {name: unit[name] for name in SHOWN}
    shown["lease_owner"] = lease.get("owner")
    shown["lease_expires_at_ms"] = lease.get("expires_at_ms")
    shown["blocked_by"] = ",".join(cast("list[str]", unit["blocked_by_work_unit_ids"])) or None
    return key_values({**shown, "last_error": unit["last_error"], "title": unit["title"]})
