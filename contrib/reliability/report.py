"""The outcome of one experiment, as one JSON line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """`n` is the number of faults; `failures` say in words what did not hold, empty when all did."""

    id: str
    n: int
    seed: int
    duration_s: float = 0.0
    metrics: dict[str, object] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.failures

    def line(self) -> str:
        """The JSON line."""
        body: dict[str, object] = {
            "id": self.id,
            "n": self.n,
            "pass": self.passed,
            "metrics": self.metrics,
            "seed": self.seed,
            "duration_s": round(self.duration_s, 1),
            "host": host(),
        }
        if self.failures:
            body["failures"] = self.failures[:20]
        return json.dumps(body)


def host() -> Mapping[str, object]:
    """Where it ran."""
    system = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python, "cores": os.cpu_count(), "system": f"{system.sysname} {system.release}"}
