"""`loong gateway run`: own this home, serve its channels and its port until stopped."""

from __future__ import annotations

import argparse

from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.commands.starting import (
    Announcer,
    check_may_start,
    conclude,
    make_way,
    show_warnings,
    stderr_for_log,
)
from loong_gateway.config import selectors
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.daemon.launch import Launch, launch
from loong_gateway.daemon.successor import inherited

HELP = "run the gateway on this terminal until it is stopped"
EXAMPLES = (
    "loong --dev gateway run --session demo",
    "loong gateway run --channel-account telegram=work",
)
EXIT_CODES = (
    "0 stopped; 70 internal error or forced end; 75 start it again; 78 invalid config, lock held, port taken"
)
JSON = False

HEADLESS = "gateway_headless"
ATTACHED = "gateway_attached_cli"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("--session", metavar="NAME", help="attach a chat on this terminal to a session")
    parser.add_argument(
        "--channel-account",
        action="append",
        default=[],
        metavar="CHANNEL=ACCOUNT",
        help="the one account that runs of a channel; otherwise its default",
    )
    parser.add_argument("--port", type=int, metavar="N", help="the port; 0 takes any free one")
    parser.add_argument(
        "--bind", metavar="ADDRESS", help="loopback, lan, tailnet, auto, custom or an address"
    )
    parser.add_argument("--force", action="store_true", help="end who listens on the port or owns this home")
    parser.add_argument("--yes", action="store_true", help="do not ask; for --force without a terminal")
    parser.add_argument("--allow-unconfigured", action="store_true", help="start without a configuration")


def run(args: argparse.Namespace, context: Context) -> int:
    """Start, live and stop; after a restart that was asked for, once more."""
    inheritance = inherited(context.environ)
    wanted = selectors.parse_selectors(args.channel_account)

    def planned() -> tuple[Config, list[AccountConfig]]:
        config = load_config(context, starting=True)
        check_may_start(context, config, allow_unconfigured=args.allow_unconfigured)
        return config, selectors.select(config, wanted)

    config, accounts = planned()
    show_warnings(context, config)
    for account, detail in selectors.unserved(config, {(one.channel, one.id) for one in accounts}):
        choice = f"--channel-account {account.channel}={account.id}"
        context.err(f"warning: {detail}; choose with {choice}, or run it in another profile")
    # A process that owned this home a moment ago would find itself in its way.
    if args.force and inheritance is None:
        make_way(context, config, port=args.port, yes=args.yes)
    session = (args.session or "").strip() or None
    on_terminal = session is not None and context.stdin.isatty()
    if session is not None and not on_terminal:
        context.err("standard input is no terminal: running without the chat")
    with Announcer(context) as announce:
        ended = launch(
            Launch(
                places=context.places,
                environ=context.environ,
                config=config,
                accounts=accounts,
                verb="gateway run",
                mode=HEADLESS if session is None else ATTACHED,
                announce=announce,
                stderr=stderr_for_log(context),
                level="debug" if context.verbose else config.logging.level,
                port=args.port,
                bind=args.bind,
                session=session,
                terminal=(context.stdin, announce.show) if on_terminal else None,
                rehearse=lambda: planned()[0],
                inheritance=inheritance,
            )
        )
    return conclude(context, ended)
