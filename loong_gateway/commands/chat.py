"""`loong chat`: a conversation line by line, on a terminal or from a pipe."""

from __future__ import annotations

import argparse

from loong_gateway.base.faults import CommandError, StoreUnwritable
from loong_gateway.base.wording import harmless
from loong_gateway.commands.ask import add_agent_flags, warn_of_agent_flags
from loong_gateway.commands.chat_slash import Slash
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.commands.talk import Talk, open_talk
from loong_gateway.messaging.sessions import DEFAULT_SESSION, display_name

HELP = "talk on this terminal; /help lists what can be typed"
EXAMPLES = ("loong chat", "loong chat --session demo")
EXIT_CODES = "0 ended; 2 it could not run, or an answer failed when the lines came from a pipe"
JSON = False
PROMPT = "you> "
BYE = "bye."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--session", default=DEFAULT_SESSION, metavar="NAME", help="a session, or latest")
    add_agent_flags(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    """Read lines until one of them, the end of input or Ctrl-C ends it."""
    config = load_config(context)
    exits = set(config.cli.exit_commands) | {"/exit", "/quit"}
    warn_of_agent_flags(args, context)
    talk = open_talk(context, args.session, wants_agent=args.acp)
    loop = _Loop(context, talk, Slash(context, talk, config), exits)
    try:
        failed = loop.run()
    except KeyboardInterrupt:
        context.out("")
        failed = False
    context.out(BYE)
    # On a terminal the person has seen the error; a script sees only the code.
    return 2 if failed and not loop.interactive else 0


class _Loop:
    """Reads, answers, prints. Used from one thread."""

    def __init__(self, context: Context, talk: Talk, slash: Slash, exits: set[str]) -> None:
        self._context = context
        self._talk = talk
        self._slash = slash
        self._exits = exits
        self.interactive = bool(context.stdin.isatty() and context.stdout.isatty())

    def run(self) -> bool:
        """Go on until the end; True when an answer failed."""
        failed = False
        if self.interactive:
            self._context.out(f"session {display_name(self._talk.session)}, {self._talk.describe()}; /help")
        while True:
            line = self._read()
            if line is None or line in self._exits:
                return failed
            if not line:
                continue
            try:
                self._answer(line)
            except CommandError as error:
                failed = True
                self._context.report(error)
            except StoreUnwritable as error:
                failed = True
                self._context.err(f"error: {error}")

    def _read(self) -> str | None:
        if self.interactive:
            self._context.stdout.write(PROMPT)
            self._context.stdout.flush()
        line = self._context.stdin.buffer.readline()
        if not line:
            if self.interactive:
                self._context.out("")
            return None
        return str(line.decode("utf-8", "replace")).strip()

    def _answer(self, line: str) -> None:
        said = self._slash.obey(line)
        if said is not None:
            for text in said:
                self._context.out(harmless(text))
        elif self.interactive:
            self._talk.ask(line, self._grow)
            self._context.out("")
        else:
            self._context.out(harmless(self._talk.ask(line).text))
        self._context.stdout.flush()

    def _grow(self, piece: str) -> None:
        self._context.stdout.write(harmless(piece))
        self._context.stdout.flush()
