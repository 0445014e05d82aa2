"""What is true about the gateway of a home, seen from another process, within a bounded time.

Whether there is an owner, and whether it moves, is read off the kernel lock; the files only add what the owner said
about itself. Nothing is written, nothing outside loopback is asked, unknown fields are passed over.
Plain on purpose: this is the path of every health check.
"""

from __future__ import annotations

import errno
import os
import pwd

from loong_gateway import VERSION
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import boot_clock_ns, boot_id, is_alive
from loong_gateway.owner import loopback
from loong_gateway.owner.files import read_document, reason
from loong_gateway.owner.lock import (
    STALE_MS,
    LockState,
    lock_state,
)
from loong_gateway.owner.paths import Places

__all__ = ["READY_PHASE", "TROUBLED_PHASES", "Observation", "collect", "exit_code", "observe"]

MOVE_AWAY = "move that file away, or name a directory in LOONG_HOME; then"
PROBE_TIMEOUT_S = 1.0
READY_PHASE = "ready"
# Phases of a surface in which somebody should look at it.
TROUBLED_PHASES = ("auth_failed", "conflict", "degraded", "backoff")
ENDED_PHASES = ("stopped", "failed")
OWNER_PHASES = ("starting", "running", "stopping", "stopped", "failed")
# An owner that has said nothing yet is starting for this long, then it is one that cannot say anything.
_SILENT_START_MS = 10_000

_NUMBER, _TEXT, _FLAG = (int,), (str,), (bool,)
# The fields of the status document in their fixed order, with what they may hold and their value without an owner.
_FIELDS: tuple[tuple[str, tuple[type, ...], object], ...] = (
    ("phase", _TEXT, "stopped"),
    ("running", _FLAG, False),
    ("stale", _FLAG, False),
    ("pid", _NUMBER, None),
    ("mode", _TEXT, "gateway_headless"),
    ("version", _TEXT, VERSION),
    ("config_path", _TEXT, "-"),
    ("attached_cli_session", _TEXT, None),
    ("started_at_ms", _NUMBER, 0),
    ("last_heartbeat_at", _NUMBER, 0),
    ("stopped_at_ms", _NUMBER, None),
    ("shutdown_reason", _TEXT, None),
    ("last_error", _TEXT, None),
    ("configured_surface_count", _NUMBER, 0),
    ("running_surface_count", _NUMBER, 0),
    ("bind_address", _TEXT, None),
    ("port", _NUMBER, None),
    ("port_source", _TEXT, None),
    ("token_path", _TEXT, None),
)
_SURFACE_FIELDS: tuple[tuple[str, tuple[type, ...], object], ...] = (
    ("channel", _TEXT, "unknown"),
    ("account", _TEXT, "unknown"),
    ("phase", _TEXT, "unknown"),
    ("since_ms", _NUMBER, None),
    ("last_error", _TEXT, None),
    ("last_inbound_ms", _NUMBER, None),
    ("last_outbound_ms", _NUMBER, None),
    ("restarts", _NUMBER, 0),
    ("identity", _TEXT, None),
    ("next_try_ms", _NUMBER, None),
    ("fix", _TEXT, None),
    ("where", _TEXT, None),
    ("trouble", _TEXT, None),
    ("last_heard_ms", _NUMBER, None),
    ("stopped_by", _TEXT, None),
    ("kicked_total", _NUMBER, 0),
    ("consecutive_failures", _NUMBER, 0),
    ("last_failure_ms", _NUMBER, None),
    ("last_recovery_ms", _NUMBER, None),
    ("last_duplicate_reclaim_ms", _NUMBER, None),
)
_INCIDENT_FIELDS: tuple[tuple[str, tuple[type, ...], object], ...] = (
    ("at_ms", _NUMBER, 0),
    ("kind", _TEXT, "failure"),
    ("detail", _TEXT, None),
    ("first_ms", _NUMBER, None),
    ("count", _NUMBER, 1),
)
_PROVIDER_FIELDS: tuple[tuple[str, tuple[type, ...], object], ...] = (
    ("profile", _TEXT, None),
    ("kind", _TEXT, None),
    ("model", _TEXT, None),
    ("last_success_ms", _NUMBER, None),
    ("last_failure_ms", _NUMBER, None),
    ("last_error", _TEXT, None),
    ("answered_by", _TEXT, None),
    ("keys", (dict,), None),
    ("cooldowns_s", (dict,), None),
    ("fallbacks", (list,), []),
)
_INBOX_STATES = ("new", "claimed", "failed", "rejected")
_OUTBOX_STATES = ("queued", "sending", "unknown", "failed", "expired")


