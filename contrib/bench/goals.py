"""What the figures must be, and the table that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable

Figures = Mapping[str, Mapping[str, float]]


def ratio(figures: Figures, name: str) -> float:
    """The subject's figure as a multiple of the floor's."""
    floor = figures.get("floor", {}).get(name) or float("nan")
    return figures["loong"][name] / floor


@dataclass(frozen=True)
class Goal:
    """One line of the table. `figure` gives what is compared with `limit`, `show` names the metrics printed."""

    bench: str
    label: str
    show: tuple[str, ...]
    must: str
    holds: Callable[[Figures], bool]
    ratios: tuple[str, ...] = ()


def _kill_holds(figures: Figures) -> bool:
    found = figures["loong"]
    return found["never_answered"] == 0 and found["answered_twice"] <= found["sending_at_kill"]


GOALS = (
    Goal(
        "status",
        "health check, multiple of python -c pass",
        ("multiple",),
        "<= 3",
        lambda f: f["loong"]["multiple"] <= 3,
    ),
    Goal(
        "cold",
        "cold start to first poll and first 200, s",
        ("cold_s",),
        "<= 0.6",
        lambda f: f["loong"]["cold_s"] <= 0.6,
        ("cold_s",),
    ),
    Goal(
        "idle",
        "idle, resident / proportional MB, % of a core",
        ("rss_mb", "pss_mb", "core_percent"),
        "<= 40 MB, <= 0.2 %",
        lambda f: f["loong"]["rss_mb"] <= 40 and f["loong"]["core_percent"] <= 0.2,
        ("rss_mb", "pss_mb"),
    ),
    Goal(
        "paced",
        "CPU per answered message, ms",
        ("cpu_ms_per_message",),
        "<= 4",
        lambda f: f["loong"]["cpu_ms_per_message"] <= 4 and f["loong"]["lost"] == 0,
        ("cpu_ms_per_message",),
    ),
    Goal(
        "paced",
        "reply overhead, paced, p50 / p99 ms",
        ("p50_ms", "p99_ms"),
        "<= 4 x / 4 x",
        lambda f: ratio(f, "p50_ms") <= 4 and ratio(f, "p99_ms") <= 4,
        ("p50_ms", "p99_ms"),
    ),
    Goal(
        "throughput",
        "50 chats x 4, provider 200 ms: time / ideal",
        ("of_ideal",),
        "<= 1.25",
        lambda f: f["loong"]["of_ideal"] <= 1.25 and f["loong"]["lost"] == 0,
        ("of_ideal",),
    ),
    Goal(
        "burst",
        "burst 500 over 100 chats: lost, out of order, peak MB",
        ("lost", "chats_out_of_order", "peak_mb"),
        "0, 0, <= 60",
        lambda f: f["loong"]["lost"] + f["loong"]["chats_out_of_order"] == 0 and f["loong"]["peak_mb"] <= 60,
        ("peak_mb",),
    ),
    Goal(
        "kill",
        "kill -9 amid 500: never answered, twice (in sending)",
        ("never_answered", "answered_twice", "sending_at_kill"),
        "0, <= in sending",
        _kill_holds,
    ),
    Goal(
        "hang",
        "one chat of 100 hangs: p99 of the others / normal",
        ("ratio",),
        "<= 1.2",
        lambda f: f["loong"]["ratio"] <= 1.2 and f["loong"]["lost"] == 0,
    ),
    Goal(
        "api",
        "chat completion through the port: added ms, p50 / p99",
        ("added_p50_ms", "added_p99_ms"),
        "p50 <= 5",
        lambda f: f["loong"]["added_p50_ms"] <= 5,
    ),
    Goal(
        "size",
        "installed MB, packages",
        ("installed_mb", "packages"),
        "<= 8, <= 9",
        lambda f: f["loong"]["installed_mb"] <= 8 and f["loong"]["packages"] <= 9,
    ),
    Goal(
        "rpc",
        "round trip of a small call, p50 / p99 ms",
        ("p50_ms", "p99_ms"),
        "p50 <= 3 x",
        lambda f: ratio(f, "p50_ms") <= 3,
        ("p50_ms", "p99_ms"),
    ),
    Goal(
        "clients",
        "200 WebSocket clients, kB resident each",
        ("kb_per_client",),
        "<= 150",
        lambda f: f["loong"]["kb_per_client"] <= 150,
        ("kb_per_client",),
    ),
    Goal(
        "clients",
        "one that does not read: delay of the others ms, their runs / normal",
        ("delay_ms", "ratio"),
        "runs <= 1.2",
        lambda f: f["loong"]["ratio"] <= 1.2 and f["loong"]["unfinished"] == 0,
    ),
    Goal(
        "sessions",
        "1,000,000 messages in 10,000 sessions: turn's store p99 ms, list ms, start s",
        ("turn_p99_ms", "live_list_ms", "start_s"),
        "< 10, < 300, < 2",
        lambda f: (
            f["loong"]["turn_p99_ms"] < 10
            and max(f["loong"]["list_ms"], f["loong"]["live_list_ms"]) < 300
            and f["loong"]["start_s"] < 2
        ),
    ),
)


def ratios(bench: str, figures: Figures) -> dict[str, float]:
    """The subject against the floor, for the metrics where that means something."""
    if not figures.get("floor") or not figures.get("loong"):
        return {}
    names = [name for goal in GOALS if goal.bench == bench for name in goal.ratios]
    return {name: round(ratio(figures, name), 2) for name in names}


def passed(bench: str, figures: Figures) -> bool | None:
    """Whether every goal of the benchmark holds; None without figures of loong."""
    if not figures.get("loong"):
        return None
    return all(goal.holds(figures) for goal in GOALS if goal.bench == bench)


def table(results: Mapping[str, Figures]) -> str:
    """All goals that were measured, as a Markdown table."""
    lines = ["| | floor | loong | ratio | must | |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        figures = results.get(goal.bench)
        if figures is None:
            continue
        cells = [_cell(figures.get(name, {}), goal.show) for name in ("floor", "loong")]
        both = ratios(goal.bench, figures)
        ratio_cell = " / ".join(f"{both[name]:g} x" for name in goal.ratios if name in both) or "-"
        verdict = "-"
        if figures.get("loong"):
            verdict = "holds" if goal.holds(figures) else "MISSED"
        lines.append(f"| {goal.label} | {cells[0]} | {cells[1]} | {ratio_cell} | {goal.must} | {verdict} |")
    return "\n".join(lines)


def _cell(metrics: Mapping[str, float], names: tuple[str, ...]) -> str:
    return " / ".join(f"{metrics[name]}" for name in names if name in metrics) or "-"
