"""What a look at the gateway means, in words: one sentence, then each problem with its next step.

The same sentence stands on line 1 of every text that begins with the state of the gateway.
Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

import os

from loong_gateway.base.wording import ago, duration, one_line, printable
from loong_gateway.owner.paths import Places
from loong_gateway.owner.status import READY_PHASE, TROUBLED_PHASES, Observation
from loong_gateway.texts import find

__all__ = [
    "headline",
    "next_steps",
    "problems",
    "restart_command",
    "runtime_word",
    "start_command",
    "troubled_surfaces",
]

# Phases of a surface that was never ready yet and is in no trouble.
_ON_THE_WAY = ("starting", "connecting", "authenticating")
# Phases in which queued replies are what the operator worries about.
_KEEPS_REPLIES = ("auth_failed", "backoff", "degraded", "stopped")


def headline(seen: Observation, places: Places) -> str:
    """The state of the gateway in one sentence."""
    document = seen.document
    if not document["lock_held"]:
        return f"Gateway is not running; {_ending(seen)}"
    pid = document["pid"] if document["pid"] is not None else "unknown"
    if document["stale"]:
        age = duration((seen.heartbeat_age_ms or 0) // 1000)
        return f"Gateway is stalled: pid {pid} holds the lock but its last heartbeat is {age} old."
    if document["phase"] == "starting":
        return f"Gateway is starting: pid {pid} began {_uptime(seen)} ago."
    if document["phase"] == "stopping":
        reason = document["shutdown_reason"]
        return f"Gateway is stopping: pid {pid}{', ' + one_line(reason) if reason else ''}."
    return f"Gateway is running{_judgement(seen, places)}."


def _judgement(seen: Observation, places: Places) -> str:
    document = seen.document
    if not document["degraded_reasons"] and _connects(document):
        return f": {_surface_count(seen)}"
    if document["ready"] and not document["degraded_reasons"]:
        return f" and ready: {_surface_count(seen)}"
    state = "degraded" if document["ready"] else "not ready"
    return f", {state}: {_what_is_wrong(seen, places)}"


def runtime_word(document: dict[str, object]) -> str:
    """The owner in one word: running, stalled or stopped."""
    if not document["lock_held"]:
        return "stopped"
    return "stalled" if document["stale"] else "running"


def next_steps(seen: Observation, places: Places) -> list[str]:
    """Commands that help when nothing runs or nothing moves, each with what it is for."""
    document = seen.document
    logs = places.command("logs --lines 50")
    if document["stale"]:
        restart = restart_command(seen, places)
        return [
            f"  look:    {logs}",
            f"  restart: {restart}" if restart else f"  holder:  lsof {places.owner_lock}",
        ]
    if document["lock_held"]:
        return []
    if seen.refused is not None:
        return _where_and_fix(seen.refused.get("where"), seen.refused.get("fix") or start_command(places))
    start = f"  start: {start_command(places)}"
    failed = seen.died or document["phase"] == "failed" or seen.damaged
    return [start, f"  why:   {logs}"] if failed else [start]


def restart_command(seen: Observation, places: Places) -> str:
    """How a stalled owner is replaced; "" when its pid may by now be another process's."""
    # A frozen owner reads no stop request; the lock is free as soon as the process is gone.
    return f"kill -9 {seen.document['pid']}; {start_command(places)}" if seen.holder_is_alive else ""


def problems(seen: Observation, places: Places) -> list[str]:
    """Every problem of a running gateway, the surfaces first, each followed by where it is and what to do."""
    document = seen.document
    if not document["lock_held"] or document["stale"]:
        return []
    lines: list[str] = []
    surfaces = troubled_surfaces(document)
    for surface in surfaces:
        lines += _surface_problem(surface, seen.now_ms, places)
    for code, name in _gateway_reasons(document, surfaces):
        sentence, where, fix = _reason_row(code, seen, places)
        lines.append(f"{name}: {sentence}." if name else f"{sentence[:1].upper()}{sentence[1:]}.")
        lines += _where_and_fix(where, fix)
    return lines


def _connects(document: dict[str, object]) -> bool:
    """True while surfaces are on their way and none is in trouble."""
    phases = [surface["phase"] for surface in _surfaces(document)]
    return any(phase in _ON_THE_WAY for phase in phases) and not troubled_surfaces(document)


