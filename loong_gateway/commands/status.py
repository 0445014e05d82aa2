"""`loong status`: gateway, provider, queues and sessions on one page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import ago, duration, one_line, plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config_beside
from loong_gateway.commands.gateway_status import call_line
from loong_gateway.commands.render import size, style_of
from loong_gateway.commands.rpc_verbs import status_call
from loong_gateway.config.snapshot import Config
from loong_gateway.doctor.host import nearest_directory
from loong_gateway.owner.files import read_document
from loong_gateway.owner.status import observe
from loong_gateway.owner.verdict import headline, restart_command, start_command
from loong_gateway.storage.facts import StoreFacts, store_facts
from loong_gateway.storage.local import LocalStore
from loong_gateway.views.acp import acp_summary
from loong_gateway.views.channels import channels_document
from loong_gateway.views.operator import operator_summary

HELP = "show gateway, provider, queues and sessions on one page"
EXAMPLES = ("loong status", "loong status --json")
EXIT_CODES = "0 ready; 1 not ready, or degraded; 2 it could not run"
NOTHING = "-"
INBOX = ("new", "claimed", "failed", "rejected")
OUTBOX = ("queued", "sending", "unknown", "failed")

Json = Mapping[str, object]


@dataclass(frozen=True)
class View:
    """Everything the page is made of.

    `headline` is line 1 of `gateway status`; `trouble` says why the store could not be read; `restart` is how a
    stalled owner is replaced. Without `valid` the defaults stand in for a file that cannot be used.
    """

    config: Config
    headline: str
    status: Json
    facts: StoreFacts | None
    trouble: str
    now_ms: int
    restart: str
    valid: bool

    @property
    def live(self) -> bool:
        """True while an owner holds the home."""
        return bool(self.status["lock_held"])

    @property
    def good(self) -> bool:
        """True when nothing needs attention."""
        return bool(self.status["ready"]) and not self.status["degraded_reasons"]

    def surfaces(self) -> list[Json]:
        """The surfaces of the live owner."""
        found = self.status["surfaces"]
        return found if self.live and isinstance(found, list) else []


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--deep", action="store_true", help="ask the gateway itself as well, over its port")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the page; the exit code says whether all is well."""
    view = _look(context)
    deep = status_call(context) if args.deep and view.live else None
    if context.json:
        channels = channels_document(view.config, context.environ, view.status)
        summary = operator_summary(
            view.config,
            view.status,
            channels,
            view.facts,
            _next(context, view),
            trouble=view.trouble,
            said=_said(context, view),
        )
        context.document(summary if deep is None else {**summary, "deep": deep})
    else:
        _print(context, view)
        if deep is not None:
            context.out(call_line(deep))
    return 0 if view.good and (deep is None or deep["ok"] is True) else 1


def _look(context: Context) -> View:
    seen = observe(context.places)
    config, valid = load_config_beside(context, live=bool(seen.document["lock_held"]))
    now_ms = context.clock.wall_ms()
    facts, trouble = None, ""
    try:
        facts = LocalStore(context.places).read(lambda conn: store_facts(conn, now_ms))
    except CommandError as error:
        trouble = error.message
    restart = restart_command(seen, context.places)
    return View(config, headline(seen, context.places), seen.document, facts, trouble, now_ms, restart, valid)


def _said(context: Context, view: View) -> Json:
    """What the live owner says of its journal and of the tools of the model; without one, where the journal is kept."""
    said = (read_document(context.places.status_file) or {}) if view.live else {}
    settings = view.config.audit
    path = None if settings.mode == "off" else settings.path or context.places.audit
    audit = {"mode": settings.mode, "path": path, "events": 0, "last_event_ms": None, "lost": 0}
    return {"audit": audit, **{name: said[name] for name in ("audit", "tools") if name in said}}


def _next(context: Context, view: View) -> list[tuple[str, str]]:
    return [*_next_of_gateway(context, view), *_next_of_work(context, view)]


