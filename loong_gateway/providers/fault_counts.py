"""Counts what providers failed at, by profile and class, wherever they are asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from loong_channels.waiting import StopToken
from loong_gateway.base.metrics import Metrics
from loong_gateway.providers.contract import ProviderFault

__all__ = ["faults_counted"]


@contextlib.contextmanager
def faults_counted(metrics: Metrics, profile: str | None, stop: StopToken) -> Iterator[None]:
    """Count a ProviderFault of the block as `provider_errors:CLASS:PROFILE`, and raise it on.

    What was stopped is nobody's failure.
    """
    try:
        yield
    except ProviderFault as fault:
        if not stop.is_set():
            metrics.add(f"provider_errors:{fault.kind}:{profile or ''}")
        raise
