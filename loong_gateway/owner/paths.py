"""Where everything of one gateway lies: home, state, configuration, and the files of its owner.

Plain on purpose: the status path imports this module. Paths are absolute strings.
"""

from __future__ import annotations

import errno
import os
import stat

from loong_gateway.base.faults import CommandError

__all__ = ["Places", "resolve_places", "unusable"]

DEFAULT_PROFILE = "default"
DEV_PROFILE = "dev"
_PROFILE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

# What tells a gateway's own directory from one that it merely was pointed at.
_OWN_NAMES = frozenset({"owner.lock", "config.toml", "gateway-runtime", "logs"})


class Places:
    """The places of one gateway. Immutable by convention; nothing is created before `create`.

    `dev` says that `--dev` was given. `flags` are the words that lead another command to the same places.
    """

    def __init__(
        self,
        *,
        home: str,
        state: str,
        config: str,
        profile: str = DEFAULT_PROFILE,
        dev: bool = False,
        flags: str = "",
        variables: str = "",
    ) -> None:
        self.home = home
        self.state = state
        self.config = config
        self.profile = profile
        self.dev = dev
        self.flags = flags
        self.variables = variables
        self.runtime_dir = os.path.join(state, "gateway-runtime")
        self.owner_lock = os.path.join(state, "owner.lock")
        self.store_lock = os.path.join(state, "store.lock")
        self.socket = os.path.join(state, "gateway.sock")
        self.store = os.path.join(state, "loong.sqlite3")
        self.logs = os.path.join(state, "logs")
        self.outgoing = os.path.join(state, "outgoing")
        self.audit = os.path.join(state, "audit", "events.jsonl")
        self.provider_state = os.path.join(state, "provider-profile-state.json")
        self.boots = os.path.join(state, "boots.json")
        self.refused_start = os.path.join(state, "refused-start.json")
        self.control_token = os.path.join(self.runtime_dir, "control-token")
        self.owner_active = os.path.join(self.runtime_dir, "owner-active.json")
        self.status_file = os.path.join(self.runtime_dir, "status.json")
        self.stop_request = os.path.join(self.runtime_dir, "stop-request.json")

    def command(self, verb: str) -> str:
        """The command line that runs `verb` on these places, ready to be pasted into the same shell."""
        return f"loong {self.flags}{verb}"

    def spelled(self, fix: str) -> str:
        """`fix` with the global flags of this command line in every `loong` command that has none of its own."""
        if not self.flags:
            return fix
        # A command begins the text, or stands behind a colon or a gap.
        marked = f": {fix}"
        for gap in (": ", "  "):
            head, *commands = marked.split(f"{gap}loong ")
            marked = head + "".join(
                f"{gap}loong {rest}" if rest.startswith("--") else f"{gap}loong {self.flags}{rest}"
                for rest in commands
            )
        return marked[2:]

    def not_a_directory(self) -> str | None:
        """The home or state directory when something else stands in its place, else None. Reads, makes nothing."""
        for path in (self.home, self.state):
            try:
                if not stat.S_ISDIR(os.stat(path).st_mode):
                    return path
            except NotADirectoryError:
                return path
            except OSError:
                # Not there yet, or not to be seen by this user, which others report.
                continue
        return None

    def create(self) -> None:
        """Make the directories, each 0700; narrow one of ours that others can enter.

        Raises CommandError `owner.state_unwritable` when one cannot be made or is not a directory of its own,
        `run.disk` when there is no room for it.
        """
        for path in (self.home, self.state):
            _private_directory(path, may_be_link=True)
        for path in (self.runtime_dir, self.logs):
            _private_directory(path, may_be_link=False)

    def create_runtime_dir(self) -> None:
        """Make the directory of the owner's files again, should it have vanished. Raises OSError."""
        os.makedirs(self.runtime_dir, mode=0o700, exist_ok=True)


def _private_directory(path: str, *, may_be_link: bool) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.stat(path) if may_be_link else os.lstat(path)
        if not stat.S_ISDIR(found.st_mode):
            raise CommandError("owner.state_unwritable", path=path, detail="not a directory of its own")
        if found.st_mode & 0o077 and _is_ours(path, found):
            os.chmod(path, 0o700)
        elif found.st_mode & 0o002:
            raise CommandError("owner.state_unwritable", path=path, detail="everybody can write to it")
        if not os.access(path, os.W_OK | os.X_OK):
            raise CommandError("owner.state_unwritable", path=path, detail="permission denied")
    except OSError as error:
        raise unusable(path, error) from error


def unusable(path: str, error: OSError) -> CommandError:
    """What a refusal of the system means for a start: a disk may have room again, anything else needs a person."""
    detail = (error.strerror or str(error)).lower()
    passing = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    return CommandError("run.disk" if passing else "owner.state_unwritable", path=path, detail=detail)


def _is_ours(path: str, found: os.stat_result) -> bool:
    """True for a directory that serves nothing but a gateway: a shared one must never be closed to others."""
    if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
        return False
    names = os.listdir(path)
    return not names or not _OWN_NAMES.isdisjoint(names) or os.path.basename(path) in _OWN_NAMES


def resolve_places(flags: dict[str, object], environ: dict[str, str]) -> Places:
    """Work out the places from `config`, `profile` and `dev` in `flags` and from the LOONG_ variables.

    A flag wins over its variable; an explicit home, state or config path wins over the profile's.
    Touches no file. Raises CommandError for a profile that cannot be part of a directory name.
    """
    dev = bool(flags.get("dev"))
    given = str(flags.get("profile") or "")
    profile = given or (DEV_PROFILE if dev else environ.get("LOONG_PROFILE", "")) or DEFAULT_PROFILE
    if not _PROFILE_CHARACTERS.issuperset(profile) or profile.startswith((".", "-")) or len(profile) > 64:
        raise CommandError("usage.bad_profile", given=profile)
    home = _absolute(environ.get("LOONG_HOME", ""), environ) or _profile_home(profile, environ)
    config_flag = str(flags.get("config") or "")
    config = _absolute(config_flag, environ) or _absolute(environ.get("LOONG_CONFIG_PATH", ""), environ)
    words = [f"--profile {given}"] if given else []
    words += ["--dev"] if dev else []
    words += [f"--config {_quoted(config_flag)}"] if config_flag else []
    variables = [name for name in ("LOONG_HOME", "LOONG_STATE_DIR") if environ.get(name)]
    return Places(
        home=home,
        state=_absolute(environ.get("LOONG_STATE_DIR", ""), environ) or home,
        config=config or os.path.join(home, "config.toml"),
        profile=profile,
        dev=dev,
        flags="".join(f"{word} " for word in words),
        variables="".join(f"{name}={_quoted(environ[name])} " for name in variables),
    )


def _profile_home(profile: str, environ: dict[str, str]) -> str:
    name = ".loong" if profile == DEFAULT_PROFILE else f".loong-{profile}"
    # Without HOME and without an entry in the user database, the current directory is all that is left.
    return _absolute(f"~/{name}", environ) or os.path.abspath(name)


def _absolute(path: str, environ: dict[str, str]) -> str:
    """`path` with a leading `~` expanded and made absolute; "" when empty or when nobody knows the home."""
    if path == "~" or path.startswith("~/"):
        user_home = environ.get("HOME") or os.path.expanduser("~")
        if user_home == "~":
            return ""
        path = user_home + path[1:]
    return os.path.abspath(path) if path else ""


def _quoted(text: str) -> str:
    """`text` as one word of a shell command."""
    if text and all((c.isalnum() and c.isascii()) or c in "@%+=:,./-_~" for c in text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"
