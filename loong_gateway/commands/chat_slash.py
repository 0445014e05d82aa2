"""What can be typed at `loong chat` besides what is said to the model. A chat of a channel has its own few words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from loong_gateway.base.faults import CommandError
from loong_gateway.base.ids import new_id
from loong_gateway.base.wording import ago, one_line, plural
from loong_gateway.commands.common import Context
from loong_gateway.commands.session_access import find_row, store_of
from loong_gateway.commands.talk import Talk
from loong_gateway.commands.through_gateway import change
from loong_gateway.config.snapshot import Config
from loong_gateway.messaging.memory import SUMMARY
from loong_gateway.messaging.sessions import display_name, session_key
from loong_gateway.storage import transcripts

__all__ = ["Slash"]

SHOWN_SESSIONS = 10
LONGEST = 2000
HELP_LINES = (
    "/status             who answers, and in which session",
    "/history            what has been said, as the model sees it",
    "/new                begin a fresh session",
    "/sessions           the latest sessions",
    "/resume ID          go on in another session, /resume for the latest",
    "/fork [NAME]        go on in a copy of this session",
    "/compact            have the model squeeze what was said into a summary",
    "/model [PROFILE[:MODEL]]   who answers here; /model default as configured",
    "/permissions        what tools may do",
    "/exit               end (also /quit, Ctrl-D, Ctrl-C)",
)


class Slash:
    """Obeys. Used from one thread."""

    def __init__(self, context: Context, talk: Talk, config: Config) -> None:
        self._context = context
        self._talk = talk
        self._config = config
        self._verbs: dict[str, Callable[[str], Iterable[str]]] = {
            "/help": lambda _: HELP_LINES,
            "/status": lambda _: [self._where()],
            "/history": lambda _: self._history(),
            "/new": lambda _: [talk.start_new()],
            "/sessions": lambda _: self._sessions(),
            "/resume": self._resume,
            "/fork": self._fork,
            "/compact": lambda _: [self._compact()],
            "/model": self._model,
            "/permissions": lambda _: self._permissions(),
        }

    def obey(self, line: str) -> Iterable[str] | None:
        """The lines that answer a command; None for what is said to the model. Raises CommandError, StoreUnwritable."""
        word, _, rest = line.partition(" ")
        verb = self._verbs.get(word)
        return None if verb is None else verb(rest.strip())

    def _where(self) -> str:
        return f"session {display_name(self._talk.session)}, {self._talk.describe()}"

    def _history(self) -> Iterable[str]:
        said = self._talk.history()
        for role, text in said:
            yield f"{'you' if role == 'user' else role}> {one_line(text, LONGEST)}"
        if not said:
            yield "nothing has been said yet"

    def _sessions(self) -> Iterable[str]:
        rows = (
            store_of(self._context).read(
                lambda conn: transcripts.routes(conn, SHOWN_SESSIONS, archived=False)
            )
            or []
        )
        now_ms = self._context.clock.wall_ms()
        for row in rows:
            mark = "*" if row.route == self._talk.session else " "
            yield f"{mark} {display_name(row.route)}  {plural(row.messages, 'message')}, {ago(row.last_ms, now_ms)}"
        if not rows:
            yield "nothing is remembered yet"

    def _resume(self, given: str) -> Iterable[str]:
        self._talk.session = find_row(self._context, given or "latest", verb="sessions show").route
        return [self._where()]

    def _fork(self, given: str) -> Iterable[str]:
        source, target = self._talk.session, session_key(given or new_id("fork"))
        now_ms = self._context.clock.wall_ms()
        answer = change(
            self._context,
            "sessions.fork",
            {"key": source, "target": target},
            lambda conn: {"messages": transcripts.copy(conn, source, target, now_ms)},
        )
        copied = answer.get("messages") if isinstance(answer, dict) else 0
        if not isinstance(copied, int) or not copied:
            return [f"nothing was copied: nothing has been said, or {display_name(target)} is there already"]
        self._talk.session = target
        return [f"{plural(copied, 'message')} copied; {self._where()}"]

    def _compact(self) -> str:
        if not self._talk.compact():
            return "there is nothing new to squeeze"
        if self._config.memory.profile != SUMMARY:
            return f'the summary is made, and shown to the model once memory.profile is "{SUMMARY}"'
        return "what was said is a summary now"

    def _model(self, given: str) -> Iterable[str]:
        profiles = self._config.providers
        if given == "default":
            self._talk.model = ""
        elif given:
            name = given.partition(":")[0]
            if name not in profiles:
                raise CommandError(
                    "talk.no_profile", given=one_line(name, 60), choices=", ".join(profiles) or "none"
                )
            self._talk.model = given
        lines = [f"{name}: {profile.kind}, model {profile.model}" for name, profile in profiles.items()]
        return [self._where(), *([] if given else lines)]

    def _permissions(self) -> Iterable[str]:
        tools, port = self._config.tools, self._config.gateway
        yield f"approval: {tools.approval.mode}"
        yield f"tools: {_listed(tools.allow)}; never: {_listed(tools.deny)}"
        yield f"shell: {_listed(tools.shell_allow)}"
        yield f"files: {tools.file_root or 'none'}"
        yield f"http: {_listed(tools.http.origins)}"
        yield f"messages: {_listed(tools.messages.targets) if tools.messages.enabled else 'none'}"
        yield f"through the port: {_listed(port.tools_allow)}; never: {_listed(port.tools_deny)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
