"""The active provider with those that stand in for it: who is asked when it fails, within one turn."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Callable, Protocol

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.metrics import Metrics
from loong_gateway.providers.contract import Completion, Embeddings, Provider, ProviderCall, ProviderFault

__all__ = ["Links", "Standby"]

logger = logging.getLogger("loong.provider")

# What another service may not suffer from. A refused request would be refused there as well.
MENDED = (
    "rate_limited",
    "provider_overloaded",
    "transport_failure",
    "timed_out",
    "auth_rejected",
    "model_mismatch",
    "secret_missing",
)


Record = Callable[[str, Mapping[str, object]], None]


class ProviderOf(Protocol):
    """Where providers come from."""

    def __call__(self, profile: str, /) -> Provider:
        """The provider of a profile. Raises ProviderFault."""


@dataclass(frozen=True)
class Links:
    """What a chain of providers tells: counts, the journal, by `record`, and who answered in the end."""

    metrics: Metrics
    record: Record
    answered: Callable[[str], None]


class Standby:
    """See Provider. For the calls of one turn, made by one thread: once another one answers, it is asked first.

    `first` is the active provider, `others` the ids of those that are asked after it, in order.
    """

    def __init__(self, first: Provider, others: Sequence[str], provider: ProviderOf, links: Links) -> None:
        self.profile = first.profile
        self.kind = first.kind
        self.model = first.model
        self._first = first
        self._names = [first.profile, *others]
        self._provider = provider
        self._links = links
        self._place = 0

    def complete(
        self,
        call: ProviderCall,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """See Provider. Raises the fault of the first one that was asked."""
        shown = _Shown(on_text)
        faults: list[ProviderFault] = []
        begun_at = self._place
        for place in range(begun_at, len(self._names)):
            name = self._names[place]
            # The name of a model means nothing to another service.
            asked = call if place == 0 else replace(call, model=None)
            try:
                provider = self._first if place == 0 else self._provider(name)
                answer = provider.complete(
                    asked, deadline=deadline, stop=stop, on_text=shown.take if on_text else None
                )
            except ProviderFault as fault:
                faults.append(fault)
                may_go_on = fault.kind in MENDED or (fault.kind == "provider_missing" and place > begun_at)
                if not may_go_on or shown.any or stop.is_set() or deadline.expired:
                    break
                self._tell(place, fault)
                continue
            self._place = place
            self._links.answered(name)
            self._count(self._names[begun_at:], faults)
            return replace(answer, profile=name)
        # Whoever asked counts the fault that is raised.
        self._count(self._names[begun_at + 1 :], faults[1:])
        raise faults[0]

    def embed(
        self,
        texts: Sequence[str],
        *,
        model: str | None,
        dimensions: int | None,
        deadline: Deadline,
        stop: StopToken,
    ) -> Embeddings:
        """See Provider; of the active one, since vectors of two models cannot be compared."""
        return self._first.embed(texts, model=model, dimensions=dimensions, deadline=deadline, stop=stop)

    def models(self, *, deadline: Deadline) -> Sequence[str]:
        """See Provider."""
        return self._first.models(deadline=deadline)

    def models_endpoint(self) -> str:
        """See Provider."""
        return self._first.models_endpoint()

    def health(self) -> Mapping[str, object]:
        """See Provider."""
        return self._first.health()

    def _tell(self, place: int, fault: ProviderFault) -> None:
        if place + 1 >= len(self._names):
            return
        facts = {"from": self._names[place], "to": self._names[place + 1], "kind": fault.kind}
        logger.warning("provider %(from)s failed (%(kind)s); %(to)s is asked instead", facts)
        self._links.metrics.add(f"provider_failovers:{facts['from']}:{facts['to']}")
        self._links.record("ProviderFailover", facts)

    def _count(self, names: Sequence[str], faults: Sequence[ProviderFault]) -> None:
        for name, fault in zip(names, faults):
            self._links.metrics.add(f"provider_errors:{fault.kind}:{name}")


class _Shown:
    """Whether somebody has seen a piece of the answer."""

    def __init__(self, on_text: Callable[[str], None] | None) -> None:
        self._on_text = on_text
        self.any = False

    def take(self, piece: str) -> None:
        """Hand a piece on."""
        self.any = True
        if self._on_text is not None:
            self._on_text(piece)
