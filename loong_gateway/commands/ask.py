"""`loong ask`: one question, one answer, nothing else on stdout."""

from __future__ import annotations

import argparse

from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import harmless
from loong_gateway.commands.common import Context
from loong_gateway.commands.talk import open_talk
from loong_gateway.messaging.sessions import DEFAULT_SESSION, display_name

HELP = "ask one question and print the answer"
EXAMPLES = (
    "loong ask --message 'what is a durable queue?'",
    "git diff | loong ask --message - --session review",
)
EXIT_CODES = "0 done; 2 no usable answer"
MAX_CHARACTERS = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument(
        "-m", "--message", required=True, metavar="TEXT", help="the question; - reads standard input"
    )
    parser.add_argument("--session", default=DEFAULT_SESSION, metavar="NAME", help="a session, or latest")
    add_agent_flags(parser)


def add_agent_flags(parser: argparse.ArgumentParser) -> None:
    """Flags for outside agents. Those of other programs are accepted so that scripts go on working."""
    hidden = argparse.SUPPRESS
    parser.add_argument("--acp", action="store_true", help="let an outside agent answer")
    parser.add_argument("--acp-event-stream", action="store_true", help=hidden)
    parser.add_argument("--acp-bootstrap-mcp-server", action="append", help=hidden)
    parser.add_argument("--acp-cwd", help=hidden)


def warn_of_agent_flags(args: argparse.Namespace, context: Context) -> None:
    """Say which of the accepted flags do nothing."""
    for flag in ("--acp-event-stream", "--acp-bootstrap-mcp-server", "--acp-cwd"):
        if getattr(args, flag[2:].replace("-", "_")):
            context.err(f"warning: {flag} does nothing here; what an agent is given stands in acp.backends")


def run(args: argparse.Namespace, context: Context) -> int:
    """Print the answer and a newline; 2 when there is none."""
    text = args.message
    if text == "-":
        raw = context.stdin.buffer.read(4 * MAX_CHARACTERS)
        text = raw.decode("utf-8", "replace").rstrip("\n")
    # Bytes of the command line that are no text come as lone surrogates, which no provider takes.
    text = text.encode("utf-8", "replace").decode("utf-8")
    if not text.strip():
        raise CommandError("talk.empty_message")
    warn_of_agent_flags(args, context)
    talk = open_talk(context, args.session, wants_agent=args.acp)
    reply = talk.ask(text)
    if context.json:
        context.document(
            {
                "schema_version": 1,
                "session": display_name(talk.session),
                "text": reply.text,
                "model": reply.model or None,
                "usage": reply.usage,
            }
        )
    else:
        context.out(harmless(reply.text))
    return 0
