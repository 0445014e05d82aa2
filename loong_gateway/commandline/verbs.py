"""The table of verbs: what can be typed after `loong`, and which module answers.

To add a verb, add a row and a module in `commands`. Such a module has `HELP` (one sentence), `EXAMPLES` (two command
lines), `add_arguments(parser)` and `run(args, context) -> exit code`; optional are `EXIT_CODES` (one line of text) and
`JSON = False` for a verb whose result no machine could read.
"""

from __future__ import annotations

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import nearest

__all__ = [
    "ALIASES",
    "GLOBAL_SWITCHES",
    "GLOBAL_VALUES",
    "SELDOM",
    "VERBS",
    "Call",
    "find_verb",
    "group_members",
]

_WORK_UNIT = (
    ("create", "store a new work unit"),
    ("show", "show one work unit"),
    ("list", "those that changed last"),
    ("events", "what happened to one"),
    ("claim", "lease the one that is due next"),
    ("start", "the work on a leased one begins"),
    ("heartbeat", "keep a lease for longer"),
    ("complete", "end a lease: done, again, failed or cancelled"),
    ("recover", "take back leases that have expired"),
    ("archive", "put away one that has ended"),
    ("assign", "say who is responsible"),
    ("update", "change what it says, or its status"),
    ("depend", "have one wait for another"),
    ("undepend", "have it wait no more"),
    ("note", "keep a remark with it"),
    ("health", "count them by state"),
)
# Words, module (with `module:NAME` what it has in COMMANDS under that name), what the overview says about it.
VERBS: tuple[tuple[str, str, str], ...] = (
    ("gateway run", "gateway_run", "run the gateway on this terminal until it is stopped"),
    ("gateway status", "gateway_status", "is it running, ready, and if not, what to do"),
    ("gateway stop", "gateway_stop", "let it finish what it does, then end it"),
    ("gateway restart", "gateway_restart", "let it finish what it does, then begin anew"),
    ("gateway resume", "gateway_resume", "switch the channels on again after too many failed starts"),
    ("gateway call", "gateway_call", "call one method of the port, its answer as JSON"),
    ("gateway health", "gateway_health", "ask over the port whether it works"),
    ("gateway probe", "gateway_probe", "how far one gets: reached, admitted, allowed to read"),
    ("gateway channel", "gateway_channel", "start, stop or restart one account, the others go on"),
    ("channels list", "channels_list", "what is configured and what it can do"),
    ("channels status", "channels_status", "the live state of each account"),
    ("channels send", "channels_send", "send a text, files, or both"),
    ("channels serve", "channels_serve", "serve one channel alone, with a small control port"),
    ("runtime models list", "models_list", "the models that the provider offers"),
    ("runtime mcp list", "mcp_list", "the tool servers, and whether they work"),
    ("runtime mcp show", "mcp_show", "one tool server and its tools"),
    ("runtime acp status", "acp_status", "whether outside agents can be used, and what they do"),
    ("runtime acp sessions", "acp_sessions", "the conversations with outside agents"),
    ("runtime acp backends", "acp_backends", "the outside agents that can be started"),
    ("runtime acp observability", "acp_observability", "what is counted of outside agents"),
    ("runtime acp dispatch", "acp_dispatch", "whether a message would reach an outside agent"),
    ("runtime acp doctor", "acp_doctor", "start an outside agent and see whether it gets ready"),
    *((f"runtime work-unit {name}", f"work_unit:{name}", said) for name, said in _WORK_UNIT),
    ("validate-config", "validate_config", "check config.toml, all findings at once"),
    ("approvals", "approvals", "calls of tools that wait for a person: list, approve, deny"),
    ("secrets reload", "secrets_reload", "read the channels' secrets again, restart what needs it"),
    ("sessions list", "sessions_list", "the conversations that are remembered"),
    ("sessions show", "sessions_show", "one of them, and what the model used for it"),
    ("sessions history", "sessions_history", "what was said in it"),
    ("sessions usage", "sessions_usage", "tokens by day, or of one conversation"),
    ("sessions export", "sessions_export", "everything that was said, as a file"),
    ("sessions archive", "sessions_archive", "leave it out of the list"),
    ("sessions delete", "sessions_delete", "forget it for good"),
    ("agent", "agent", "have the gateway run a turn, and deliver its answer"),
    ("ask", "ask", "one question, one answer"),
    ("chat", "chat", "a conversation on this terminal"),
    ("status", "status", "gateway, provider, queues and sessions on one page"),
    ("doctor", "doctor", "look for what is wrong on this host"),
    ("audit recent", "audit:recent", "what was done and refused, the newest events"),
    ("audit summary", "audit:summary", "the newest events, counted by kind"),
    ("audit verify", "audit:verify", "does the chain of the journal hold"),
    ("audit repair", "audit:repair", "seal old events that have no envelope"),
    ("logs", "logs", "the last lines of the gateway's log"),
)
# Left to the help of their group, so that the overview of everything stays one screen.
_ACP = ("status", "sessions", "backends", "observability", "dispatch", "doctor")
SELDOM = (
    *("gateway resume", "gateway call", "gateway health", "gateway probe", "secrets reload"),
    *("audit recent", "audit summary", "audit verify", "audit repair"),
    *("runtime mcp list", "runtime mcp show"),
    *(f"runtime acp {verb}" for verb in _ACP),
    *(f"runtime work-unit {name}" for name, _ in _WORK_UNIT),
    *("sessions show", "sessions history", "sessions usage"),
    *("sessions export", "sessions archive", "sessions delete"),
)
_CHANNELS = ("telegram", "feishu", "lark", "wecom")
# Other spellings of a verb, with the words that they stand for. They work, and no overview mentions them.
ALIASES: dict[str, str] = {
    "gateway": "gateway run",
    "channels": "channels list",
    "health": "gateway health",
    "list-models": "runtime models list",
    "list-mcp-servers": "runtime mcp list",
    "show-mcp-server": "runtime mcp show",
    "turn run": "ask",
    "config validate": "validate-config",
    **{
        f"{'list-acp' if verb in ('sessions', 'backends') else 'acp'}-{verb}": f"runtime acp {verb}"
        for verb in _ACP
    },
    **{f"work-unit {name}": f"runtime work-unit {name}" for name, _ in _WORK_UNIT},
    **{f"{name}-{verb}": f"channels {verb} {name}" for name in _CHANNELS for verb in ("send", "serve")},
    **{f"{name} {verb}": f"channels {verb} {name}" for name in _CHANNELS for verb in ("send", "serve")},
}

