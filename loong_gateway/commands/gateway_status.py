"""Is the gateway there, is it ready, and if not, what to do."""

from __future__ import annotations

from loong_gateway.base.wording import ago, duration, one_line
from loong_gateway.commands.common import Context, add_target_flags
from loong_gateway.commands.render import style_of, table
from loong_gateway.owner import verdict
from loong_gateway.owner.status import READY_PHASE, Observation, exit_code, observe

HELP = "say whether the gateway runs, whether it is ready, and what to do if not"
EXAMPLES = ("loong gateway status", "loong gateway status --json")
EXIT_CODES = "0 ready; 1 starting, stopping, stalled or degraded; 3 not running; 4 state unreadable"

_CONTRACT_LINES = """\
runtime_dir={runtime_dir}
phase={phase} running={running} stale={stale} pid={pid} mode={mode} config={config_path} \
session={attached_cli_session} version={version}
started_at_ms={started_at_ms} last_heartbeat_at_ms={last_heartbeat_at} stopped_at_ms={stopped_at_ms}
surfaces configured={configured_surface_count} running={running_surface_count}
shutdown_reason={shutdown_reason}
last_error={last_error}
bind_address={bind_address} port={port} token_path={token_path}"""


def add_arguments(parser) -> None:  # type: ignore[no-untyped-def]  # argparse is not loaded on this path
    """Declare the flags of this verb."""
    parser.add_argument("--deep", action="store_true", help="ask the gateway itself as well, over its port")
    add_target_flags(parser)


def run(args, context: Context, deep=None) -> int:  # type: ignore[no-untyped-def]  # noqa: ARG001
    """Print the status; the exit code is the verdict. `deep` is what became of a call over the port."""
    seen = observe(context.places)
    document = seen.document
    if context.json:
        context.document(document if deep is None else {**document, "deep": deep})
    else:
        for line in _text(seen, context, deep):
            context.out(line)
    failed = deep is not None and deep["ok"] is not True
    return max(exit_code(document), 1) if failed else exit_code(document)


def _text(seen: Observation, context: Context, deep: dict[str, object] | None) -> list[str]:
    places = context.places
    document = seen.document
    probe = f"RPC probe: {document['rpc_probe']}"
    lines = [
        verdict.headline(seen, places),
        f"Runtime: {verdict.runtime_word(document)}",
        f"{probe} ({seen.probe_detail})" if seen.probe_detail else probe,
    ]
    if deep is not None:
        lines.append(call_line(deep))
    if document["lock_held"] and not document["stale"]:
        lines.append(_owner_line(seen))
        lines += _surface_table(seen, context)
        problems = verdict.problems(seen, places)
        lines += ["", *problems] if problems else []
    lines += verdict.next_steps(seen, places)
    return [*lines, "", *_contract_lines(document)]


def call_line(deep: dict[str, object]) -> str:
    """What became of the call over the port: {ok, error}."""
    return "Status call: ok" if deep["ok"] else f"Status call: failed ({deep['error']})"


def _owner_line(seen: Observation) -> str:
    document = seen.document
    parts = [f"loong {document['version']}", f"pid {_shown(document['pid'])}"]
    if seen.verb and seen.verb != "gateway run":
        parts.append(seen.verb)
    uptime_ms = document["uptime_ms"]
    if isinstance(uptime_ms, int):
        parts.append(f"up {duration(uptime_ms // 1000)}")
    if seen.heartbeat_age_ms is not None:
        parts.append(f"heartbeat {duration(seen.heartbeat_age_ms // 1000)} ago")
    host = document["bind_address"]
    if isinstance(host, str) and document["port"] is not None:
        parts.append(f"http://{f'[{host}]' if ':' in host else host}:{document['port']}")
    return f"Owner: {', '.join(parts)}"


def _surface_table(seen: Observation, context: Context) -> list[str]:
    surfaces = seen.document["surfaces"]
    assert isinstance(surfaces, list)
    if not surfaces:
        return []
    rows = [["SURFACE", "PHASE", "SINCE", "LAST IN", "LAST OUT", "IN", "OUT", "RESTARTS"]]
    meanings: dict[tuple[int, int], str] = {}
    troubled = verdict.troubled_surfaces(seen.document)
    for number, surface in enumerate(sorted(surfaces, key=verdict.urgency), 1):
        since_ms = surface["since_ms"]
        rows.append(
            [
                f"{surface['channel']}/{surface['account']}",
                surface["phase"],
                duration(max(0, seen.now_ms - since_ms) // 1000) if since_ms else "-",
                ago(surface["last_inbound_ms"], seen.now_ms),
                ago(surface["last_outbound_ms"], seen.now_ms),
                str(surface["inbox"]["new"] + surface["inbox"]["claimed"]),
                str(sum(surface["outbox"][state] for state in ("queued", "sending", "unknown"))),
                str(surface["restarts"]),
            ]
        )
        meanings[number, 1] = (
            "bad" if surface in troubled else "good" if surface["phase"] == READY_PHASE else "warn"
        )
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    return ["", *table(rows, style, right=(5, 6, 7), identifiers=(0,), meanings=meanings)]


def _contract_lines(document: dict[str, object]) -> list[str]:
    """The seven `key=value` lines that scripts of the first days read."""
    shown = {key: _shown(value) for key, value in document.items()}
    return [line.format_map(shown) for line in _CONTRACT_LINES.split("\n")]


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return one_line(value, limit=4_096)
