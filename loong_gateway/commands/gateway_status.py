"""Is the gateway there, is it ready, and if not, what to do."""

from __future__ import annotations

from loong_gateway.commands.common import Context

HELP = "say whether the gateway runs, whether it is ready, and what to do if not"
EXAMPLES = ("loong gateway status", "loong gateway status --json")
EXIT_CODES = "0 ready; 1 starting, stopping, stalled or degraded; 3 not running; 4 state unreadable"


def add_arguments(parser) -> None:  # type: ignore[no-untyped-def]  # argparse is not loaded on this path
    """Declare the flags of this verb."""
    parser.add_argument("--deep", action="store_true", help="ask the gateway itself as well, over its port")


def run(args, context: Context) -> int:  # type: ignore[no-untyped-def]  # noqa: ARG001  as above
    """Print the status; the exit code is the verdict."""
    context.out(f"Gateway state in {context.places.state}")
    return 3