def _next_of_work(context: Context, view: View) -> list[tuple[str, str]]:
    if view.facts is None:
        return []
    found = []
    # A live gateway takes them back by itself within half a minute.
    if view.facts.work.get("expired_lease_count") and not view.live:
        found.append(("take back expired leases", context.places.command("runtime work-unit recover")))
    if view.facts.work_failed:
        command = "runtime work-unit list --status failed_terminal"
        found.append(("see which work failed", context.places.command(command)))
    return found


def _next_of_gateway(context: Context, view: View) -> list[tuple[str, str]]:
    places = context.places
    if not view.valid or (not view.config.exists and not places.dev):
        return [("check the configuration", places.command("validate-config"))]
    if not view.live:
        return [("start the gateway", start_command(places))]
    if view.status["stale"]:
        again = [("restart", view.restart)] if view.restart else []
        return [("look", places.command("gateway status")), *again]
    if not view.good:
        return [("see what needs attention", places.command("gateway status"))]
    return []


def _print(context: Context, view: View) -> None:
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    context.out(style.paint(_verdict(view), "good" if view.good else "bad"))
    rows = [
        ("Gateway", _gateway(view)),
        ("Provider", _provider(view)),
        ("Inbox", _queue(view, INBOX, inbox=True)),
        ("Outbox", _queue(view, OUTBOX, inbox=False)),
        ("Sessions", _sessions(view)),
        *(
            [("Tokens", _tokens(view.facts.used_today))]
            if view.facts and view.facts.used_today.get("calls")
            else []
        ),
        *([("Agents", _agents(view))] if view.config.acp.enabled else []),
        *([("Work", _work(view.facts.work))] if view.facts and view.facts.work.get("total_count") else []),
        ("Config", _config(view)),
        ("Disk", _disk(context)),
    ]
    for name, text in rows:
        context.out(f"{name:<8}  {text}")
    for label, command in _next(context, view):
        context.out(f"  {label}: {command}")


def _verdict(view: View) -> str:
    if not view.live:
        return view.headline
    word = "Ready" if view.good else "Stalled" if view.status["stale"] else _word(view)
    reasons = view.status["degraded_reasons"]
    if not view.good and isinstance(reasons, list) and reasons:
        word += f" ({', '.join(map(str, reasons[:3]))})"
    if view.facts is None:
        return f"{word}. What the store holds is not known{': ' + view.trouble if view.trouble else ''}."
    waiting = _waiting(view.facts)
    return (
        f"{word}. {plural(view.facts.inbound_last_hour, 'message')} in, {view.facts.outbound_last_hour} out in the "
        f"last hour; {'nothing is' if not waiting else f'{waiting} are' if waiting > 1 else '1 is'} waiting; "
        f"{view.facts.failed_last_day} failed in the last day."
    )


def _word(view: View) -> str:
    return "Degraded" if view.status["ready"] else str(view.status["phase"]).capitalize()


def _waiting(facts: StoreFacts) -> int:
    inbox = sum(facts.inbox.get(state, 0) for state in ("new", "claimed"))
    outbox = sum(facts.outbox.get(state, 0) for state in ("queued", "sending", "unknown"))
    return inbox + outbox + sum(facts.runs.values())


