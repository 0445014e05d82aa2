"""[tools]: what the model may call, and within which bounds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

from loong_channels import catalog
from loong_channels.settings import Setting
from loong_gateway.config.agent_snapshot import (
    ApprovalSettings,
    HttpToolSettings,
    MessageToolSettings,
    SessionToolSettings,
    ToolSettings,
    WebToolSettings,
)
from loong_gateway.config.section import Section, number
from loong_gateway.config.tables import Table
from loong_gateway.config.urls import check_origin

__all__ = [
    "TOOL_SECTIONS",
    "read_tools",
]

_PROGRAM = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9._+-]{0,63}")

_TOOLS = Section(
    "tools",
    (
        Setting("allow", "texts", (), "tools that the model may call; empty = none"),
        Setting("deny", "texts", (), "tools that it may not, whatever allow says"),
        Setting("file_root", "path", None, "the only directory that file tools touch; absent = no files"),
        Setting("shell_allow", "texts", (), "programs that shell.run may start, by name or path"),
        number("max_rounds", 8, 1, 64, "rounds of tool calls in one turn"),
        number("max_calls", 32, 1, 1000, "tool calls in one turn"),
        number("max_repeats", 3, 1, 100, "the same call with the same arguments in one turn"),
        number("max_result_bytes", 65_536, 1024, 1 << 20, "how much of one result the model is shown"),
        number("timeout_s", 60, 1, 600, "how long one call may take"),
    ),
    tables=("approval", "http", "messages", "sessions", "web"),
    later=("delegate", "shell_default_mode", "web_search"),
)
_APPROVAL = Section(
    "tools.approval",
    (
        Setting(
            "mode",
            "choice",
            "medium_balanced",
            "which calls wait for a person: none, those that act, or all",
            choices=("disabled", "medium_balanced", "strict"),
        ),
        number("timeout_s", 300, 1, 3600, "how long a call waits before it counts as refused"),
        Setting("approvers", "texts", (), "sender ids that may approve in a chat; empty = who asked"),
    ),
)
_WEB = Section(
    "tools.web",
    (
        number("max_bytes", 1 << 20, 1024, 5 << 20, "how much of a page is fetched"),
        number("timeout_s", 15, 1, 120, "how long a fetch may take"),
        number("max_redirects", 3, 0, 10, "redirects that are followed, each checked again"),
        Setting("allow_private_hosts", "bool", False, "whether addresses of this network may be fetched"),
    ),
)
_HTTP = Section(
    "tools.http",
    (
        Setting("origins", "texts", (), "scheme://host:port that http.request may call"),
        number("max_bytes", 1 << 20, 1024, 5 << 20, "how much of an answer is read"),
        number("timeout_s", 15, 1, 120, "how long a request may take"),
    ),
)
_MESSAGES = Section(
    "tools.messages",
    (
        Setting("enabled", "bool", False, "whether channels.send may be used"),
        Setting("targets", "texts", (), "where it may send to: CHANNEL:ACCOUNT:TARGET"),
    ),
)
_SESSIONS = Section(
    "tools.sessions",
    (
        Setting("enabled", "bool", True, "whether the tools about sessions may be used"),
        Setting(
            "visibility",
            "choice",
            "own",
            "which sessions the model may look at",
            choices=("own", "all"),
        ),
        number("list_limit", 100, 1, 200, "most sessions in one list"),
        number("history_limit", 200, 1, 200, "most messages in one history"),
    ),
    later=("allow_mutation",),
)
TOOL_SECTIONS = (_TOOLS, _APPROVAL, _WEB, _HTTP, _MESSAGES, _SESSIONS)


def read_tools(root: Table) -> ToolSettings:
    """What [tools] says; findings go where the table says."""
    table = root.child("tools")
    values, http, messages = table.read_all(_TOOLS), table.child("http"), table.child("messages")
    http_values, message_values = http.read_all(_HTTP), messages.read_all(_MESSAGES)
    _check_root(table, values["file_root"])
    _check_each(
        table, "shell_allow", values["shell_allow"], _program_problem, 'shell_allow = ["/usr/bin/uptime"]'
    )
    _check_each(
        http, "origins", http_values["origins"], check_origin, 'origins = ["https://intra.example:8443"]'
    )
    _check_each(
        messages,
        "targets",
        message_values["targets"],
        _target_problem,
        'targets = ["telegram:bot_110201543:1001"]',
    )
    if values["shell_allow"] and values["file_root"] is None:
        _invalid(table, "shell_allow", "needs tools.file_root, where programs run", "write file_root as well")
    return ToolSettings(
        **values,
        approval=ApprovalSettings(**table.child("approval").read_all(_APPROVAL)),
        web=WebToolSettings(**table.child("web").read_all(_WEB)),
        http=HttpToolSettings(**http_values),
        messages=MessageToolSettings(**message_values),
        sessions=SessionToolSettings(**table.child("sessions").read_all(_SESSIONS)),
    )


def _check_root(table: Table, file_root: str | None) -> None:
    """Note a root with the config in it; where else it may not be is known when it is used."""
    root = os.path.realpath(file_root or os.devnull)
    if os.path.commonpath((root, os.path.realpath(table.reading.base_dir))) == root:
        fix = "name a directory that holds nothing of the gateway"
        _invalid(table, "file_root", "holds the config of the gateway", fix)


def _program_problem(program: str) -> str:
    if os.path.isabs(program):
        return "" if program.isprintable() else "holds characters that no path may hold"
    return "" if _PROGRAM.fullmatch(program) else "expected the name of a program or its absolute path"


def _target_problem(target: str) -> str:
    parts = target.split(":", 2)
    if len(parts) != 3 or not all(parts):
        return "expected CHANNEL:ACCOUNT:TARGET"
    return "" if catalog.canonical(parts[0]) else "names a channel that is not known"


def _check_each(
    table: Table, name: str, values: Iterable[str], problem_of: Callable[[str], str], example: str
) -> None:
    """Note the first value that cannot be used."""
    problem = next(filter(None, map(problem_of, values)), "")
    if problem:
        _invalid(table, name, problem, f"write, for example: {example}")


def _invalid(table: Table, name: str, detail: str, fix: str) -> None:
    table.add("config.value.invalid", name, at_value=True, detail=detail, suggestion="", fix=fix)
