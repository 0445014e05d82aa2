"""`loong runtime acp doctor`: start an outside agent and see whether it gets ready."""

from __future__ import annotations

import argparse
import time

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.acp.link import CLOSE_S
from loong_gateway.acp.starts import AgentStarts
from loong_gateway.base.faults import CommandError
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.base.timers import Timers
from loong_gateway.base.wording import visible
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.config.secrets import resolve
from loong_gateway.providers.contract import ProviderFault

HELP = "start an outside agent, see whether it gets ready, and end it"
EXAMPLES = ("loong runtime acp doctor", "loong runtime acp doctor --agent codex --json")
EXIT_CODES = "0 it got ready; 1 it did not; 2 it could not run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--agent", metavar="NAME", help="which one; acp.default_agent without it")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print what came of it; the agent is asked nothing but for a session. Blocks up to acp.startup_timeout_ms."""
    config = load_config(context)
    agent = args.agent or config.acp.default_agent
    if not config.acp.enabled:
        raise CommandError("acp.disabled")
    threads = ThreadRegistry()
    timers = Timers("timers", threads)
    environ = context.environ
    starts = AgentStarts(
        threads, timers, context.clock, environ, context.places.state, lambda ref: resolve(ref, environ)
    )
    begin_s = time.monotonic()
    document: dict[str, object] = {
        "config": config.path,
        "agent": agent,
        "ok": True,
        "error": None,
        "fix": None,
    }
    try:
        limit = Deadline(config.acp.startup_timeout_ms / 1000)
        link, facts = starts.start(config, agent, None, limit, StopToken())
        link.close(Deadline(CLOSE_S))
        document.update(
            protocol_version=facts.version,
            name=facts.name or None,
            load_session=facts.can_load,
            ready_ms=int((time.monotonic() - begin_s) * 1000),
        )
        can = "can" if facts.can_load else "cannot"
        said = f"Agent {agent} ({facts.name or 'no name'}) is ready; it {can} go on with earlier sessions."
    except ProviderFault as fault:
        document.update(ok=False, error=str(fault), fix=fault.fix)
        said = f"{fault}\n  where: {fault.where}\n  fix:   {fault.fix}"
    finally:
        threads.join_all(Deadline(CLOSE_S))
    if context.json:
        context.document(document)
    else:
        for line in said.split("\n"):
            context.out(visible(line))
    return 0 if document["ok"] else 1
