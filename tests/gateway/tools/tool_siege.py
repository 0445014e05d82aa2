"""All tools under hostile arguments, in a world that shows whether anything outside of the policy was touched."""

from __future__ import annotations

import json
import os
import pathlib
from collections import Counter

from loong_gateway.control import SendOutcome, SendRequest
from loong_gateway.tools.builtin import all_tools
from loong_gateway.tools.contract import BadArgument, ToolFailed
from tests.fakes.http_server import Call
from tests.gateway.api.whole_port import WholeGateway
from tests.gateway.tools.hostile_arguments import ALLOWED_ORIGIN, ALLOWED_TARGET, GOOD, OWN_SESSION, calls
from tests.gateway.tools.tool_rig import Called, context, quiet_egress, toml
from tests.gateway.tools.web_rig import PUBLIC, SmallInternet

CANARY = "CANARY-nobody-may-see-this"


class Siege:
    """`failures` are sentences about what did not hold; `outcomes` counts (tool, "done" or "refused")."""

    def __init__(self, directory: str) -> None:
        self.base = pathlib.Path(directory).resolve()
        self.failures: list[str] = []
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._away = ""
        self._hosts: list[str] = []
        self.net = SmallInternet(self._serve)
        self.root, self.outside = self.base / "files", self.base / "outside"
        self._lay_out()

    def run(self, seed: int, count: int) -> None:
        """Make so many calls, and look at everything afterwards."""
        gateway = _Gateway(
            f"[tools]\nfile_root = {toml(str(self.root))}\nshell_allow = ['printf']\n"
            f"[tools.http]\norigins = [{toml(ALLOWED_ORIGIN)}]\n"
            f"[tools.messages]\nenabled = true\ntargets = [{toml(ALLOWED_TARGET)}]\n"
        )
        own = [str(self.root / "home"), str(self.root / "home/config.toml")]
        tools = {tool.name: Called(tool) for tool in all_tools(gateway, lambda: 0, quiet_egress(), own)}
        before = self._look()
        with self.net.up():
            for tool, given, away in calls(seed, count, str(self.outside)):
                self._set_names()
                self._away, self._hosts = away, []
                self._call(tools[tool], given)
                if tool == "http.request" and set(self._hosts) - {"api.test:8080"}:
                    self.failures.append(f"http.request reached {self._hosts}: {given!a}")
            # The last word of each: a siege in which nothing is done would show nothing.
            for tool, given in GOOD.items():
                self._set_names()
                self._away = ""
                self._call(tools[tool], given)
                if not self.outcomes[tool, "done"]:
                    self.failures.append(f"{tool} never did anything")
        if self.net.canary.connections or set(self.net.connected) - {PUBLIC}:
            self.failures.append(f"connected to {sorted(set(self.net.connected) - {PUBLIC})}")
        if gateway.targets - {ALLOWED_TARGET}:
            self.failures.append(f"sent to {gateway.targets}")
        self.failures += [f"touched: {path}" for path, row in self._look().items() if before.get(path) != row]

    def _call(self, tool: Called, given: dict[str, object]) -> None:
        name = tool.tool.name
        try:
            told = tool(context(10.0, session=OWN_SESSION), **given)
        except (BadArgument, ToolFailed):
            self.outcomes[name, "refused"] += 1
        except Exception as error:  # noqa: BLE001  what is looked for is whatever nobody thought of
            self.failures.append(f"{name} raised {error!r}: {given!a}")
        else:
            self.outcomes[name, "done"] += 1
            if "CANARY" in json.dumps(told):
                self.failures.append(f"{name} told a canary: {given!a}")

    def _serve(self, call: Call) -> None:
        self._hosts.append(call.headers.get("host", ""))
        if call.path == "/away" and self._away:
            location = self._away.encode("ascii", "replace").decode()
            location = "".join(letter for letter in location if letter.isprintable())
            call.reply(302, b"", headers=(("Location", location),))
        else:
            call.reply(200, b"hello", "text/plain")

    def _set_names(self) -> None:
        self.net.names.update(
            {
                "site.test": [[PUBLIC]],
                "api.test": [[PUBLIC]],
                "inside.test": [["10.1.2.3"]],
                "meta.test": [[PUBLIC, "169.254.169.254"]],
            }
        )
        self.net.names.update({f"rebinding-{n}.test": [[PUBLIC], ["127.0.0.1"]] for n in range(97)})

    def _lay_out(self) -> None:
        (self.root / "dir").mkdir(parents=True)
        (self.root / "home").mkdir()
        self.outside.mkdir()
        for path in (
            self.outside / "canary",
            self.outside / "linked",
            self.outside / "a.txt",
            self.root / "home/config.toml",
            self.root / "home/canary",
        ):
            path.write_text(CANARY)
        (self.outside / "program").write_text(f"#!/bin/sh\ntouch {self.outside}/ran\n")
        (self.outside / "program").chmod(0o700)
        (self.root / "a.txt").write_text("inside")
        (self.root / "dir/a.txt").write_text("inside")
        os.mkfifo(self.root / "pipe")
        for name, target in (
            ("out", self.outside),
            ("root", "/"),
            ("chain", "out"),
            ("loop", "loop"),
            ("self", "/proc/self"),
            ("file", self.outside / "canary"),
            ("dir/canary", "../../outside/canary"),
        ):
            (self.root / name).symlink_to(target)
        os.link(self.outside / "linked", self.root / "hard")
        for path in self._guarded():
            # Older than the last change, so that any reading shows where the system keeps such times at all.
            os.utime(path, (1, 1_000_000_000))

    def _guarded(self) -> list[pathlib.Path]:
        return [path for top in (self.outside, self.root / "home") for path in (top, *sorted(top.rglob("*")))]

    def _look(self) -> dict[str, object]:
        """What can be seen of everything that must stay as it is, without touching it."""
        found = {}
        for path in self._guarded():
            row = path.lstat()
            found[str(path)] = (row.st_ino, row.st_mode, row.st_size, row.st_mtime_ns, row.st_nlink)
            if path.is_file():
                found[f"{path} (read)"] = row.st_atime_ns
        found["names"] = sorted(found)
        return found


class _Gateway(WholeGateway):
    """One with sessions of its own and of others, that keeps where it was asked to send."""

    def __init__(self, more: str) -> None:
        super().__init__(more)
        self.sessions.said = {OWN_SESSION: [("user", "mine")], "agent:main:b": [("user", CANARY)]}
        self.targets: set[str] = set()

    def send(self, request: SendRequest) -> SendOutcome:
        self.targets.add(f"{request.channel}:{request.account}:{request.target}")
        return SendOutcome("id", "sent", str(request.account))