class Observation:
    """One look at a gateway: the document that is printed as JSON, and what only the text form says.

    `heartbeat_age_ms` is None without a heartbeat; `verb` is the command that the owner was started with;
    `probe_detail` says why the probe failed; `refused` is the note of a start that was refused since, or None;
    `damaged` says that a file could not be understood; `died` that the owner ended without a last word, and
    `host_restarted` that the host was started again since; `holder_is_alive` that the pid surely is the holder's.
    """

    def __init__(self) -> None:
        self.document: dict[str, object] = {}
        self.now_ms = wall_ms()
        self.heartbeat_age_ms: int | None = None
        self.verb = ""
        self.probe_detail = ""
        self.refused: dict[str, object] | None = None
        self.damaged = False
        self.died = False
        self.host_restarted = False
        self.never_started = False
        self.holder_is_alive = False


def collect(places: Places, *, probe: bool = True) -> dict[str, object]:
    """The status document: the 20 fields of the contract in their order, then the additive ones.

    Blocks up to a second when `probe` is on and the port is silent. Raises CommandError `owner.unreadable`.
    """
    return observe(places, probe=probe).document


def exit_code(document: dict[str, object]) -> int:
    """0 ready and not degraded; 1 starting, stopping, stalled or degraded; 3 nothing holds the lock."""
    if not document["lock_held"]:
        return 3
    return 0 if document["ready"] and not document["degraded_reasons"] else 1


def observe(places: Places, *, probe: bool = True) -> Observation:
    """Look at everything once. As `collect`, with what the text form needs besides."""
    seen = Observation()
    obstacle = places.not_a_directory()
    if obstacle is not None:
        fix = f"{MOVE_AWAY}: {places.command('gateway status')}"
        raise CommandError("owner.unreadable", detail="not a directory", where=obstacle, fix=fix)
    state, said = _look(seen, places)
    if seen.died:
        # An owner that began between the look at the lock and the look at the files is no dead one.
        seen = Observation()
        state, said = _look(seen, places)
    document: dict[str, object] = {"runtime_dir": places.runtime_dir}
    document.update(_cast(said, _FIELDS))
    document.update(
        schema_version=1,
        ready=said.get("ready") is True,
        lock_held=state.held,
        rpc_probe="skipped",
        degraded_reasons=[item for item in _list(said.get("degraded_reasons")) if isinstance(item, str)],
        surfaces=[_surface(item) for item in _list(said.get("surfaces")) if isinstance(item, dict)],
        uptime_ms=_uptime_ms(said, state, seen.now_ms),
        provider=_provider(said.get("provider")) if state.held else None,
    )
    seen.document = document
    if state.held and probe:
        _probe(seen)
    _add_reasons(seen, state, said)
    return seen


def _look(seen: Observation, places: Places) -> tuple[LockState, dict[str, object]]:
    state: LockState = _guarded(places, places.owner_lock, lambda: lock_state(places))
    active = _guarded(places, places.owner_active, lambda: read_document(places.owner_active))
    last = _guarded(places, places.status_file, lambda: read_document(places.status_file))
    seen.damaged = any(
        document is None and os.path.lexists(path)
        for path, document in ((places.owner_active, active), (places.status_file, last))
    )
    if state.held:
        return state, _describe_live(seen, state, active, last)
    return state, _describe_gone(seen, places, active, last)


