"""Texts about work units and the audit journal."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "work_unit.bad_value": (
        "{field} {detail}",
        None,
        "see what can be given: loong runtime work-unit {operation} --help",
        2,
    ),
    "work_unit.not_found": (
        "there is no work unit {id}",
        None,
        "see which there are: loong runtime work-unit list",
        1,
    ),
    "work_unit.exists": (
        "there is a work unit {id} already",
        None,
        "look at it: loong runtime work-unit show --id {id}",
        1,
    ),
    "work_unit.no_lease": (
        "{verb} did not find a matching active lease",
        None,
        "see who holds it and until when: loong runtime work-unit show --id {id}",
        1,
    ),
    "work_unit.not_terminal": (
        "only a work unit that has ended can be archived; {id} is {status}",
        None,
        "cancel it first: loong runtime work-unit update --id {id} --status cancelled",
        1,
    ),
    "work_unit.ended": (
        "work unit {id} is {status} and stays as it is",
        None,
        "create another one: loong runtime work-unit create --help",
        1,
    ),
    "work_unit.nothing_to_change": (
        "nothing was given to change on work unit {id}",
        None,
        "see what can be: loong runtime work-unit update --help",
        2,
    ),
    "work_unit.cycle": (
        "work unit {blocked} cannot wait for {blocking}: it would wait for itself",
        None,
        "see what waits for what: loong runtime work-unit show --id {blocking}",
        1,
    ),
    "work_unit.no_dependency": (
        "work unit {blocked} does not wait for {blocking}",
        None,
        "see what it waits for: loong runtime work-unit show --id {blocked}",
        1,
    ),
    "audit.missing": (
        "audit journal not found; it appears when there is something to record for the first time",
        "{path}",
        "loong gateway run",
        2,
    ),
    "audit.off": (
        "no audit journal is kept: audit.mode is off",
        "{config}",
        "set audit.mode to jsonl there, then: loong gateway restart",
        2,
    ),
    "audit.unreadable": (
        "the audit journal cannot be read: {detail}",
        "{path}",
        "check its owner, its mode and its file system, then: loong doctor",
        2,
    ),
    "audit.running": (
        "the audit journal is not repaired while a gateway writes to it",
        "{path}",
        "loong gateway stop",
        2,
    ),
    "work_unit.too_many": (
        "work unit {id} has {most} {what} already",
        None,
        "look at it: loong runtime work-unit show --id {id}",
        1,
    ),
}
