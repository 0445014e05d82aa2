"""The command line: finds the verb, loads its module, turns errors into exit codes.

`gateway status` is asked by cron on every host, every minute: its usual spellings are read here by hand, so that
neither the argument parser nor any other verb is loaded for them. Plain for the same reason.
"""

from __future__ import annotations

import os
import sys

from loong_gateway import VERSION
from loong_gateway.base.faults import CommandError
from loong_gateway.commands.common import URL_VARIABLE, Context, OutputFailed
from loong_gateway.owner.paths import resolve_places

__all__ = ["main"]

# Verbs that say in their own way that the home is no directory.
ASKS_ITSELF = ("gateway status", "doctor")
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
EXIT_INTERNAL = 70
EXIT_CONFIG = 78


def main(argv: list[str]) -> int:
    """Run one command and return its exit code. Never raises; prints nothing but one line for a defect of ours."""
    _prepare_streams()
    try:
        try:
            code = _run(argv)
            sys.stdout.flush()
        except CommandError as error:
            code = _plain_context(argv).report(error)
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        _lead_nowhere(1)
        code = EXIT_BROKEN_PIPE
    except OSError as error:
        code = _output_failed(argv, error)
    except Exception as error:  # noqa: BLE001  the last place that can tell the operator
        code = _internal_error(argv, error)
    try:
        sys.stderr.flush()
    except OSError:
        # The interpreter would try once more when it leaves, and put a code of its own in place of ours.
        _lead_nowhere(2)
    return code


class _Arguments:
    """The arguments of `gateway status` when they were read by hand."""

    def __init__(self) -> None:
        self.config = ""
        self.profile = ""
        self.dev = False
        self.verbose = False
        self.no_color = False
        self.json = False
        self.deep = False


def _run(argv: list[str]) -> int:
    arguments = _quick_status(argv)
    if arguments is not None:
        from loong_gateway.commands import gateway_status

        return gateway_status.run(arguments, _context(arguments))
    return _run_any(argv)


def _quick_status(argv: list[str]) -> _Arguments | None:
    """The arguments of a plain `gateway status`; None for everything that the full parser must look at."""
    arguments = _Arguments()
    words = []
    tokens = iter(argv)
    for token in tokens:
        if token in ("--json", "--dev", "--no-color"):
            setattr(arguments, token[2:].replace("-", "_"), True)
        elif token in ("--config", "--profile"):
            value = next(tokens, "")
            if not value or value.startswith("-"):
                return None
            setattr(arguments, token[2:], value)
        else:
            words.append(token)
    is_plain = words == ["gateway", "status"] and not os.environ.get(URL_VARIABLE)
    return arguments if is_plain else None


def _run_any(argv: list[str]) -> int:
    from importlib import import_module

    from loong_gateway.commandline import elsewhere, parser, verbs
    from loong_gateway.owner.files import note_refused_start

    if argv in (["--version"], ["version"]):
        _plain_context(argv).out(f"loong {VERSION}")
        return 0
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    call = verbs.find_verb(argv)
    if not call.module and call.wants_help:
        _plain_context(argv).out(parser.group_help(call.verb))
        return 0
    name = call.module or "overview"
    module = parser.load(name)
    try:
        arguments = parser.parse(call.verb, module, call.rest, line=argv)
    except SystemExit:
        # Help was asked for and printed.
        return 0
    context = _context(arguments)
    elsewhere.heed_variable(call.verb, arguments, context)
    if name == "gateway_status" and (arguments.deep or arguments.url or os.environ.get(URL_VARIABLE)):
        # Kept apart: what it needs would be loaded by every look of cron.
        module = import_module("loong_gateway.commands.gateway_status_deep")
    obstacle = None if call.verb in ASKS_ITSELF else context.places.not_a_directory()
    if obstacle is not None:
        starts = call.verb in ("gateway run", "channels serve")
        code = "owner.state_unwritable" if starts else "usage.home"
        raise CommandError(code, path=obstacle, detail="not a directory")
    try:
        return int(module.run(arguments, context))
    except CommandError as error:
        if call.verb == "gateway run" and error.exit_code == EXIT_CONFIG and error.code != "owner.active":
            note_refused_start(context.places, error)
        error.fix = error.fix and context.places.spelled(error.fix)
        raise


def _context(arguments) -> Context:  # type: ignore[no-untyped-def]
    environ = dict(os.environ)
    flags = {"config": arguments.config, "profile": arguments.profile, "dev": arguments.dev}
    return Context(
        resolve_places(flags, environ),
        environ,
        stdin=sys.stdin,
        stdout=sys.stdout,
        stderr=sys.stderr,
        json=arguments.json,
        verbose=arguments.verbose,
        no_color=arguments.no_color,
    )


def _plain_context(argv: list[str]) -> Context:
    """The surroundings when the arguments could not be read, or need not be."""
    arguments = _Arguments()
    before_dashes = argv[: argv.index("--")] if "--" in argv else argv
    arguments.json = "--json" in before_dashes
    arguments.verbose = "--verbose" in before_dashes
    return _context(arguments)


def _prepare_streams() -> None:
    """Make every stream usable: closed ones lead nowhere, and no character can make printing fail."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  lives as long as we
        elif mode == "w" and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _lead_nowhere(descriptor: int) -> None:
    """Send what is left to nowhere: the interpreter flushes once more when it leaves."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _output_failed(argv: list[str], error: OSError) -> int:
    if not isinstance(error, OutputFailed) and (error.filename is not None or not _output_is_broken()):
        return _internal_error(argv, error)
    _lead_nowhere(1)
    return _plain_context([]).report(
        CommandError("usage.output", detail=(error.strerror or str(error)).lower())
    )


def _output_is_broken() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _internal_error(argv: list[str], error: Exception) -> int:
    from loong_gateway.commandline import crash

    try:
        context = _plain_context(argv)
        return crash.tell(context, error)
    except Exception:  # noqa: BLE001  nothing is left that could be relied on but the exit code
        return EXIT_INTERNAL