def _describe_live(
    seen: Observation,
    state: LockState,
    active: dict[str, object] | None,
    last: dict[str, object] | None,
) -> dict[str, object]:
    """What the holder of the lock says, corrected by what the lock itself shows."""
    holder = state.holder
    # What an earlier owner left behind has another pid than the one in the lock file.
    own = [d for d in (active, last) if d is not None and d.get("pid") == holder.get("pid", d.get("pid"))]
    said: dict[str, object] = {**holder, **own[0]} if own else dict(holder)
    seen.verb = str(holder.get("verb") or "")
    seen.heartbeat_age_ms = state.age_ms
    if not own:
        silent = (_boot_age_ms(holder.get("started_boot_ms")) or 0) > _SILENT_START_MS
        said["phase"] = "running" if silent else "starting"
        said["degraded_reasons"] = ["status_missing"] if silent else []
    elif said.get("phase") in ENDED_PHASES or said.get("phase") not in OWNER_PHASES:
        # It has said its last word and is about to let go of the lock.
        said["phase"] = "stopping"
    age_ms = state.age_ms if state.age_ms is not None else _boot_age_ms(said.get("published_boot_ms"))
    stale = age_ms is not None and age_ms > STALE_MS
    seen.holder_is_alive = stale and is_alive(holder)
    said.update(stale=stale, running=not stale)
    if stale or said["phase"] != "running":
        said["ready"] = False
    if age_ms is not None:
        seen.heartbeat_age_ms = age_ms
        said["last_heartbeat_at"] = seen.now_ms - age_ms
    return said


def _describe_gone(
    seen: Observation,
    places: Places,
    active: dict[str, object] | None,
    last: dict[str, object] | None,
) -> dict[str, object]:
    """The last known state of a gateway that nobody runs now."""
    newest = _newest(active, last)
    refused = _guarded(places, places.refused_start, lambda: read_document(places.refused_start))
    if newest is None:
        seen.never_started = not seen.damaged
        said: dict[str, object] = {}
    else:
        said = dict(newest)
        # An owner that ends leaves a last word; anything else was no end of its own.
        seen.died = said.get("phase") not in ENDED_PHASES
    if seen.died:
        pid = said.get("pid")
        said.update(phase="failed", shutdown_reason=None, stopped_at_ms=None)
        said["last_error"] = f"pid {pid if isinstance(pid, int) else 'unknown'} ended without a stop"
        seen.host_restarted = isinstance(said.get("boot_id"), str) and said["boot_id"] != boot_id()
    said.update(running=False, stale=False, ready=False, running_surface_count=0)
    said.update(bind_address=None, port=None, port_source=None, token_path=None)
    said["degraded_reasons"] = ["ended_without_stop"] if seen.died else []
    said["surfaces"] = [
        {**item, "phase": "stopped", "next_try_ms": None}
        for item in _list(said.get("surfaces"))
        if isinstance(item, dict)
    ]
    ended_ms = max(_int(said.get("stopped_at_ms")), _int(said.get("last_heartbeat_at")))
    if refused is not None and _int(refused.get("at_ms")) >= ended_ms:
        seen.refused = refused
        said["last_error"] = str(refused.get("message") or "the last start was refused")
        said["degraded_reasons"] = [str(refused.get("code") or "start_refused").replace(".", "_")]
    return said


def _newest(active: dict[str, object] | None, last: dict[str, object] | None) -> dict[str, object] | None:
    """What was said last; the last word of an owner counts more than what it had said while it lived."""
    if active is None or last is None:
        return active or last
    if last.get("phase") in ENDED_PHASES and last.get("owner_token") == active.get("owner_token"):
        return last
    return max(active, last, key=lambda d: _int(d.get("last_heartbeat_at")))


def _probe(seen: Observation) -> None:
    """Ask the port whether it lives; its address is what the owner published."""
    document = seen.document
    host, port = document["bind_address"], document["port"]
    document["rpc_probe"] = "failed"
    if not isinstance(port, int) or not isinstance(host, str):
        seen.probe_detail = "no port is open"
        return
    try:
        status, _ = loopback.exchange(
            loopback.reachable_host(host),
            port,
            "GET",
            "/healthz",
            timeout_s=PROBE_TIMEOUT_S,
            status_only=True,
        )
    except TimeoutError:
        seen.probe_detail = f"no answer within {PROBE_TIMEOUT_S:.0f} s"
    except OSError as error:
        seen.probe_detail = reason(error)
    except (ValueError, OverflowError):
        seen.probe_detail = "the answer is not the gateway's"
    else:
        if status == 200:
            document["rpc_probe"] = "ok"
        else:
            seen.probe_detail = f"answered {status}"