FEW = 12
GLOBAL_VALUES = ("--config", "--profile")
GLOBAL_SWITCHES = ("--dev", "--verbose", "--no-color", "--json", "--help", "-h")


class Call:
    """A command line taken apart: the verb as it is called, its module, what follows it, and whether help is meant.

    `verb` is "" for bare `loong`; `module` is "" when only a group was named.
    """

    def __init__(self, verb: str, module: str, rest: list[str]) -> None:
        self.verb = verb
        self.module = module
        self.rest = rest
        before_dashes = rest[: rest.index("--")] if "--" in rest else rest
        self.wants_help = "--help" in before_dashes or "-h" in before_dashes


def find_verb(argv: list[str]) -> Call:
    """Find the verb in a command line. Global flags may stand before it, after it and between its words.

    Raises CommandError for a word that is no verb, naming the nearest one.
    """
    words, rest, tail = _take_words(argv)
    spelled = " ".join(words)
    modules = {row[0]: row[1] for row in VERBS}
    follows = tail[0] if tail and not tail[0].startswith("-") else None
    if follows is not None and (not words or group_members(spelled)):
        raise _unknown(words, follows, rest + tail[1:])
    call = Call(spelled, "", rest + tail)
    if call.wants_help and group_members(spelled):
        return call
    verb, extra = _canonical(spelled, modules)
    if verb in modules:
        return Call(verb, modules[verb], [*extra, *rest, *tail])
    if words:
        members = group_members(spelled)
        follow = [member[len(spelled) + 1 :] for member in members]
        # Of many only the next word each.
        follow = follow if len(follow) <= FEW else list(dict.fromkeys(one.split()[0] for one in follow))
        raise CommandError(
            "usage.incomplete",
            given=spelled,
            choices=", ".join(follow),
            fix=f"loong {members[0] if len(members) <= FEW else f'{spelled} --help'}",
        )
    return call


def group_members(group: str) -> list[str]:
    """The spellings that begin with the words of `group`, listed ones first; the usual verbs for ""."""
    start = f"{group} " if group else ""
    listed = [row[0] for row in VERBS if row[0].startswith(start) and (group or row[0] not in SELDOM)]
    return listed or [name for name in ALIASES if start and name.startswith(start)]


def _take_words(argv: list[str]) -> tuple[list[str], list[str], list[str]]:
    """The words of the verb, the global flags found around them, and everything after that."""
    words: list[str] = []
    flags: list[str] = []
    index = 0
    while index < len(argv):
        token = argv[index]
        if token in GLOBAL_VALUES:
            flags += argv[index : index + 2]
            index += 2
        elif token in GLOBAL_SWITCHES or token.startswith(tuple(f"{name}=" for name in GLOBAL_VALUES)):
            flags.append(token)
            index += 1
        elif not token.startswith("-") and _begins_a_verb([*words, token]):
            words.append(token)
            index += 1
        else:
            break
    return words, flags, argv[index:]


def _begins_a_verb(words: list[str]) -> bool:
    start = " ".join(words)
    return any(name == start or name.startswith(f"{start} ") for name in _spellings())


def _spellings() -> list[str]:
    return [row[0] for row in VERBS] + list(ALIASES)


def _canonical(spelled: str, modules: dict[str, str]) -> tuple[str, list[str]]:
    """The verb that a spelling stands for, and the arguments that the spelling implies."""
    meant = ALIASES.get(spelled, spelled).split()
    for count in range(len(meant), 0, -1):
        verb = " ".join(meant[:count])
        if verb in modules:
            return verb, meant[count:]
    return spelled, []


def _unknown(words: list[str], given: str, following: list[str]) -> CommandError:
    start = " ".join(words)
    known = sorted({name.split()[len(words)] for name in _spellings() if _follows(name, words)})
    meant = nearest(given, known)
    if meant is None:
        suggestion, fix = "", f"loong {start} --help" if start else "loong --help"
        if len(known) < 8:
            suggestion = f"; known: {', '.join(known)}"
    else:
        suggestion = f"; did you mean {meant}?"
        later = [word for word in following if not word.startswith("-")][:2]
        fixed = [*words, meant]
        for word in later:
            if _begins_a_verb([*fixed, word]):
                fixed.append(word)
        fix = f"loong {' '.join(fixed)}"
    return CommandError(
        "usage.unknown_command", given=" ".join([*words, given]), suggestion=suggestion, fix=fix
    )


def _follows(name: str, words: list[str]) -> bool:
    parts = name.split()
    return len(parts) > len(words) and parts[: len(words)] == words
