"""`loong validate-config`: every finding about config.toml at once."""

from __future__ import annotations

import argparse

from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import Context
from loong_gateway.config.diagnostics import as_document, as_lines, as_problem, counts, verdict
from loong_gateway.config.loading import about_file, validate
from loong_gateway.config.snapshot import Diagnostic

__all__ = ["EXAMPLES", "EXIT_CODES", "HELP", "add_arguments", "run"]

HELP = "Check config.toml and print every finding with file, line and key."
EXAMPLES = ("loong validate-config", "loong validate-config --json --fail-on-diagnostics")
EXIT_CODES = "0 valid, 1 an error, 2 any finding with --fail-on-diagnostics"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument(
        "--output", choices=("text", "json", "problem-json"), help="form of the result (text)"
    )
    parser.add_argument("--locale", choices=("en",), default="en", help="language of the messages (en)")
    parser.add_argument("--fail-on-diagnostics", action="store_true", help="exit 2 on any finding")


def run(args: argparse.Namespace, context: Context) -> int:
    """Validate, print, and return the verdict as exit code. Raises CommandError for contradictory flags."""
    if args.output is not None and context.json:
        raise CommandError(
            "usage.bad_arguments",
            detail="--json and --output exclude each other",
            fix="loong validate-config --json",
        )
    path = context.places.config
    config, diagnostics = validate(context.places, environ=context.environ, dev=context.places.dev)
    if config is not None and not config.exists:
        try_it = "loong --dev gateway run --session demo"
        diagnostics = [about_file("config.file.missing", try_it=try_it), *diagnostics]
    if context.json or args.output == "json":
        context.document(as_document(diagnostics, path))
    elif args.output == "problem-json":
        context.document(as_problem(diagnostics, path))
    else:
        _print(context, path, diagnostics)
    if args.fail_on_diagnostics and diagnostics:
        context.err(f"error: {_failed(path, diagnostics).message}")
        return 2
    return 1 if counts(diagnostics)[0] else 0


def _failed(path: str, diagnostics: list[Diagnostic]) -> CommandError:
    return CommandError("config.validation_failed", count=len(diagnostics), path=path)


def _print(context: Context, path: str, diagnostics: list[Diagnostic]) -> None:
    errors, warnings = counts(diagnostics)
    context.out(verdict(diagnostics))
    for diagnostic, line in zip(diagnostics, as_lines(diagnostics, path)):
        context.out(f"  {line}")
        if diagnostic.fix:
            context.out(f"    fix: {diagnostic.fix}")
    summary = f"config={path} valid={'false' if errors else 'true'}"
    context.out(
        f"{summary} diagnostics={len(diagnostics)} errors={errors} warnings={warnings}"
        if diagnostics
        else summary
    )