def _add_reasons(seen: Observation, state: LockState, said: dict[str, object]) -> None:
    """Add what a reader sees and the owner cannot know or has not said."""
    document = seen.document
    reasons = document["degraded_reasons"]
    assert isinstance(reasons, list)
    if not state.held:
        return
    if document["stale"]:
        reasons.insert(0, "stalled")
        return
    silent_ms = _boot_age_ms(said.get("published_boot_ms"))
    if silent_ms is not None and silent_ms > STALE_MS:
        reasons.append("status_unwritable")
    if document["phase"] == "running":
        if document["rpc_probe"] == "failed" and document["port"] is not None:
            reasons.append("rpc_failed")
        for surface in _list(document["surfaces"]):
            name = f"{surface['channel']}={surface['account']}"
            if surface["phase"] in TROUBLED_PHASES and not any(r.endswith(f":{name}") for r in reasons):
                reasons.append(f"{surface['phase']}:{name}")


def _uptime_ms(said: dict[str, object], state: LockState, now_ms: int) -> int | None:
    if not state.held:
        return None
    age_ms = _boot_age_ms(state.holder.get("started_boot_ms"))
    if age_ms is not None:
        return age_ms
    started_ms = _int(said.get("started_at_ms"))
    return max(0, now_ms - started_ms) if started_ms else None


def _boot_age_ms(moment_ms: object) -> int | None:
    """How long ago a moment of the clock since boot was; None for no such moment, or one of another boot."""
    if not isinstance(moment_ms, int):
        return None
    age_ms = boot_clock_ns() // 1_000_000 - moment_ms
    return age_ms if age_ms >= 0 else None


def _surface(item: dict[str, object]) -> dict[str, object]:
    surface = _cast(item, _SURFACE_FIELDS)
    for name, states in (("inbox", _INBOX_STATES), ("outbox", _OUTBOX_STATES)):
        counts = item.get(name)
        known = counts if isinstance(counts, dict) else {}
        surface[name] = {state: _int(known.get(state)) for state in states}
    surface["recent_incidents"] = [
        {
            **_cast(one, _INCIDENT_FIELDS),
            "owner_pids": [pid for pid in _list(one.get("owner_pids")) if _int(pid)],
        }
        for one in _list(item.get("recent_incidents"))
        if isinstance(one, dict)
    ]
    return surface


def _provider(said: object) -> dict[str, object] | None:
    return _cast(said, _PROVIDER_FIELDS) if isinstance(said, dict) else None


def _cast(
    said: dict[str, object], fields: tuple[tuple[str, tuple[type, ...], object], ...]
) -> dict[str, object]:
    """The known fields of what a file said; what has the wrong type counts as not said."""
    return {name: said[name] if type(said.get(name)) in types else default for name, types, default in fields}


def _int(value: object) -> int:
    return value if type(value) is int else 0


def _list(value: object) -> list:  # type: ignore[type-arg]  # what a file holds has no type yet
    return value if isinstance(value, list) else []


def _guarded(places: Places, path: str, read):  # type: ignore[no-untyped-def]  # Callable needs typing
    """The value of `read()`; a state that cannot be read at all ends the command and says whose it is."""
    try:
        return read()
    except OSError as error:
        raise _unreadable(places, path, error) from error


def _unreadable(places: Places, path: str, error: OSError) -> CommandError:
    # Behind a directory that lets nobody in, the directory tells whose it is.
    closed, owner_uid = path, None
    while owner_uid is None:
        try:
            owner_uid = os.lstat(closed).st_uid
        except OSError:
            if os.path.dirname(closed) == closed:
                break
            closed = os.path.dirname(closed)
    detail = "it is a symbolic link" if error.errno == errno.ELOOP else reason(error)
    mine = os.geteuid()
    status = places.command("gateway status")
    if owner_uid is None or owner_uid == mine:
        right = "u+rwx" if os.path.isdir(closed) else "u+rw"
        fix = f"chmod {right} {closed}" if error.errno in (errno.EACCES, errno.EPERM) else f"ls -ld {closed}"
    else:
        variables = f"env {places.variables}" if places.variables else ""
        fix = f"sudo -u {_user(owner_uid)} {variables}{status}"
    where = f"{path} (owned by {_user(owner_uid)}, you are {_user(mine)})"
    return CommandError("owner.unreadable", detail=detail, where=where, fix=fix)


def _user(uid: int | None) -> str:
    if uid is None:
        return "nobody known"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
