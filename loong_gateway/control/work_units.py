"""What can be done with work units: the verbs, what each is given, and the check of what came.

The command line makes its flags of this table, the port its methods.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Protocol

from loong_gateway.base.faults import CommandError
from loong_gateway.storage import work_unit_rows as rows
from loong_gateway.storage import work_unit_rules as rules
from loong_gateway.storage import work_units as units
from loong_gateway.storage.connection import Connection

__all__ = ["VERBS", "Field", "Verb", "WorkUnits", "checked"]

Json = Mapping[str, object]
Act = Callable[[Connection, Json, int], Json]

LONGEST_NAME = 200
LONGEST_LINE = 500
LONGEST_TEXT = 20_000
LONGEST_PAYLOAD = 65_536
LATEST_MS = 1 << 53
DAY_MS = 24 * 3_600_000


class WorkUnits(Protocol):
    """The work units of a running gateway. Thread-safe."""

    def act(self, verb: str, given: Json) -> Json:
        """Carry out a verb of VERBS. Blocks for one look into the store or one commit.

        Raises CommandError `work_unit.*` (then nothing was changed), StoreUnwritable.
        """


@dataclass(frozen=True)
class Field:
    """One value of a request. `kind`: "id", "line", "text", "int", "choice", "flag" or "json".

    `most` is the longest text in characters, or the largest number.
    """

    name: str
    kind: str
    text: str
    required: bool = False
    default: object = None
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = LONGEST_NAME


@dataclass(frozen=True)
class Verb:
    """One operation. `text` is a sentence about it; `changes`: it writes."""

    name: str
    text: str
    fields: tuple[Field, ...]
    act: Act
    changes: bool = True


def _choice(
    name: str, text: str, choices: tuple[str, ...], default: str | None = None, *, required: bool = False
) -> Field:
    return Field(name, "choice", text, required, default, choices)


def _number(name: str, text: str, default: int | None, least: int, most: int) -> Field:
    return Field(name, "int", text, default=default, least=least, most=most)


_ID = Field("id", "id", "the work unit", required=True)
_ACTOR = Field("actor", "line", "who does this, for the events")
_OWNER = Field("owner", "line", "the name of the worker that holds the lease", required=True)
_TTL = _number("ttl_ms", "how long the lease holds from now", rules.DEFAULT_TTL_MS, 1, rules.LONGEST_TTL_MS)
_VERSION = _number("lease_version", "only while the lease is this one", None, 1, LATEST_MS)
_PRIORITY = "low, normal, high or critical"
_STATUS = "captured, triaged, ready, waiting_external, waiting_review"
_DUE = _number("next_run_at_ms", "not before this moment, in ms since 1970", None, 0, LATEST_MS)
_SOURCE = tuple(Field(name, "line", "where it comes from", most=LONGEST_LINE) for name in rules.SOURCE_FIELDS)
_EDGE = (
    Field("blocking_id", "id", "the one that has to be completed first", required=True),
    Field("blocked_id", "id", "the one that waits for it", required=True),
    _ACTOR,
)

_TABLE = (
    Verb(
        "create",
        "store a new work unit",
        (
            _choice("kind", "feature, issue, review or ops", rules.KINDS, required=True),
            Field("title", "line", "one line about it", required=True),
            Field("description", "text", "what is to be done", default="", most=LONGEST_TEXT),
            _choice("status", _STATUS, rules.UNCLAIMED, "ready"),
            _choice("priority", _PRIORITY, rules.PRIORITIES, "normal"),
            _number("max_attempts", "how often it is tried", 3, 1, 100),
            _number("initial_backoff_ms", "the pause after the first failure", 1000, 0, DAY_MS),
            _number("max_backoff_ms", "the longest pause", 60_000, 0, 30 * DAY_MS),
            _DUE,
            _choice("source_kind", "manual, discord or github", rules.SOURCES, "manual"),
            *_SOURCE,
            Field("parent_work_unit_id", "id", "the one it is a part of"),
            Field("id", "id", "its id, to be able to repeat this safely"),
            _ACTOR,
        ),
        units.create,
    ),
    Verb(
        "show", "show one work unit", (_ID,), lambda conn, given, _: rows.snapshot(conn, given["id"]), False
    ),
    Verb(
        "list",
        "list work units, those that changed last first",
        (
            _choice("status", "only this status", rules.STATUSES),
            Field("include_archived", "flag", "archived ones as well", default=False),
            _number("limit", "at most so many", 100, 1, 1000),
        ),
        lambda conn, given, _: rows.listed(conn, given),
        False,
    ),
    Verb(
        "events",
        "list what happened to one work unit",
        (_ID, _number("limit", "at most so many, the newest", 100, 1, rules.MOST_EVENTS)),
        lambda conn, given, _: rows.events(conn, given),
        False,
    ),
    Verb("claim", "lease the work unit that is due next", (_OWNER, _TTL, _ACTOR), units.claim),
    Verb("start", "say that the work on a leased unit begins", (_ID, _OWNER, _VERSION, _ACTOR), units.start),
    Verb("heartbeat", "keep a lease for longer", (_ID, _OWNER, _TTL, _VERSION, _ACTOR), units.heartbeat),
    Verb(
        "complete",
        "end a lease: done, to be tried again, failed or cancelled",
        (
            _ID,
            _OWNER,
            _choice("disposition", ", ".join(rules.DISPOSITIONS), rules.DISPOSITIONS, required=True),
            Field("result_payload_json", "json", "what came of it, as JSON", most=LONGEST_PAYLOAD),
            Field("error", "text", "what went wrong", most=LONGEST_LINE * 4),
            _DUE,
            _VERSION,
            _ACTOR,
        ),
        units.complete,
    ),
    Verb("recover", "take back leases that have expired", (_ACTOR,), units.recover),
    Verb("archive", "put away a work unit that has ended", (_ID, _ACTOR), units.archive),
    Verb(
        "assign",
        "say who is responsible, or nobody",
        (_ID, Field("assigned_to", "line", "who; without it nobody"), _ACTOR),
        units.assign,
    ),
    Verb(
        "update",
        "change what a work unit says, or its status",
        (
            _ID,
            Field("title", "line", "one line about it"),
            Field("description", "text", "what is to be done", most=LONGEST_TEXT),
            _choice("status", f"{_STATUS} or cancelled", (*rules.UNCLAIMED, "cancelled")),
            _choice("priority", _PRIORITY, rules.PRIORITIES),
            _DUE,
            Field("blocking_reason", "line", "what it waits for", most=LONGEST_LINE),
            Field("clear_blocking_reason", "flag", "it waits no more", default=False),
            _ACTOR,
        ),
        units.update,
    ),
    Verb("depend", "have one work unit wait for another", _EDGE, units.depend),
    Verb("undepend", "have it wait no more", _EDGE, units.undepend),
    Verb(
        "note",
        "keep a remark with a work unit",
        (_ID, Field("note", "text", "the remark", required=True, most=4000), _ACTOR),
        units.note,
    ),
    Verb(
        "health",
        "count the work units by state",
        (),
        lambda conn, _, now_ms: dict(rows.health(conn, now_ms)),
        False,
    ),
)
VERBS: Mapping[str, Verb] = {verb.name: verb for verb in _TABLE}


def checked(verb: Verb, given: Json) -> dict[str, object]:
    """The request that `given` makes, with defaults; null counts as absent, unknown names are ignored.

    Raises CommandError `work_unit.bad_value`, which names the field and never its value.
    """
    request = {}
    for field in verb.fields:
        value = given.get(field.name)
        if value is None:
            if field.required:
                raise _bad(verb, field, "is needed")
            value = field.default
        else:
            value = _checked(verb, field, value)
        request[field.name] = value
    return request


def _checked(verb: Verb, field: Field, value: object) -> object:
    expected = _expected(field, value)
    if expected is not None:
        raise _bad(verb, field, f"must be {expected}")
    return value


def _expected(field: Field, value: object) -> str | None:
    """What was expected in place of `value`, None when it is right."""
    if field.kind == "json":
        return None if _weight(value) <= field.most else f"JSON of at most {field.most} characters"
    if field.kind == "flag":
        return None if isinstance(value, bool) else "true or false"
    if field.kind == "int":
        fits = isinstance(value, int) and not isinstance(value, bool) and field.least <= value <= field.most
        return None if fits else f"a whole number from {field.least} to {field.most}"
    if field.kind == "choice":
        return None if value in field.choices else f"one of {', '.join(field.choices)}"
    return _expected_text(field, value)


def _expected_text(field: Field, value: object) -> str | None:
    if not isinstance(value, str) or not _is_unicode(value):
        return "a text"
    if field.kind == "id":
        return None if re.fullmatch(rules.ID_PATTERN, value) else "wu- and 16 hexadecimal digits"
    if len(value) > field.most or (not value and field.default is None):
        return f"a text of 1 to {field.most} characters"
    if field.kind == "line" and not value.isprintable():
        return "one line"
    return None


def _weight(value: object) -> int:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        return len(text) if _is_unicode(text) else LONGEST_PAYLOAD + 1
    except (ValueError, RecursionError):
        # Not a number, or nested too deeply to be written down.
        return LONGEST_PAYLOAD + 1


def _is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _bad(verb: Verb, field: Field, detail: str) -> CommandError:
    return CommandError("work_unit.bad_value", field=field.name, detail=detail, operation=verb.name)
