"""Model lists: the shapes in use, the choice for "auto", and how long a list is believed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.catalog import Catalog, Model, choose, read_models
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.errors import AttemptFailed, Failure
from tests.fakes.scripted_peer import Connection, ScriptedPeer, answering
from tests.gateway.providers.provider_rig import (
    KEY,
    Answer,
    ask,
    bodies,
    completion,
    provider_for,
    refuses,
    says,
)

ARK = {
    "object": "list",
    "data": [
        {"id": "old", "created": 1, "domain": "LLM", "task_type": ["TextGeneration"]},
        {"id": "gone", "created": 9, "domain": "LLM", "status": "Shutdown"},
        {"id": "leaving", "created": 8, "domain": "LLM", "status": "Retiring"},
        {"id": "vectors", "created": 9, "domain": "Embedding", "task_type": ["TextEmbedding"]},
        {"id": "film", "created": 9, "domain": "VideoGeneration"},
        {"id": "picture", "created": 9, "modalities": {"output_modalities": ["image"]}},
        {"id": "new", "created": 5, "domain": "VLM", "task_type": "TextGeneration", "status": ""},
        {"id": "text-embedding-3", "created": 9},
        {"object": "model"},
        {"id": 7},
        None,
    ],
}


@pytest.mark.parametrize(
    "document",
    [
        {"data": [{"id": "a"}, {"id": "b"}]},
        {"models": [{"name": "a", "model": "x"}, {"name": "b"}]},
        {"modelSummaries": [{"modelId": "a"}, {"modelId": "b"}]},
        {"Result": {"Items": [{"id": "a"}, {"id": "b"}]}},
        {"result": {"models": ["a", "b"]}},
        [{"id": "a"}, "b"],
        {"data": None, "models": [{"name": "a"}, {"name": "b"}]},
    ],
)
def test_lists_are_read_in_every_shape_and_in_their_order(document: Any) -> None:
    assert [model.id for model in read_models(document)] == ["a", "b"]


@pytest.mark.parametrize("document", [{}, {"data": "x"}, "x", None, 5])
def test_a_document_without_a_list_is_a_failure(document: Any) -> None:
    with pytest.raises(AttemptFailed):
        read_models(document)


def test_only_living_chat_models_are_chosen_newest_first_and_fading_last() -> None:
    assert choose(read_models(ARK), ()) == ["new", "old", "leaving"]


def test_preferred_models_come_first_exactly_then_in_any_case() -> None:
    models = [Model("A"), Model("b"), Model("c"), Model("d"), Model("e")]
    assert choose(models, ("D", "a", "missing")) == ["d", "A", "b", "c"]


class Times:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def failing() -> list[Model]:
    raise AttemptFailed(Failure("transport_failure", "provider.transport"))


def test_a_list_is_fresh_then_stale_then_gone() -> None:
    times = Times()
    catalog = Catalog(fresh_s=30, stale_s=120, clock=times)
    fetches: list[float] = []

    def get(works: bool) -> list[Model]:
        def fetch() -> list[Model]:
            fetches.append(times.now)
            return [Model("a")] if works else failing()

        return catalog.get("k", fetch, deadline=Deadline(5), stop=StopToken())

    assert get(works=True) == [Model("a")]
    times.now += 29
    assert get(works=False) == [Model("a")] and len(fetches) == 1
    times.now += 2
    assert get(works=False) == [Model("a")] and len(fetches) == 2
    times.now += 120
    with pytest.raises(AttemptFailed):
        get(works=False)


def test_callers_at_the_same_time_share_one_fetch_and_its_failure() -> None:
    catalog = Catalog(fresh_s=30, stale_s=0)
    begun, go = threading.Event(), threading.Event()
    fetches: list[int] = []
    outcomes: list[str] = []

    def fetch() -> list[Model]:
        fetches.append(1)
        begun.set()
        go.wait(5)
        return failing()

    def body() -> None:
        try:
            catalog.get("k", fetch, deadline=Deadline(5), stop=StopToken())
        except AttemptFailed as failed:
            outcomes.append(failed.failure.kind)

    threads = [threading.Thread(target=body) for _ in range(5)]
    threads[0].start()
    assert begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    give_up = time.monotonic() + 5
    flight = catalog._entries["k"].flight
    while len(flight.waiters) < 5 and time.monotonic() < give_up:
        threads[0].join(0.01)
    go.set()
    for thread in threads:
        thread.join(5)
    assert outcomes == ["transport_failure"] * 5 and len(fetches) == 1


def test_a_waiting_caller_that_is_stopped_leaves_alone() -> None:
    catalog = Catalog(fresh_s=30, stale_s=0)
    begun, go = threading.Event(), threading.Event()
    stop = StopToken()

    def fetch() -> list[Model]:
        begun.set()
        go.wait(5)
        return [Model("a")]

    leader = threading.Thread(target=lambda: catalog.get("k", fetch, deadline=Deadline(5), stop=StopToken()))
    leader.start()
    assert begun.wait(5)
    stop.set()
    with pytest.raises(AttemptFailed) as caught:
        catalog.get("k", fetch, deadline=Deadline(5), stop=stop)
    go.set()
    leader.join(5)
    assert caught.value.failure.kind == "interrupted"


def test_who_waited_for_a_stopped_leader_fetches_itself() -> None:
    catalog = Catalog(fresh_s=30, stale_s=0)
    begun, go = threading.Event(), threading.Event()
    results: list[list[Model]] = []

    def stopped() -> list[Model]:
        begun.set()
        go.wait(5)
        raise AttemptFailed(Failure("interrupted", "provider.interrupted"))

    def lead() -> None:
        with pytest.raises(AttemptFailed):
            catalog.get("k", stopped, deadline=Deadline(5), stop=StopToken())

    def follow() -> None:
        results.append(catalog.get("k", lambda: [Model("a")], deadline=Deadline(5), stop=StopToken()))

    leader = threading.Thread(target=lead)
    leader.start()
    assert begun.wait(5)
    follower = threading.Thread(target=follow)
    follower.start()
    go.set()
    leader.join(5)
    follower.join(5)
    assert results == [[Model("a")]]


def test_lists_are_kept_for_a_bounded_number_of_keys() -> None:
    catalog = Catalog(fresh_s=30, stale_s=0)
    for number in range(100):
        catalog.get(str(number), lambda: [Model("a")], deadline=Deadline(5), stop=StopToken())
    assert len(catalog._entries) <= 32


def serving(listed: Any, refused: tuple[str, ...] = ()) -> Any:
    """A server with a model list and a chat that refuses some models."""

    def script(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            head, body = request
            if head.startswith("GET /v1/models "):
                listed(connection)
            elif any(f'"model":"{name}"'.encode() in body for name in refused):
                refuses(404, "ModelNotOpen")(connection)
            else:
                says(completion())(connection)

    return script


def test_auto_asks_the_list_once_and_uses_the_newest_model() -> None:
    with ScriptedPeer(serving(says(ARK))) as peer:
        provider = provider_for(peer, model="Auto")
        for _ in range(3):
            ask(provider)
    assert [body["model"] for body in bodies(peer)] == ["new"] * 3
    assert sum(head.startswith("GET") for head, _ in peer.requests) == 1


def test_auto_moves_on_when_a_model_is_refused_and_remembers_it() -> None:
    with ScriptedPeer(serving(says(ARK), refused=("new", "old"))) as peer:
        provider = provider_for(peer, model="auto")
        ask(provider)
        ask(provider)
    assert [body["model"] for body in bodies(peer)] == ["new", "old", "leaving", "leaving"]


def test_auto_falls_back_on_preferred_models_when_there_is_no_list() -> None:
    with ScriptedPeer(serving(refuses(404))) as peer:
        ask(provider_for(peer, model="auto", preferred_models=("p1", "p2")))
    assert [body["model"] for body in bodies(peer)] == ["p1"]
    with ScriptedPeer(serving(refuses(401))) as peer, pytest.raises(ProviderFault, match="refused the key"):
        ask(provider_for(peer, model="auto"))


def test_auto_with_an_empty_list_says_to_write_a_model() -> None:
    with ScriptedPeer(serving(says({"data": []}))) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer, model="auto"))
    assert caught.value.kind == "model_mismatch" and "model list is empty" in str(caught.value)


@pytest.mark.parametrize("listing", [says({"data": []}), refuses(404)], ids=["empty", "none"])
def test_a_kind_that_names_a_model_needs_no_list(listing: Answer) -> None:
    with ScriptedPeer(serving(listing)) as peer:
        ask(provider_for(peer, kind="deepseek", model="auto"))
    assert [body["model"] for body in bodies(peer)] == ["deepseek-chat"]


def test_the_coding_lanes_do_not_ask_the_list() -> None:
    with ScriptedPeer(answering(says(completion()))) as peer:
        base = f"{peer.url}/api/coding/v3"
        ask(provider_for(peer, kind="volcengine_coding", base_url=base, model="auto"))
        with pytest.raises(ProviderFault, match="does not list what the plan holds"):
            ask(provider_for(peer, kind="byteplus_coding", base_url=base, model="auto"))
    assert [body["model"] for body in bodies(peer)] == ["ark-code-latest"]
    assert peer.requests[0][0].startswith("POST /api/coding/v3/chat/completions ")


def test_models_are_listed_as_they_come_from_the_address_that_is_shown() -> None:
    with ScriptedPeer(serving(says(ARK))) as peer:
        provider = provider_for(peer)
        listed = provider.models(deadline=Deadline(5))
    assert listed[:2] == ("old", "gone") and "vectors" in listed
    assert provider.models_endpoint() == f"{peer.url}/v1/models"
    assert f"Authorization: Bearer {KEY}" in peer.requests[0][0]


def test_a_refused_list_tells_address_and_fix() -> None:
    with (
        ScriptedPeer(answering(lambda c: c.answer(200, b"<!doctype html>", "text/html"))) as peer,
        pytest.raises(ProviderFault, match=r"/v1/models answered with a web page") as caught,
    ):
        provider_for(peer).models(deadline=Deadline(5))
    assert caught.value.fix == "correct the address, then: loong list-models"


@pytest.mark.parametrize(
    "entry",
    [
        {"modelId": "x", "outputModalities": ["IMAGE"]},
        {"modelId": "x", "outputModalities": ["EMBEDDING"]},
        {"id": "x", "architecture": {"output_modalities": ["image"]}},
        {"id": "x", "output_modalities": ["image"]},
    ],
    ids=["images", "vectors", "architecture", "plain"],
)
def test_what_gives_no_text_cannot_chat_wherever_that_is_said(entry: dict[str, Any]) -> None:
    (model,) = read_models([entry])
    assert not model.chat


@pytest.mark.parametrize("created", [10**400, -(10**400), float("nan"), float("inf"), True, "1"])
def test_a_date_that_is_none_is_left_out(created: object) -> None:
    (model,) = read_models([{"id": "m", "created": created}])
    assert model.created == 0.0


def test_a_model_that_was_replaced_is_chosen_last() -> None:
    old = {"modelId": "old", "outputModalities": ["TEXT"], "modelLifecycle": {"status": "LEGACY"}}
    new = {"modelId": "new", "outputModalities": ["TEXT", "IMAGE"], "modelLifecycle": {"status": "ACTIVE"}}
    assert choose(read_models({"modelSummaries": [old, new]}), ()) == ["new", "old"]