def troubled_surfaces(document: dict[str, object]) -> list[dict[str, object]]:
    """The surfaces that a reason names or whose phase is one of trouble, the worst first."""
    named = {reason.partition(":")[2] for reason in _reasons(document)}
    found = [s for s in _surfaces(document) if s["phase"] in TROUBLED_PHASES or _name(s, "=") in named]
    return sorted(found, key=urgency)


def urgency(surface: dict[str, object]) -> tuple[int, str]:
    """A key that sorts surfaces: trouble first, then what is on its way, then what is fine; by name within."""
    order = (*TROUBLED_PHASES, "stopped", "stopping", "starting", "connecting", "authenticating")
    phase = surface["phase"]
    rank = order.index(phase) if phase in order else len(order)
    return (rank + 1 if phase == READY_PHASE else rank, _name(surface, "/"))


def start_command(places: Places) -> str:
    """How the gateway of these places is started: by its service where one is installed."""
    unit = "loong-gateway" if places.profile == "default" else f"loong-gateway-{places.profile}"
    user_units = os.path.expanduser(f"~/.config/systemd/user/{unit}.service")
    if not places.variables and os.path.exists(user_units):
        return f"systemctl --user start {unit}.service"
    return places.command("gateway run")


def _ending(seen: Observation) -> str:
    document = seen.document
    if seen.refused is not None:
        when = ago(_number(seen.refused.get("at_ms")), seen.now_ms)
        return f"the last start was refused {when}: {one_line(document['last_error'])}."
    if seen.died:
        pid = document["pid"] if document["pid"] is not None else "unknown"
        when = ago(_number(document["last_heartbeat_at"]), seen.now_ms)
        how = "when the host went down " if seen.host_restarted else ""
        return f"pid {pid} ended without a stop {how}{when}.{_kept(document)}"
    if seen.damaged:
        return "what it said last cannot be read, its status file is damaged."
    if seen.never_started:
        return "it was never started here."
    when = ago(_number(document["stopped_at_ms"] or document["last_heartbeat_at"]), seen.now_ms)
    if document["phase"] == "failed":
        return f"it failed {when}: {one_line(document['last_error'] or 'no reason was given')}."
    reason = document["shutdown_reason"]
    return f"it was stopped {when}{f' ({one_line(reason)})' if reason else ''}."


def _kept(document: dict[str, object]) -> str:
    """What a dead owner left in its queues, as far as its last word knew."""
    surfaces = _surfaces(document)
    messages = sum(_count(s, "inbox", "new", "claimed") for s in surfaces)
    replies = sum(_count(s, "outbox", "queued", "sending", "unknown") for s in surfaces)
    kept = [_counted(messages, "message", "messages")] if messages else []
    kept += [_counted(replies, "reply", "replies")] if replies else []
    if not kept:
        return ""
    one = messages + replies == 1
    return f" {' and '.join(kept)} {'is' if one else 'are'} kept and resume{'s' if one else ''} at the next start."


def _what_is_wrong(seen: Observation, places: Places) -> str:
    document = seen.document
    surfaces = troubled_surfaces(document)
    others = _gateway_reasons(document, surfaces)
    if not surfaces and not others:
        return _surface_count(seen)
    if not surfaces:
        sentence = _reason_row(others[0][0], seen, places)[0]
        more = f", and {len(others) - 1} more" if len(others) > 1 else ""
        return f"{others[0][1] + ': ' if others[0][1] else ''}{sentence}{more}"
    count = _surface_count(seen)
    if len(surfaces) == 1 and not others:
        return f"{count}; {_name(surfaces[0], '/')}: {_suffering(surfaces[0])}"
    attention = f"{len(surfaces)} need{'s' if len(surfaces) == 1 else ''} attention"
    if not others:
        return f"{count}, {attention}"
    return f"{_reason_row(others[0][0], seen, places)[0]}; {count}, {attention}"


def _surface_count(seen: Observation) -> str:
    surfaces = _surfaces(seen.document)
    ready = sum(1 for s in surfaces if s["phase"] == READY_PHASE)
    if not surfaces:
        return "no surface is enabled"
    under_way = sum(1 for s in surfaces if s["phase"] in _ON_THE_WAY)
    kept_off = sum(1 for s in surfaces if s["stopped_by"])
    more = f", {under_way} still connecting" if under_way else ""
    more += f", {kept_off} stopped by an operator" if kept_off else ""
    return f"{ready} of {_counted(len(surfaces), 'surface', 'surfaces')} ready{more}"


