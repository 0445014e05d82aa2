"""Who owns a home: a kernel lock that dies with its holder, and how to ask the holder to stop.

The lock is the only truth. `owner.lock` is opened once, locked for life and never deleted; its modification time
carries the heartbeat on the clock that counts since boot, so neither a full disk nor a step of the wall clock makes a
healthy owner look dead. What the files say is for display and for the stop request.
Reference: https://man7.org/linux/man-pages/man2/flock.2.html
Plain on purpose: the status path imports this module.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import os
import stat
import time

from loong_gateway.base import wording
from loong_gateway.base.clock import wall_ms
from loong_gateway.base.faults import CommandError
from loong_gateway.base.process import boot_clock_ns, identity, is_alive, new_secret
from loong_gateway.base.tinyjson import dumps
from loong_gateway.owner.files import (
    clear_leftovers,
    narrow_modes,
    parsed,
    read_document,
    reason,
    stop_requested,
    write_stop_request,
)
from loong_gateway.owner.paths import Places, unusable

__all__ = [
    "HEARTBEAT_S",
    "STALE_MS",
    "LockState",
    "OwnerLock",
    "live_document",
    "lock_state",
    "request_stop",
]

HEARTBEAT_S = 5.0
LOST_AFTER_S = 30.0
STALE_MS = 15_000

_RETRY_S = 0.02
_SIGTERM = 15
# What a file system answers that knows no such locks.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_DISK_REFUSES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


class LockState:
    """What a look at the lock found. `holder` is what the holder wrote about itself, {} when that is not readable.

    `age_ms` is the age of the last heartbeat; None when the file's time cannot be a heartbeat.
    """

    def __init__(self, *, held: bool, age_ms: int | None, holder: dict[str, object]) -> None:
        self.held = held
        self.age_ms = age_ms
        self.holder = holder


def lock_state(places: Places) -> LockState:
    """Look at the lock without disturbing its holder. Never blocks. Raises OSError when it cannot be looked at."""
    try:
        descriptor = os.open(places.owner_lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return LockState(held=False, age_ms=None, holder={})
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return LockState(held=False, age_ms=None, holder={})
        except BlockingIOError:
            age_ns = boot_clock_ns() - os.fstat(descriptor).st_mtime_ns
            return LockState(
                held=True,
                age_ms=age_ns // 1_000_000 if age_ns >= 0 else None,
                holder=parsed(os.pread(descriptor, 65_536, 0)) or {},
            )
    finally:
        os.close(descriptor)


class OwnerLock:
    """The lock while this process holds it. Made by `acquire`; not thread-safe but for `fileno`.

    `owner_token` is the secret that a stop request must name; `repaired` lists files whose mode was too wide,
    `set_aside` those that could not be read and were renamed.
    """

    def __init__(
        self, places: Places, descriptor: int, verb: str, lost_after_s: float, token: str = ""
    ) -> None:
        self.owner_token = token or new_secret()
        self.repaired: list[str] = []
        self.set_aside: list[str] = []
        self._places = places
        self._descriptor = descriptor
        self._verb = verb
        self._since_ms = wall_ms()
        self._since_boot_ms = boot_clock_ns() // 1_000_000
        self._lost_since_s: float | None = None
        self._lost_after_s = lost_after_s

    @classmethod
    def acquire(
        cls,
        places: Places,
        *,
        wait_s: float = 0.5,
        verb: str = "gateway run",
        lost_after_s: float = LOST_AFTER_S,
    ) -> OwnerLock:
        """Become the owner of `places`. Blocks up to `wait_s`, for a look by `status` holds the lock for a moment.

        Creates the directories, narrows file modes, sets unreadable leftovers aside and removes old requests.
        Raises CommandError `owner.active`, `owner.no_locks`, `owner.state_unwritable` or `run.disk`.
        """
        places.create()
        deadline = time.monotonic() + wait_s
        while True:
            descriptor = _try_lock(places)
            if descriptor is not None:
                break
            if time.monotonic() >= deadline:
                raise _already_active(places)
            _pause(_RETRY_S)
        lock = cls(places, descriptor, verb, lost_after_s)
        # At once: until then the file tells who looks of an owner that is gone.
        lock.beat()
        lock.repaired = narrow_modes(places)
        lock.set_aside = clear_leftovers(places)
        return lock

    @classmethod
    def adopt(
        cls,
        places: Places,
        descriptor: int,
        *,
        verb: str = "gateway run",
        lost_after_s: float = LOST_AFTER_S,
    ) -> OwnerLock | None:
        """Go on with the lock that this process held before it was executed anew; None when it is not that lock.

        A stop that was asked for meanwhile counts: the secret that it names stays the same. As `acquire`, but never
        waits; what is None was closed. Raises CommandError `owner.state_unwritable`.
        """
        places.create()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _same_file(descriptor, places.owner_lock):
                os.close(descriptor)
                return None
            os.set_inheritable(descriptor, False)
            before = parsed(os.pread(descriptor, 65_536, 0)) or {}
        except OSError:
            # Closed on the way, or held by somebody else: then it is no lock of ours.
            _close_quietly(descriptor)
            return None
        token = str(before.get("owner_token") or "") if before.get("pid") == os.getpid() else ""
        lock = cls(places, descriptor, verb, lost_after_s, token)
        lock.beat()
        lock.repaired = narrow_modes(places)
        lock.set_aside = clear_leftovers(places, keep_request=True)
        return lock

    @property
    def fileno(self) -> int:
        """The descriptor that carries the lock, for handing it over to a successor. -1 after `release`."""
        return self._descriptor

    def beat(self) -> str | None:
        """Show a sign of life. Returns None, or one line about what is wrong; never raises, never ends the lock.

        When the file has vanished or was replaced, a new one is locked and kept beside the old lock's place.
        """
        try:
            if not _same_file(self._descriptor, self._places.owner_lock):
                self._follow_path()
            self._lost_since_s = None
            self._introduce()
            now_ns = boot_clock_ns()
            os.utime(self._descriptor, ns=(now_ns, now_ns))
        except CommandError as error:
            return error.message
        except OSError as error:
            return f"the heartbeat cannot be written: {reason(error)}"
        return None

    @property
    def is_lost(self) -> bool:
        """True when another process has kept the lock for so long that it is no start that fails for other reasons."""
        return self._lost_since_s is not None and time.monotonic() - self._lost_since_s >= self._lost_after_s

    def release(self) -> None:
        """Let go of the lock; the file stays. Repeating it does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _follow_path(self) -> None:
        descriptor = _try_lock(self._places)
        if descriptor is None:
            self._lost_since_s = self._lost_since_s or time.monotonic()
            raise CommandError("owner.lost", path=self._places.owner_lock)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def _introduce(self) -> None:
        """Write who holds the lock into the lock file, in place: a rename would leave the lock behind."""
        document = {
            **identity(),
            "verb": self._verb,
            "started_at_ms": self._since_ms,
            "started_boot_ms": self._since_boot_ms,
            "owner_token": self.owner_token,
        }
        data = dumps(document).encode()
        if os.pread(self._descriptor, len(data) + 1, 0) == data:
            return
        try:
            # Longer or shorter than before, a reader finds either text whole or none that parses.
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise


