"""The flags of the verbs that wait for an end: how long, and not at all."""

from __future__ import annotations

import argparse
import math

__all__ = ["add_wait_flags"]

LONGEST_S = 86_400


def add_wait_flags(parser: argparse.ArgumentParser, *, default_s: float, what: str) -> None:
    """Declare `--timeout SECONDS`, explained by `what`, and `--no-wait`."""
    parser.add_argument("--timeout", type=_seconds, default=default_s, metavar="SECONDS", help=what)
    parser.add_argument("--no-wait", action="store_true", help="ask and return at once")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or not 0 <= value <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"expected 0 to {LONGEST_S} seconds, got {text}")
    return value
