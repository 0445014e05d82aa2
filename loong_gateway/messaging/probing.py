"""Asking a platform whether it accepts a credential, with every way that can end as a value."""

from __future__ import annotations

from typing import Callable

from loong_channels.faults import BadCredentials, Fault, TimedOut, Unreachable
from loong_channels.waiting import Deadline
from loong_gateway.base.clock import Clock
from loong_gateway.control import ProbeOutcome

__all__ = ["probed"]


def probed(ask: Callable[[Deadline], str], timeout_s: float, clock: Clock) -> ProbeOutcome:
    """What came of `ask`, which returns the public identity, blocks up to its deadline and raises faults."""
    begun_s = clock.monotonic_s()
    try:
        identity = ask(Deadline(timeout_s))
    except BadCredentials as fault:
        return ProbeOutcome("refused", f"refused: {fault}")
    except TimedOut:
        return ProbeOutcome("no_answer", f"no answer in {timeout_s:g} s")
    except Unreachable as fault:
        return ProbeOutcome("no_answer", f"no answer: {fault}")
    except Fault as fault:
        return ProbeOutcome("failed", str(fault))
    elapsed_ms = round((clock.monotonic_s() - begun_s) * 1000)
    return ProbeOutcome("ok", f"ok {elapsed_ms} ms as {identity}", identity, elapsed_ms)