def request_stop(places: Places) -> str:
    """Ask the live owner to stop: "requested", "already_requested" or "not_running". Does not wait for it.

    Where the request cannot be stored, a verified owner gets a TERM signal instead.
    Raises CommandError `owner.not_yours` or `owner.stop_failed`.
    """
    holder: dict[str, object] = {}
    try:
        state = lock_state(places)
        if not state.held:
            return "not_running"
        holder = live_document(places, state)
        token = str(holder.get("owner_token") or "")
        if stop_requested(places, token):
            return "already_requested"
        if token:
            write_stop_request(places, token)
        elif not _signal_owner(holder):
            raise _stop_failed(places, "it has not said who it is yet")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            command = places.command("gateway stop")
            raise CommandError("owner.not_yours", path=places.state, command=command) from error
        if error.errno not in _DISK_REFUSES or not _signal_owner(holder):
            raise _stop_failed(places, reason(error)) from error
    return "requested"


def live_document(places: Places, state: LockState) -> dict[str, object]:
    """What is known about the holder of the lock: its published document, else what the lock file says.

    A document that another process left behind is passed over. Raises PermissionError.
    """
    document = read_document(places.owner_active)
    holder = state.holder
    if document is None or (holder and document.get("pid") != holder.get("pid")):
        return dict(holder)
    return {**holder, **document}


def _signal_owner(holder: dict[str, object]) -> bool:
    """Send TERM to the process that wrote `holder`, only if it surely still is that process."""
    if not is_alive(holder):
        return False
    try:
        os.kill(int(str(holder["pid"])), _SIGTERM)
    except OSError:
        return False
    return True


def _open_lock_file(places: Places) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(places.owner_lock, flags, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            detail = "it is a symbolic link"
            raise CommandError("owner.state_unwritable", path=places.owner_lock, detail=detail) from error
        raise unusable(places.owner_lock, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CommandError("owner.state_unwritable", path=places.owner_lock, detail="not a regular file")
    return descriptor


def _try_lock(places: Places) -> int | None:
    """A descriptor that holds the lock, or None while another one holds it."""
    descriptor = _open_lock_file(places)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between open and lock somebody may have removed the file: then this lock would guard nothing.
        if _same_file(descriptor, places.owner_lock):
            return descriptor
    except BlockingIOError:
        pass
    except OSError as error:
        os.close(descriptor)
        if error.errno in _NO_LOCKS:
            raise CommandError("owner.no_locks", path=places.state, detail=reason(error)) from error
        raise CommandError("owner.state_unwritable", path=places.owner_lock, detail=reason(error)) from error
    os.close(descriptor)
    return None


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        # It was no open descriptor to begin with.
        return


def _stop_failed(places: Places, detail: str) -> CommandError:
    return CommandError("owner.stop_failed", detail=detail, status=places.command("gateway status"))


def _already_active(places: Places) -> CommandError:
    try:
        holder = lock_state(places).holder
    except OSError:
        holder = {}
    # The lock file may still tell about an earlier holder while the new one is about to write.
    known = holder if not holder.get("pid_start_ticks") or is_alive(holder) else {}
    since_ms = known.get("started_at_ms")
    since = (
        wording.duration(max(0, wall_ms() - since_ms) // 1000) if isinstance(since_ms, int) else "just now"
    )
    return CommandError(
        "owner.active",
        runtime_dir=places.runtime_dir,
        pid=known.get("pid") or "unknown",
        since=since,
        verb=known.get("verb") or "another command",
        status=places.command("gateway status"),
        stop=places.command("gateway stop"),
    )


def _same_file(descriptor: int, path: str) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _pause(seconds: float) -> None:
    """Wait: a lock that nobody releases, with a deadline. Lighter than importing `threading` here."""
    gate = _thread.allocate_lock()
    gate.acquire()
    gate.acquire(timeout=seconds)
