"""Nothing acknowledged is lost and nothing is answered twice, whatever the platform repeats and however busy we are."""

from __future__ import annotations

import pathlib
import time

import pytest

from loong_channels.contract import WebhookRequest
from loong_gateway.messaging.engine import Engine
from loong_gateway.storage import counters, retention
from tests.channels.feishu_inbound_rig import encrypted, signed
from tests.gateway.messaging.feishu_engine import World, said, world
from tests.waiting import wait_until

HOUR_S = 3600


def dropped(engine: Engine) -> int:
    return engine._parts.store.read(counters.counters).get("duplicates_dropped", 0)


def prune(world: World, engine: Engine) -> None:
    store = engine._parts.store
    store.write(lambda conn: retention.prune(conn, world.clock.wall_ms(), engine.config.delivery))


def test_an_event_that_comes_again_for_hours_and_across_a_restart_is_answered_once(
    tmp_path: pathlib.Path,
) -> None:
    with world(tmp_path) as it:
        with it.engine() as engine:
            one = it.link.push(said(it, 1))
            it.rest.wait_for(lambda: it.rest.texts() == ["re: m1"])
            # 15 s, 5 min, 1 h and 6 h after one another.
            for seconds in (15, 300, HOUR_S, 6 * HOUR_S):
                it.clock.advance(seconds)
                prune(it, engine)
                it.link.push_again(one)
                it.link.wait_for(lambda: len(one.codes) == one.pushed)
            # A replay may carry another event id.
            replayed = it.link.push(said(it, 1, event_id="ev-new"))
            # And an event id is one event, whatever it says.
            it.link.push(said(it, 2, event_id="ev-1"))
            assert (one.codes, replayed.codes, dropped(engine)) == ([200] * 5, [200], 6)
        with it.engine() as engine:
            it.clock.advance(HOUR_S)
            it.link.push_again(one)
            it.link.push(said(it, 1, event_id="ev-newer"))
            it.link.wait_for(lambda: len(one.codes) == one.pushed)
            # A later message of the same chat shows that there is no answer before it.
            it.link.push(said(it, 3))
            it.rest.wait_for(lambda: len(it.rest.texts()) > 1)
            assert dropped(engine) == 8
        assert it.rest.texts() == ["re: m1", "re: m3"]
        assert len(it.model.calls) == 2
        assert (it.link.complaints, it.rest.complaints) == ([], [])


def test_every_event_is_acknowledged_while_all_workers_are_busy(tmp_path: pathlib.Path) -> None:
    with world(tmp_path) as it, it.engine(more="[gateway]\nworkers = 2") as engine:
        it.model.fault("hold", times=None)
        events = [said(it, number, f"oc_{number % 100}") for number in range(500)]
        it.link.push(events[0])
        it.link.push(events[1])
        it.model.wait_for(lambda: len(it.model.calls) == 2)
        # One after the other, then a crowd at once.
        pushes = [it.link.push(event) for event in events[2:400]]
        took_ms = sorted(1000 * seconds for one in pushes for seconds in one.took_s)
        print(f"acknowledged after p50 {took_ms[199]:.1f} ms, p99 {took_ms[393]:.1f} ms")
        pushes += [it.link.push(event, wait=False) for event in events[400:]]
        it.link.wait_for(lambda: all(one.codes for one in pushes))
        assert {code for one in pushes for code in one.codes} == {200}
        assert sum(one.late for one in pushes) == 0
        assert (engine.lanes.snapshot().running, it.rest.texts()) == (2, [])
        it.model.clear_faults()
        it.rest.wait_for(lambda: len(it.rest.texts()) == 500, 60)
        assert sorted(it.rest.texts()) == sorted(f"re: m{number}" for number in range(500))


def test_what_a_full_lane_refuses_is_taken_when_it_comes_again(tmp_path: pathlib.Path) -> None:
    with world(tmp_path) as it, it.engine(more="[limits]\nlane_waiting = 2"):
        it.model.fault("hold")
        pushes = [it.link.push(said(it, number)) for number in range(4)]
        assert [one.codes for one in pushes] == [[200], [200], [500], [500]]
        it.model.release()
        it.rest.wait_for(lambda: len(it.rest.texts()) == 2)
        for one in pushes[2:]:
            wait_until(lambda one=one: it.link.push_again(one) or one.codes[-1] == 200)
        it.rest.wait_for(lambda: len(it.rest.texts()) == 4)
        assert it.rest.texts() == [f"re: m{number}" for number in range(4)]


def test_a_message_that_is_taken_back_gets_no_answer(tmp_path: pathlib.Path) -> None:
    with world(tmp_path) as it, it.engine() as engine:
        it.model.fault("hold", times=None)
        it.link.push(said(it, 1))
        it.link.push(said(it, 2))
        it.model.wait_for(lambda: it.model.calls)
        for number in (1, 2):
            recall = said(it, number, event_id=f"r{number}", event_type="im.message.recalled_v1")
            recall["event"] = {
                "chat_id": "oc_chat",
                "message_id": f"om_{number}",
                "recall_type": "message_owner",
            }
            assert it.link.push(recall).codes == [200]
        it.model.clear_faults()
        it.link.push(said(it, 3))
        it.rest.wait_for(it.rest.texts)
        assert it.rest.texts() == ["re: m3"]
        assert engine.metrics.get("recalled:feishu=work") == 2


def test_a_delivery_that_somebody_repeats_is_taken_once(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("cryptography")
    hooks = 'mode = "webhook"\nverification_token = "v-token"\nencrypt_key = "hook-key"'
    path = "/feishu/events"
    with world(tmp_path) as it:

        def deliver(engine: Engine, event: object, at_s: float) -> int:
            body = encrypted(event, key="hook-key")
            fields = {"content-type": "application/json", **signed(body, at_s=int(at_s), key="hook-key")}
            fields = {name.lower(): value for name, value in fields.items()}
            return engine.webhooks.answer(path, WebhookRequest("POST", fields, body)).status

        event = said(it, 1, token="v-token")
        with it.engine(hooks) as engine:
            now_s = time.time()
            assert [deliver(engine, event, now_s) for _ in range(3)] == [200] * 3
            it.rest.wait_for(lambda: it.rest.texts() == ["re: m1"])
            assert deliver(engine, event, now_s - 400) == 401
            it.clock.advance(8 * HOUR_S)
            prune(it, engine)
            # The platform signs its own repetitions anew.
            assert deliver(engine, event, now_s) == 200
        with it.engine(hooks) as engine:
            assert deliver(engine, event, now_s) == 200
            assert deliver(engine, said(it, 2, token="v-token"), now_s) == 200
            it.rest.wait_for(lambda: len(it.rest.texts()) > 1)
        assert it.rest.texts() == ["re: m1", "re: m2"]
        assert engine.webhooks.answer(path, WebhookRequest("POST", {}, b"")).status == 503
