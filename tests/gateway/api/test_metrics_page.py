"""The page for monitoring systems: every family, the text format, and no word of anybody."""

from __future__ import annotations

import re

import pytest

from loong_gateway.api.prometheus import Family, Sample, histogram, render_families
from loong_gateway.base.metrics import BUCKETS_S, Histogram, Metrics
from loong_gateway.base.process_figures import open_fds, rss_bytes, thread_count
from tests.gateway.api.port_kit import SECRET
from tests.gateway.api.small_runs import NOW_MS
from tests.gateway.api.whole_port import WholeGateway, whole_port

NAMES = """
loong_up loong_ready loong_owner_heartbeat_age_seconds loong_channel_phase loong_channel_last_rx_age_seconds
loong_channel_reconnects_total loong_inbox_rows loong_outbox_rows loong_oldest_unprocessed_seconds
loong_acks_total loong_duplicates_dropped_total loong_turn_seconds loong_provider_errors_total
loong_provider_failovers_total
loong_rate_limited_total loong_auth_failures_total loong_store_commit_seconds loong_process_rss_bytes
loong_process_threads loong_process_open_fds loong_config_last_reload_success loong_degraded loong_connections
loong_tool_calls_total loong_tool_calls_denied_total
""".split()
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? ([-+0-9.e]+|\+Inf|NaN)')


def gateway() -> WholeGateway:
    control = WholeGateway()
    control.reasons = ["store_unwritable", "auth_failed:telegram=work"]
    control.surfaces = [
        {
            "channel": "telegram",
            "account": "work",
            "phase": "auth_failed",
            "last_heard_ms": NOW_MS - 2500,
            "restarts": 3,
            "inbox": {"new": 2},
            "outbox": {"queued": 1},
        }
    ]
    metrics = control.metrics
    metrics.add("received:telegram=work", 7)
    metrics.add("dropped:not_allowed:telegram=work", 2)
    metrics.add("turns_failed:rate_limited:telegram=work", 4)
    metrics.add("provider_errors:rate_limited:local", 4)
    metrics.add("provider_errors:transport_failure:main", 1)
    metrics.add("tools:unknown:file.write", 2)
    metrics.add("tools_denied:not_allowed:chat", 3)
    metrics.add("provider_answers:main", 2)
    metrics.add("tokens:cached:main", 30)
    metrics.observe("turn", 0.3)
    metrics.show("auth_failures", lambda: 5)
    metrics.show("oldest_unprocessed_s", lambda: 1.5)
    metrics.show("heartbeat_age_s", lambda: 1 / 0)
    return control


@pytest.fixture(name="page", params=["/metrics", "/api/diagnostics/prometheus"])
def _page(request: pytest.FixtureRequest) -> str:
    port, control, _ = whole_port()
    prepared = gateway()
    control.reasons, control.surfaces = prepared.reasons, prepared.surfaces
    control.metrics.__dict__.update(prepared.metrics.__dict__)
    with port:
        answer = port.get(request.param, token=SECRET)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.body.decode()


def test_every_line_has_the_form_and_every_family_says_what_it_is(page: str) -> None:
    assert page.endswith("\n")
    told: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in told, name
        elif line.startswith("# TYPE "):
            told[name] = line.split(" ")[3]
            assert line.split(" ")[2] == name
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert found.group(1) in (name, f"{name}_bucket", f"{name}_sum", f"{name}_count")
    assert set(NAMES) <= set(told)
    assert all(kind == "counter" for name, kind in told.items() if name.endswith("_total"))


@pytest.mark.parametrize(
    "line",
    [
        "loong_up 1",
        'loong_degraded{reason="store_unwritable"} 1',
        'loong_degraded{reason="auth_failed",channel="telegram",account="work"} 1',
        'loong_channel_phase{channel="telegram",account="work",phase="auth_failed"} 1',
        'loong_channel_last_rx_age_seconds{channel="telegram",account="work"} 2.5',
        'loong_channel_reconnects_total{channel="telegram",account="work"} 3',
        'loong_inbox_rows{channel="telegram",account="work",state="new"} 2',
        'loong_outbox_rows{channel="telegram",account="work",state="queued"} 1',
        'loong_acks_total{channel="telegram",account="work"} 7',
        'loong_dropped_total{channel="telegram",account="work",reason="not_allowed"} 2',
        'loong_provider_errors_total{class="rate_limited",provider="local"} 4',
        'loong_provider_errors_total{class="transport_failure",provider="main"} 1',
        'loong_rate_limited_total{provider="local"} 4',
        'loong_rate_limited_total{provider="default"} 0',
        'loong_provider_answers_total{provider="main"} 2',
        'loong_tokens_total{kind="cached",provider="main"} 30',
        "loong_auth_failures_total 5",
        "loong_oldest_unprocessed_seconds 1.5",
        'loong_turn_seconds_bucket{le="0.25"} 0',
        'loong_turn_seconds_bucket{le="0.5"} 1',
        'loong_turn_seconds_bucket{le="+Inf"} 1',
        "loong_turn_seconds_sum 0.3",
        "loong_turn_seconds_count 1",
        "loong_store_commit_seconds_count 0",
        "loong_config_last_reload_success 1",
        'loong_tool_calls_total{outcome="unknown",tool="file.write"} 2',
        'loong_tool_calls_denied_total{reason="not_allowed",entry="chat"} 3',
    ],
)
def test_the_figures_are_the_ones_that_were_counted(page: str, line: str) -> None:
    assert line in page.splitlines()


def test_a_figure_that_cannot_be_read_costs_no_other(page: str) -> None:
    assert "# TYPE loong_owner_heartbeat_age_seconds gauge" in page
    assert not [line for line in page.splitlines() if line.startswith("loong_owner_heartbeat")]


def test_the_endpoint_can_be_switched_off() -> None:
    port, _, _ = whole_port("[gateway.http.endpoints.metrics]\nenabled = false\n")
    with port:
        assert port.get("/metrics", token=SECRET).status == 404
        assert port.get("/api/diagnostics/prometheus", token=SECRET).status == 404


def test_labels_are_escaped() -> None:
    family = Family("x", "gauge", 'back\\slash "quoted"\nline', (Sample(1, {"a": 'q"b\\n\nend'}),))
    assert render_families([family]) == (
        '# HELP x back\\\\slash "quoted"\\nline\n# TYPE x gauge\nx{a="q\\"b\\\\n\\nend"} 1\n'
    )


def test_durations_fall_into_the_bucket_that_holds_them() -> None:
    durations = Histogram()
    for seconds in (0.0005, 0.001, 0.0011, 599.0, 601.0):
        durations.observe(seconds)
    samples = histogram("t", "", durations).samples
    by_upper = {sample.labels["le"]: sample.value for sample in samples if sample.labels}
    assert list(by_upper) == [*(f"{upper:g}" for upper in BUCKETS_S), "+Inf"]
    assert (by_upper["0.001"], by_upper["0.005"], by_upper["600"], by_upper["+Inf"]) == (2, 3, 4, 5)


def test_histograms_are_kept_by_name() -> None:
    metrics, other = Metrics(), Histogram()
    metrics.observe("turn", 1.0)
    metrics.show("commit", other)
    other.observe(2.0)
    assert {name: one.read()[1] for name, one in metrics.histograms().items()} == {"turn": 1.0, "commit": 2.0}


def test_the_process_knows_what_it_uses() -> None:
    assert (rss_bytes() or 0) > 1_000_000
    assert thread_count() >= 1
    before = open_fds()
    with open(__file__, encoding="utf-8"):
        assert open_fds() == (before or 0) + 1