def _gateway(view: View) -> str:
    if not view.live:
        return "not running"
    status, surfaces = view.status, view.surfaces()
    ready = sum(1 for surface in surfaces if surface.get("phase") == "ready")
    uptime_ms = status["uptime_ms"]
    uptime = duration(uptime_ms // 1000) if isinstance(uptime_ms, int) else "?"
    word = "stalled" if status["stale"] else status["phase"]
    if status["stale"]:
        return f"stalled, pid {status['pid']}, up {uptime}, surfaces not known"
    counted = f"{ready} of {plural(len(surfaces), 'surface')} ready" if surfaces else "no surface is enabled"
    return f"{word}, pid {status['pid']}, up {uptime}, {counted}"


def _provider(view: View) -> str:
    profile = view.config.providers.get(view.config.active_provider or "")
    said = view.status.get("provider")
    if not view.live or not isinstance(said, dict) or not said["kind"]:
        if not view.valid:
            return "not known"
        return f"{profile.kind}, model {profile.model}, not asked" if profile else "none is configured"
    # What the owner uses, which after a change of the file may be another one than the file's.
    used = f"{said['kind']}, model {said['model'] or NOTHING}"
    success_ms, failure_ms = said["last_success_ms"], said["last_failure_ms"]
    if failure_ms and failure_ms > (success_ms or 0):
        used += f", last error {ago(failure_ms, view.now_ms)}: {one_line(said['last_error'] or 'no reason given')}"
    else:
        used += f", last success {ago(success_ms, view.now_ms)}" if success_ms else ", not asked yet"
    keys = said["keys"] or {}
    unwell = [f"{keys[state]} {state}" for state in ("cooling", "disabled") if keys.get(state)]
    # A single key is asked whatever happened to it.
    many = bool(unwell) and keys.get("count", 0) > 1
    return f"{used}; of {keys['count']} keys {', '.join(unwell)}" if many else used


def _queue(view: View, states: Sequence[str], *, inbox: bool) -> str:
    if view.facts is None:
        return f"not known: {view.trouble}" if view.trouble else "empty, there is no store yet"
    counts = view.facts.inbox if inbox else view.facts.outbox
    oldest_ms = view.facts.oldest_inbox_ms if inbox else view.facts.oldest_outbox_ms
    text = ", ".join(f"{state} {counts.get(state, 0)}" for state in states)
    oldest = duration(max(0, view.now_ms - oldest_ms) // 1000) if oldest_ms else NOTHING
    return f"{text}    oldest waiting: {oldest}{'' if view.live else '    (from disk, not live)'}"


def _sessions(view: View) -> str:
    if view.facts is None:
        return NOTHING
    facts = view.facts
    running = facts.inbox.get("claimed", 0) + facts.runs.get("running", 0) if view.live else 0
    return f"{view.facts.sessions}, {running} running now"


def _tokens(used: Mapping[str, int]) -> str:
    return f"today {used['input']} in, {used['output']} out, {plural(used['calls'], 'answer')}"


def _work(work: Mapping[str, int]) -> str:
    names = ("ready", "leased", "running", "blocked", "retry_pending")
    text = ", ".join(f"{name} {work[f'{name}_count']}" for name in names)
    return f"{text}    expired leases: {work['expired_lease_count'] or NOTHING}"


def _agents(view: View) -> str:
    summary = acp_summary(view.config, view.status, view.facts.acp_sessions if view.facts else 0)
    if summary["error"]:
        return f"unavailable: {summary['error']}"
    text = f"available, {plural(view.facts.acp_sessions if view.facts else 0, 'session')} stored"
    said = view.status.get("acp")
    if not view.live or not isinstance(said, dict):
        return text
    turns = said["turns"]
    return f"{text}, {turns['active']} working now, {plural(turns['completed'], 'turn')} done, {turns['failed']} failed"


def _config(view: View) -> str:
    if not view.valid:
        return f"{view.config.path} is invalid; the gateway goes on with what it started with"
    if not view.config.exists:
        return f"{view.config.path} does not exist; defaults stand in"
    reasons = view.status["degraded_reasons"]
    refused = isinstance(reasons, list) and "config_reload_refused" in reasons
    return f"{view.config.path}{', the last change was refused' if refused else ''}"


def _disk(context: Context) -> str:
    places = context.places
    store = _bytes([places.store, f"{places.store}-wal"])
    try:
        logs = _bytes([entry.path for entry in os.scandir(places.logs)])
    except OSError:
        logs = None
    try:
        facts = os.statvfs(nearest_directory(places.state))
        free: int | None = facts.f_bavail * facts.f_frsize
    except OSError:
        free = None
    return f"store {size(store)}, log {size(logs)}, {size(free)} free"


def _bytes(paths: Sequence[str]) -> int | None:
    total = None
    for path in paths:
        try:
            total = (total or 0) + os.stat(path).st_size
        except OSError:
            # Gone, or never there.
            continue
    return total
