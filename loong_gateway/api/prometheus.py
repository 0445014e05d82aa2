"""The Prometheus text format: families of samples as values, and their text.

https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from loong_gateway.base.metrics import BUCKETS_S, Histogram

__all__ = ["CONTENT_TYPE", "Family", "Sample", "histogram", "render_families"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Sample:
    """One value; `suffix` is added to the family's name."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """Samples of one name. `kind` is "counter", "gauge" or "histogram"."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def histogram(name: str, help_text: str, durations: Histogram | None) -> Family:
    """The family of a histogram; one that was never written to is empty but there."""
    counts, sum_s = (durations or Histogram()).read()
    samples, seen = [], 0
    for upper, count in zip((*BUCKETS_S, math.inf), counts):
        seen += count
        samples.append(Sample(seen, {"le": _number(upper)}, "_bucket"))
    samples += [Sample(sum_s, suffix="_sum"), Sample(seen, suffix="_count")]
    return Family(name, "histogram", help_text, tuple(samples))


def render_families(families: Iterable[Family]) -> str:
    """The whole text."""
    lines = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help, quote=False)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [_line(family.name, sample) for sample in family.samples]
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value, quote=True)}"' for key, value in sample.labels.items())
    return f"{name}{sample.suffix}{'{' + labels + '}' if labels else ''} {_number(sample.value)}"


def _escaped(text: str, *, quote: bool) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
