"""`loong channels serve`: own this home for one channel account, without a chat and without the others."""

from __future__ import annotations

import argparse
from dataclasses import replace

from loong_channels import catalog
from loong_channels.aes import can_decrypt
from loong_gateway.base.faults import CommandError
from loong_gateway.commands.channel_word import chosen_channel
from loong_gateway.commands.common import Context
from loong_gateway.commands.config_access import load_config
from loong_gateway.commands.starting import Announcer, check_may_start, show_warnings, stderr_for_log
from loong_gateway.config.selectors import account_for, fallback_warning
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.config.webhooks import bind_problem, path_problem
from loong_gateway.daemon.launch import Launch, launch
from loong_gateway.owner.lock import request_stop
from loong_gateway.owner.status import collect

HELP = "serve one channel account in the foreground until stopped"
EXAMPLES = ("loong channels serve telegram", "loong channels serve telegram --account work --once")
EXIT_CODES = "0 stopped; 2 it cannot be served; 75 the disk refuses; 78 invalid config, lock held, port taken"
JSON = False

MODE = "multi_channel_serve"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument("channel_word", nargs="?", metavar="CHANNEL", help="telegram, ... (or --channel)")
    parser.add_argument("--channel", metavar="CHANNEL", help=argparse.SUPPRESS)
    parser.add_argument("--account", metavar="ID", help="the configured account; otherwise the default")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="take one batch, answer it, end")
    what.add_argument("--stop", action="store_true", help="ask a running serve of this home to stop")
    what.add_argument("--stop-duplicates", action="store_true", help="there are none: a lock sees to it")
    parser.add_argument("--port", type=int, metavar="N", help="the control port; 0 takes any free one")
    parser.add_argument(
        "--bind", metavar="HOST:PORT", help="where a webhook listens; other channels ignore it"
    )
    parser.add_argument("--path", metavar="PATH", help="path of a webhook; other channels ignore it")


def run(args: argparse.Namespace, context: Context) -> int:
    """Serve, or stop who serves."""
    family = chosen_channel(args.channel_word, args.channel)
    config = load_config(context, starting=not (args.stop or args.stop_duplicates))
    account = account_for(config, family, args.account)
    if args.stop or args.stop_duplicates:
        return _stop(context, config, account, duplicates=args.stop_duplicates)
    check_may_start(context, config)
    _check_can_serve(config, account)
    account = _listening(account, args.bind, args.path)
    show_warnings(context, config)
    warning = fallback_warning(config, family, args.account)
    if warning is not None:
        context.err(warning)
    with Announcer(context) as announce:
        announce(_banner(config, account, by_default=args.account is None))
        return launch(
            Launch(
                places=context.places,
                environ=context.environ,
                config=config,
                accounts=[account],
                verb=f"channels serve {account.channel}",
                mode=MODE,
                announce=announce,
                stderr=stderr_for_log(context),
                level="debug" if context.verbose else config.logging.level,
                port=args.port,
                once=args.once,
                takes_webhooks=False,
            )
        ).code


def _check_can_serve(config: Config, account: AccountConfig) -> None:
    spec = catalog.spec(account.channel)
    if not spec.serves:
        raise CommandError("run.nothing_to_serve", channel=account.channel)
    if not account.settings.get(spec.conversation_setting):
        raise CommandError(
            "run.nobody_allowed",
            setting=f"{account.channel}.{spec.conversation_setting}",
            word=spec.conversation_word,
            path=config.path,
        )
    if spec.needs_crypto(account.settings) and not can_decrypt():
        raise CommandError("run.crypto_missing", channel=account.channel, account=account.id)


def _listening(account: AccountConfig, bind: str | None, path: str | None) -> AccountConfig:
    """The account with a listener of its own, where its platform calls us; the port is not shared with it here."""
    spec = catalog.spec(account.channel)
    configured = spec.webhook_path(account.settings)
    if configured is None:
        return account
    address = bind or str(account.settings.get("webhook_bind") or spec.webhook_default_bind)
    settings = {**account.settings, "webhook_bind": address, "webhook_path": path or configured}
    for flag, problem in (
        ("--bind", bind_problem(address)),
        ("--path", path_problem(str(spec.webhook_path(settings)))),
    ):
        if problem:
            raise CommandError("run.webhook_flag", flag=flag, detail=problem)
    return replace(account, settings=settings)


def _banner(config: Config, account: AccountConfig, *, by_default: bool) -> str:
    source = config.channels[account.channel].default_source
    return (
        f"{account.channel} channel started (config={config.path}, configured_account={account.id}, "
        f"account={account.label}, selected_by_default={str(by_default).lower()}, default_source={source})"
    )


def _stop(context: Context, config: Config, account: AccountConfig, *, duplicates: bool) -> int:
    document = collect(context.places, probe=False)
    serving = bool(document["lock_held"]) and document["mode"] == MODE
    ours = serving and _is_served(document, config, account)
    names = f"configured_account={account.id}, account={account.label}"
    if duplicates:
        outcome = "no_duplicates" if ours else "already_stopped"
        pid = document["pid"] if ours else "-"
        context.out(
            f"{account.channel} serve duplicate cleanup {outcome} "
            f"({names}, preferred_owner_pid={pid}, cleanup_owner_pids=-)"
        )
        return 0
    if document["lock_held"] and not serving:
        raise CommandError("run.owned_by_gateway", pid=document["pid"])
    if serving and not ours:
        raise _serves_another(document, account)
    outcome = request_stop(context.places) if serving else "not_running"
    words = {"not_running": "already_stopped"}
    context.out(f"{account.channel} serve stop {words.get(outcome, outcome)} ({names})")
    return 0


def _surfaces(document: dict[str, object]) -> list[tuple[str, str]]:
    surfaces = document["surfaces"]
    assert isinstance(surfaces, list)
    return [(surface["channel"], surface["account"]) for surface in surfaces]


def _is_served(document: dict[str, object], config: Config, account: AccountConfig) -> bool:
    if config.channels[account.channel].explicit_accounts:
        return (account.channel, account.id) in _surfaces(document)
    # The only account may be named after its credential, which the environment of a stop need not hold.
    return account.channel in (channel for channel, _ in _surfaces(document))


def _serves_another(document: dict[str, object], account: AccountConfig) -> CommandError:
    served = _surfaces(document)
    fix = [f"loong channels serve {channel} --account {other} --stop" for channel, other in served]
    return CommandError(
        "run.serves_another",
        given=f"{account.channel}={account.id}",
        served=", ".join("=".join(one) for one in served) or "nothing yet",
        pid=document["pid"],
        fix=fix[0] if fix else "loong gateway stop",
    )
