"""What a monitoring system reads: everything that is counted, and how the gateway is, as Prometheus text.

Labels are channels, accounts, states and fixed words; never a conversation, a user or a text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Callable

from loong_gateway.base.process_figures import open_fds, rss_bytes, thread_count
from loong_gateway.config.snapshot import Config
from loong_gateway.control import ControlPlane

from .answers import Answer
from .prometheus import CONTENT_TYPE, Family, Sample, histogram, render_families
from .router import Request, Route

__all__ = ["metrics_families", "metrics_routes"]

logger = logging.getLogger("loong.http")

Json = Mapping[str, object]
# Counts of base.metrics: beginning of the name, family, help, labels for the parts that follow. The last two of
# them, of a name that ends with a surface, are channel and account.
COUNTERS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("received", "loong_acks_total", "messages that were stored, so that their platform was told", ()),
    ("duplicates", "loong_duplicates_dropped_total", "messages that had come before", ()),
    ("rejected", "loong_rejected_total", "messages that found no room", ()),
    ("dropped", "loong_dropped_total", "messages that were not accepted, by reason", ("reason",)),
    ("turns", "loong_turns_total", "messages that were settled", ()),
    ("turns_failed", "loong_turns_failed_total", "tries that the provider failed, by class", ("class",)),
    ("sent", "loong_sent_total", "parts that a platform took", ()),
    ("recalled", "loong_recalled_total", "messages that were taken back", ()),
    ("attachments_read", "loong_attachments_read_total", "files that were fetched", ()),
    ("attachments_failed", "loong_attachments_failed_total", "files that were not had", ()),
    ("skipped_old", "loong_skipped_old_total", "messages that were too old to be answered", ()),
)
# Counters whose names end with the values of these labels; the last one may hold any character.
LABELLED = (
    ("tools", "loong_tool_calls_total", "calls of tools, by how they ended", ("outcome", "tool")),
    ("tools_denied", "loong_tool_calls_denied_total", "calls that were not made", ("reason", "entry")),
    (
        "provider_errors",
        "loong_provider_errors_total",
        "answers that a provider failed to give, by class",
        ("class", "provider"),
    ),
    (
        "provider_failovers",
        "loong_provider_failovers_total",
        "questions that went to another provider",
        ("from", "to"),
    ),
    ("provider_answers", "loong_provider_answers_total", "answers that a provider gave", ("provider",)),
    ("tokens", "loong_tokens_total", "tokens as the provider counted them", ("kind", "provider")),
)
# Gauges that others show: name, family, kind, help.
GAUGES = (
    ("heartbeat_age_s", "loong_owner_heartbeat_age_seconds", "gauge", "age of the owner's last sign of life"),
    ("oldest_unprocessed_s", "loong_oldest_unprocessed_seconds", "gauge", "age of the oldest open message"),
    ("auth_failures", "loong_auth_failures_total", "counter", "credentials that were wrong"),
    ("hook_auth_failures", "loong_hook_auth_failures_total", "counter", "hook tokens that were wrong"),
)


def metrics_routes(control: ControlPlane) -> list[Route]:
    """One page under its two names."""

    def page(_request: Request) -> Answer:
        text = render_families(metrics_families(control))
        return Answer(200, text.encode("utf-8"), CONTENT_TYPE)

    return [Route("GET", path, page) for path in ("/metrics", "/api/diagnostics/prometheus")]


def metrics_families(control: ControlPlane) -> list[Family]:
    """Everything there is to see. Blocks for a look into the store."""
    status = control.status()
    counts = control.metrics.snapshot()
    histograms = control.metrics.histograms()
    gauges = control.metrics.gauges()
    return [
        _one("loong_up", "1 while the gateway runs", 1.0 if status.get("running") else 0.0),
        _one("loong_ready", "1 while the gateway is ready", 0.0 if control.ready() else 1.0),
        _one("loong_uptime_seconds", "time since the start", _seconds(status.get("uptime_ms"))),
        _degraded(status),
        *_surface_families(status),
        *(_counter(counts, *row) for row in COUNTERS),
        *(_labelled(counts, *row) for row in LABELLED),
        _slowed(control.config(), counts),
        *(_shown(gauges, *row) for row in GAUGES),
        _connections(gauges),
        histogram("loong_turn_seconds", "how long answers took", histograms.get("turn")),
        histogram("loong_store_commit_seconds", "how long commits took", histograms.get("store_commit")),
        _one("loong_process_rss_bytes", "resident memory", rss_bytes()),
        _one("loong_process_threads", "threads", thread_count()),
        _one("loong_process_open_fds", "open descriptors", open_fds()),
        _one(
            "loong_config_last_reload_success",
            "1 while the configuration file is the one that is applied",
            0.0 if "config_reload_refused" in _reasons(status) else 1.0,
        ),
    ]


def _labelled(
    counts: Mapping[str, int], word: str, family: str, help_text: str, labels: tuple[str, ...]
) -> Family:
    samples = [
        Sample(count, dict(zip(labels, name.split(":", len(labels))[1:])))
        for name, count in sorted(counts.items())
        if _is(name, word)
    ]
    return Family(family, "counter", help_text, tuple(samples))


def _slowed(config: Config, counts: Mapping[str, int]) -> Family:
    # A configured one is there from the start, so that its first failure is a rise.
    slowed = dict.fromkeys(config.providers, 0)
    mark = "provider_errors:rate_limited:"
    slowed.update({name[len(mark) :]: count for name, count in counts.items() if name.startswith(mark)})
    return Family(
        "loong_rate_limited_total",
        "counter",
        "answers that a provider refused for their number",
        tuple(Sample(count, {"provider": profile}) for profile, count in slowed.items()),
    )


def _one(name: str, help_text: str, value: float | None, kind: str = "gauge") -> Family:
    return Family(name, kind, help_text, () if value is None else (Sample(value),))


def _is(name: str, word: str) -> bool:
    return name.partition(":")[0] == word


def _counter(
    counts: Mapping[str, int], word: str, family: str, help_text: str, more: tuple[str, ...]
) -> Family:
    samples = []
    for name, count in sorted(counts.items()):
        if _is(name, word):
            parts = name.split(":", 1 + len(more))[1:]
            channel, _, account = parts[-1].partition("=")
            labels = {"channel": channel, "account": account, **dict(zip(more, parts))}
            samples.append(Sample(count, labels))
    return Family(family, "counter", help_text, tuple(samples))


def _shown(
    gauges: Mapping[str, Callable[[], float]], name: str, family: str, kind: str, help_text: str
) -> Family:
    return _one(family, help_text, _read(gauges, name), kind)


def _connections(gauges: Mapping[str, Callable[[], float]]) -> Family:
    values = [(state, _read(gauges, f"connections_{state}")) for state in ("unproven", "proven")]
    samples = tuple(Sample(value, {"state": state}) for state, value in values if value is not None)
    return Family("loong_connections", "gauge", "connections to the port", samples)


def _read(gauges: Mapping[str, Callable[[], float]], name: str) -> float | None:
    try:
        return gauges[name]() if name in gauges else None
    except Exception:
        # One figure that cannot be had must not cost the others.
        logger.warning("the figure %s cannot be read", name, exc_info=True)
        return None


def _degraded(status: Json) -> Family:
    samples = []
    for reason in dict.fromkeys(_reasons(status)):
        word, _, surface = reason.partition(":")
        channel, _, account = surface.partition("=")
        where = {"channel": channel, "account": account} if surface else {}
        samples.append(Sample(1, {"reason": word, **where}))
    return Family(
        "loong_degraded", "gauge", "1 for every reason for which the gateway needs attention", tuple(samples)
    )


def _surface_families(status: Json) -> Iterable[Family]:
    surfaces = status.get("surfaces")
    rows: list[tuple[dict[str, str], Json]] = [
        ({"channel": str(one.get("channel")), "account": str(one.get("account"))}, one)
        for one in (surfaces if isinstance(surfaces, list) else ())
    ]
    now_ms = status.get("last_heartbeat_at")
    phases = tuple(Sample(1, {**labels, "phase": str(one.get("phase"))}) for labels, one in rows)
    yield Family("loong_channel_phase", "gauge", "1 for the phase that an account is in", phases)
    ages = tuple(
        Sample(max(0.0, (now_ms - heard) / 1000), labels)
        for labels, one in rows
        for heard in (one.get("last_heard_ms"),)
        if isinstance(heard, int) and isinstance(now_ms, int)
    )
    yield Family(
        "loong_channel_last_rx_age_seconds", "gauge", "time since anything came from the platform", ages
    )
    restarts = tuple(Sample(_count(one.get("restarts")), labels) for labels, one in rows)
    yield Family("loong_channel_reconnects_total", "counter", "connections after the first", restarts)
    for name in ("inbox", "outbox"):
        samples = [
            Sample(_count(count), {**labels, "state": str(state)})
            for labels, one in rows
            for state, count in _table(one.get(name)).items()
        ]
        yield Family(f"loong_{name}_rows", "gauge", f"rows of the {name}, by state", tuple(samples))


def _reasons(status: Json) -> list[str]:
    reasons = status.get("degraded_reasons")
    return [str(reason) for reason in reasons] if isinstance(reasons, list) else []


def _table(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _seconds(value_ms: object) -> float | None:
    return value_ms / 1000 if isinstance(value_ms, int) else None
