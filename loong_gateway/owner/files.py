"""The files of an owner: what it tells others, what others ask of it. Small, private, replaced whole, never trusted.

Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

import errno
import os
import stat

from loong_gateway.base import wording
from loong_gateway.base.atomic import overwrite_private, read_private, remove, write_private
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import boot_clock_ns, boot_id, new_secret
from loong_gateway.base.tinyjson import dumps, loads
from loong_gateway.owner.paths import Places

__all__ = [
    "clear_leftovers",
    "keep_control_token",
    "narrow_modes",
    "note_refused_start",
    "parsed",
    "publish",
    "read_document",
    "reason",
    "retire",
    "stop_requested",
    "write_control_token",
    "write_stop_request",
]

_DOCUMENT_LIMIT_BYTES = 1 << 20
_KEPT_CORRUPT_FILES = 3


def publish(places: Places, document: dict[str, object], *, durable: bool = False) -> str | None:
    """Write the owner's document to owner-active.json and status.json. Returns None, or one line about a failure.

    Never raises for a disk that is full or gone: the heartbeat must outlive it. A vanished directory is made again.
    """
    # On the clock since boot, a reader can tell a document that is no longer renewed from a step of the wall clock.
    moment = {"published_boot_ms": boot_clock_ns() // 1_000_000, "boot_id": boot_id()}
    data = dumps({**document, **moment}, 2).encode() + b"\n"
    try:
        places.create_runtime_dir()
        for path in (places.owner_active, places.status_file):
            _write_document(path, data, durable=durable)
    except OSError as error:
        return f"the status files cannot be written: {reason(error)}"
    return None


def _write_document(path: str, data: bytes, *, durable: bool) -> None:
    try:
        write_private(path, data, durable=durable)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # That the disk is full is what an operator must read there, so the old document makes room for it.
        overwrite_private(path, data)


def retire(places: Places, document: dict[str, object]) -> str | None:
    """Leave the last word in status.json and remove the files of a living owner. Call it before `release`.

    `document` is the last one published, with `phase` "stopped" or "failed"; what must hold for a dead owner is set
    here. Returns None, or one line about what could not be written. Never raises.
    """
    last = dict(document)
    if last.get("phase") not in ("stopped", "failed"):
        last["phase"] = "stopped"
    last.update(running=False, ready=False, running_surface_count=0)
    last.update(bind_address=None, port=None, port_source=None, token_path=None)
    last["stopped_at_ms"] = last.get("stopped_at_ms") or wall_ms()
    trouble = None
    try:
        places.create_runtime_dir()
        _write_document(places.status_file, dumps(last, 2).encode() + b"\n", durable=True)
    except OSError as error:
        trouble = f"the last status cannot be written: {reason(error)}"
    if stop_requested(places, str(document.get("owner_token") or "")):
        remove(places.stop_request)
    remove(places.owner_active)
    remove(places.control_token)
    return trouble


def write_control_token(places: Places) -> str:
    """Make a fresh random token for local commands, store it 0600 and return it. Raises OSError.

    That of the process before a restart is there until this moment: whoever looks finds one.
    """
    token = new_secret()
    write_private(places.control_token, token.encode() + b"\n")
    return token


def keep_control_token(places: Places, token: str) -> str | None:
    """Write `token` again should its file have vanished or changed. Returns None, or one line about a failure."""
    wanted = token.encode() + b"\n"
    try:
        if read_private(places.control_token, 4_096) == wanted:
            return None
    except OSError:
        remove(places.control_token)
    try:
        places.create_runtime_dir()
        write_private(places.control_token, wanted, durable=False)
    except OSError as error:
        return f"the control token cannot be written: {reason(error)}"
    return None


def stop_requested(places: Places, owner_token: str) -> bool:
    """True when a stop request names this owner. One small read; what is not readable is passed over."""
    if not owner_token:
        return False
    try:
        request = read_document(places.stop_request)
    except PermissionError:
        return False
    return request is not None and request.get("target_owner_token") == owner_token


def write_stop_request(places: Places, token: str) -> None:
    """Ask the owner with this token to stop. Raises OSError."""
    request = {
        "requested_at_ms": wall_ms(),
        "requested_by_pid": os.getpid(),
        "target_owner_token": token,
    }
    places.create_runtime_dir()
    write_private(places.stop_request, dumps(request, 2).encode() + b"\n", durable=False)


def read_document(path: str) -> dict[str, object] | None:
    """The JSON object in `path`; None when it is missing, corrupt or not a file of ours. Raises PermissionError."""
    try:
        data = read_private(path, _DOCUMENT_LIMIT_BYTES)
    except PermissionError:
        raise
    except OSError:
        return None
    return None if data is None else parsed(data)


def note_refused_start(places: Places, error: CommandError) -> None:
    """Remember why a start was refused before there was an owner, so that `status` can say it. Never raises."""
    note = {
        "at_ms": wall_ms(),
        "code": error.code,
        "message": wording.one_line(error.message),
        "where": error.where,
        "fix": error.fix,
    }
    if not os.path.isdir(places.state):
        return
    try:
        write_private(places.refused_start, dumps(note, 2).encode() + b"\n", durable=False)
    except OSError:
        # The refusal itself is on the terminal; a note that cannot be kept changes nothing.
        return


def narrow_modes(places: Places) -> list[str]:
    """Take the access of others away from files of ours; returns those that had any."""
    repaired = []
    store = [places.store + ending for ending in ("", "-wal", "-shm")]
    mine = [places.owner_lock, places.store_lock, places.boots, places.owner_active, places.status_file]
    for path in (*mine, places.stop_request, places.control_token, *store):
        try:
            found = os.lstat(path)
            if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o077 or found.st_uid != os.geteuid():
                continue
            os.chmod(path, 0o600)
        except OSError:
            # Missing, or gone in between: nothing that others could read.
            continue
        repaired.append(path)
    return repaired


def clear_leftovers(places: Places, *, keep_request: bool = False) -> list[str]:
    """Remove what a dead owner left behind; returns the new names of files that could not be read.

    `keep_request` keeps a stop request, which may be meant for whoever goes on with the lock.
    """
    set_aside = []
    for path in (places.owner_active, places.status_file):
        if os.path.lexists(path) and _readable_document(path) is None:
            aside = f"{path}.corrupt-{wall_ms()}"
            try:
                os.rename(path, aside)
            except OSError:
                remove(path)
            else:
                set_aside.append(aside)
    for path in (places.owner_active, places.refused_start):
        remove(path)
    if not keep_request:
        remove(places.stop_request)
    _sweep(places.runtime_dir)
    return set_aside


def _readable_document(path: str) -> dict[str, object] | None:
    try:
        return read_document(path)
    except PermissionError:
        return None


def _sweep(directory: str) -> None:
    """Delete half-written files of dead processes, and all but the newest files that were set aside."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    aside = [name for name in names if ".json.corrupt-" in name]
    aside.sort(key=lambda name: name.rpartition("-")[2])
    stale = aside[:-_KEPT_CORRUPT_FILES] + [n for n in names if n.startswith(".") and n.endswith(".tmp")]
    for name in stale:
        remove(os.path.join(directory, name))


def parsed(data: bytes) -> dict[str, object] | None:
    """The JSON object in `data`, None when there is none."""
    try:
        value = loads(data.decode("utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def reason(error: OSError) -> str:
    """What the system says about an error, as part of a sentence."""
    return (error.strerror or str(error)).lower()