def _surface_problem(surface: dict[str, object], now_ms: int, places: Places) -> list[str]:
    when = f" {ago(_number(surface['since_ms']), now_ms)}" if surface["since_ms"] else ""
    line = f"{_name(surface, '/')}: {_suffering(surface)}{when}"
    next_try = _number(surface["next_try_ms"])
    if next_try:
        line += (
            f"; next try in {duration(-(-(next_try - now_ms) // 1000))}" if next_try > now_ms else "; trying"
        )
    line += "."
    waiting = _count(surface, "outbox", "queued", "sending", "unknown")
    if waiting and surface["phase"] in _KEEPS_REPLIES:
        line += f" {_counted(waiting, 'reply is', 'replies are')} kept."
    row = _surface_row(surface)
    fix = surface["fix"]
    if not fix and row and row[2]:
        fix = _with_flags(row[2].format_map({"surface": _name(surface, "=")}), places)
    return [line, *_where_and_fix(surface["where"], fix)]


def _suffering(surface: dict[str, object]) -> str:
    row = _surface_row(surface)
    said = one_line(surface["last_error"]).rstrip(".") if surface["last_error"] else ""
    return said or (row[0] if row else f"its phase is {surface['phase']}")


def _surface_row(surface: dict[str, object]) -> tuple[str, str | None, str | None, int] | None:
    return find(f"surface.{surface['trouble']}") or find(f"surface.{surface['phase']}")


def _gateway_reasons(document: dict[str, object], surfaces: list[dict[str, object]]) -> list[tuple[str, str]]:
    """The reasons that no shown surface stands for, as code and surface name ("" for the gateway itself)."""
    shown = {_name(s, "=") for s in surfaces}
    parts = [reason.partition(":") for reason in _reasons(document)]
    return [(code, name.replace("=", "/")) for code, _, name in parts if name not in shown]


def _reason_row(code: str, seen: Observation, places: Places) -> tuple[str, str | None, str | None]:
    row = find(f"reason.{code}") or find(f"surface.{code}")
    if row is None:
        # A gateway of another version knows reasons that this one has no words for.
        return one_line(code).replace("_", " "), None, places.command("logs --lines 50")
    document = seen.document
    provider = document["provider"]
    said = one_line(provider.get("last_error") or "").rstrip(".") if isinstance(provider, dict) else ""
    values = {
        "provider_error": f": {said}" if said else "",
        "address": f"{document['bind_address']}:{document['port']}",
        "probe": seen.probe_detail,
        "runtime_dir": places.runtime_dir,
        "store": places.store,
        "audit": places.audit,
        "config": document["config_path"],
        "surface": "CHANNEL=ACCOUNT",
    }
    where = None if row[1] is None else row[1].format_map(values)
    fix = None if row[2] is None else _with_flags(row[2], places).format_map(values)
    return row[0].format_map(values), where, fix


def _where_and_fix(where: object, fix: object) -> list[str]:
    lines = [f"  where: {printable(where)}"] if where else []
    if fix:
        lines.append(f"  fix:   {printable(fix)}" if where else f"  fix: {printable(fix)}")
    return lines


def _with_flags(fix: str, places: Places) -> str:
    """`fix` with its commands led to these places."""
    return fix.replace("loong ", places.command(""))


def _uptime(seen: Observation) -> str:
    return duration(_number(seen.document["uptime_ms"]) // 1000)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _name(surface: dict[str, object], separator: str) -> str:
    return f"{surface['channel']}{separator}{surface['account']}"


def _surfaces(document: dict[str, object]) -> list[dict[str, object]]:
    found = document["surfaces"]
    return found if isinstance(found, list) else []


def _reasons(document: dict[str, object]) -> list[str]:
    found = document["degraded_reasons"]
    return found if isinstance(found, list) else []


def _count(surface: dict[str, object], queue: str, *states: str) -> int:
    counts = surface[queue]
    return sum(_number(counts.get(state)) for state in states) if isinstance(counts, dict) else 0


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
