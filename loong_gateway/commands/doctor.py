"""`loong doctor`: looks at the host, the home, the configuration and the outside; changes nothing without --fix."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import Callable

from loong_channels.waiting import Deadline
from loong_gateway.base.faults import CommandError
from loong_gateway.base.wording import one_line
from loong_gateway.commands.common import Context
from loong_gateway.commands.render import latency, style_of
from loong_gateway.config import loading as configuration
from loong_gateway.doctor.contract import FAIL, PASS, WARN, Check, Inspection
from loong_gateway.doctor.home import check_home
from loong_gateway.doctor.host import check_host
from loong_gateway.doctor.repair import apply_repairs
from loong_gateway.owner.status import collect

HELP = "look for what is wrong on this host: home, configuration, provider, channels"
EXAMPLES = ("loong doctor", "loong doctor --fix")
EXIT_CODES = "0 no check fails; 1 a check fails; 2 it could not run"

# Loaded by name, so that a Python without one of their modules still gets as far as saying so.
DEEPER = (
    ("loong_gateway.doctor.configuration", "check_configuration"),
    ("loong_gateway.doctor.channel_setup", "check_channel_setup"),
    ("loong_gateway.doctor.storage", "check_store"),
    ("loong_gateway.doctor.audit", "check_audit"),
    ("loong_gateway.doctor.tool_servers", "check_tool_servers"),
    ("loong_gateway.doctor.agents", "check_agents"),
)
ASKING = ("loong_gateway.doctor.network", "check_network")
PROBE_S = 8.0
LEVEL_ORDER = {FAIL: 0, WARN: 1, PASS: 2}
MEANING = {FAIL: "bad", WARN: "warn", PASS: "good"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of this verb."""
    parser.add_argument(
        "--fix", action="store_true", help="carry out the proposed changes of modes and directories"
    )
    parser.add_argument(
        "--skip-model-probe", action="store_true", help="do not ask the provider for its models"
    )
    parser.add_argument(
        "--exit-code", action="store_true", help="accepted; the exit code carries the verdict anyway"
    )


def run(args: argparse.Namespace, context: Context) -> int:
    """Run every check, repair where asked, print; returns 1 when a check fails."""
    begun_s = context.clock.monotonic_s()
    inspection = _inspect(context)
    checks = _local(inspection)
    applied: list[str] = []
    if args.fix:
        applied, refused = apply_repairs(checks)
        for line in refused:
            context.err(f"not done: {line}")
        inspection = _inspect(context)
        checks = _local(inspection)
    checks += _loaded(*ASKING, inspection, args.skip_model_probe, Deadline(PROBE_S))
    if context.json:
        context.document(_document(inspection, checks, applied, fix_requested=args.fix))
    else:
        skipped = ["provider model probe (--skip-model-probe)"] if args.skip_model_probe else []
        elapsed = latency(context.clock.monotonic_s() - begun_s)
        _print(context, checks, applied, skipped, elapsed)
    return 1 if any(check.level == FAIL for check in checks) else 0


def _inspect(context: Context) -> Inspection:
    found, diagnostics = configuration.validate(
        context.places, environ=context.environ, dev=context.places.dev
    )
    status, trouble = None, ""
    try:
        status = collect(context.places)
    except CommandError as error:
        trouble = f"{error.message}."
    return Inspection(
        places=context.places,
        environ=context.environ,
        clock=context.clock,
        config=found,
        diagnostics=tuple(diagnostics),
        status=status,
        status_error=trouble,
    )


def _local(inspection: Inspection) -> list[Check]:
    checks = [*check_host(inspection), *check_home(inspection)]
    for module, function in DEEPER:
        checks += _loaded(module, function, inspection)
    return checks


def _loaded(module: str, function: str, *arguments: object) -> list[Check]:
    try:
        check: Callable[..., list[Check]] = getattr(importlib.import_module(module), function)
    except ImportError as error:
        missing = error.name or str(error)
        return [
            Check(
                "installation",
                FAIL,
                f"{missing} is missing from this Python.",
                "install it, then: loong doctor",
            )
        ]
    return check(*arguments)


def _document(
    inspection: Inspection, checks: Sequence[Check], applied: list[str], *, fix_requested: bool
) -> dict[str, object]:
    levels = [check.level for check in checks]
    bad = [check for check in checks if check.level != PASS]
    steps = dict.fromkeys(check.command for check in sorted(bad, key=_urgency) if check.command)
    return {
        "schema": {"version": 1, "surface": "doctor", "purpose": "runtime_health_diagnostics"},
        "ok": FAIL not in levels,
        "config": inspection.places.config,
        "summary": {"ok": levels.count(PASS), "warn": levels.count(WARN), "fail": levels.count(FAIL)},
        "checks": [_check_document(check) for check in checks],
        "fix_requested": fix_requested,
        "applied_fixes": applied,
        "next_steps": list(steps),
    }


def _check_document(check: Check) -> dict[str, object]:
    document: dict[str, object] = {"name": check.name, "level": check.level, "detail": check.detail}
    if check.fix is not None:
        document["fix"] = check.fix
    if check.reason is not None:
        document["runtime_attention"] = {
            "reason": check.reason,
            "remediation": check.fix or "",
            "channel_id": check.channel,
            "account_id": check.account,
        }
    return document


def _urgency(check: Check) -> tuple[int, str]:
    return LEVEL_ORDER[check.level], check.name


def _print(
    context: Context, checks: Sequence[Check], applied: list[str], skipped: list[str], elapsed: str
) -> None:
    style = style_of(context.stdout, context.environ, no_color=context.no_color)
    for act in applied:
        context.out(f"done: {act}")
    context.out(_verdict(checks, elapsed))
    bad = sorted((check for check in checks if check.level != PASS), key=_urgency)
    shown = sorted(checks, key=_urgency) if context.verbose else bad
    if shown:
        context.out()
    for check in shown:
        context.out(f"{style.paint(check.level.upper(), MEANING[check.level])}  {check.name}")
        context.out(f"      {one_line(check.detail, 1000)}")
        if check.fix is not None and check.level != PASS:
            # The same flags lead to the same home again.
            context.out(f"      fix: {check.fix.replace('loong ', context.places.command(''))}")
    ends = [f"Not asked: {', '.join(skipped)}."] if skipped else []
    if bad and not context.verbose:
        ends.append(f"All checks: {context.places.command('doctor --verbose')}")
    for line in ["", *ends] if ends else []:
        context.out(line)


def _verdict(checks: Sequence[Check], elapsed: str) -> str:
    levels = [check.level for check in checks]
    fails, warns, passes = levels.count(FAIL), levels.count(WARN), levels.count(PASS)
    if not fails and not warns:
        return f"All {passes} checks pass ({elapsed})."
    words = [f"{fails} {'check fails' if fails == 1 else 'checks fail'}", f"{warns} warn", f"{passes} pass"]
    if not fails:
        words[0] = "No check fails"
    return f"{', '.join(words)} ({elapsed})."
