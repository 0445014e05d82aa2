"""From a profile to a provider: addresses, kinds, keys, echo."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import pytest

from loong_channels.waiting import StopToken
from loong_gateway.base.clock import wall_ms
from loong_gateway.config.kinds import KINDS
from loong_gateway.config.secrets import SecretUnavailable
from loong_gateway.config.snapshot import SecretRef
from loong_gateway.providers.contract import ProviderFault
from loong_gateway.providers.credentials import KeyRing
from loong_gateway.providers.endpoints import chat_url, join, models_url
from tests.gateway.providers.provider_rig import CALL, KEY, PROFILE, QUESTION, ask, provider_for
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("base", "path", "joined"),
    [
        ("https://h", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/v1/", "/v1/chat/completions", "https://h/v1/chat/completions"),
        ("https://h/proxy/v1", "/v1/chat/completions", "https://h/proxy/v1/chat/completions"),
        ("https://h/proxy", "/v1/chat/completions", "https://h/proxy/v1/chat/completions"),
        ("https://h/api/v3", "/api/v3/chat/completions", "https://h/api/v3/chat/completions"),
        ("https://h/xapi/v3", "/api/v3/chat/completions", "https://h/xapi/v3/api/v3/chat/completions"),
        ("https://h/api/coding/v3", "/chat/completions", "https://h/api/coding/v3/chat/completions"),
        ("https://v1", "/v1/models", "https://v1/v1/models"),
        ("http://[::1]:80/v1", "/models", "http://[::1]:80/v1/models"),
    ],
)
def test_a_leading_part_of_the_path_is_not_repeated(base: str, path: str, joined: str) -> None:
    assert join(base, path) == joined


@pytest.mark.parametrize(
    ("kind", "chat", "models"),
    [
        ("openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/models"),
        (
            "volcengine",
            "https://ark.cn-beijing.volces.com/api/v3/chat/completions",
            "https://ark.cn-beijing.volces.com/api/v3/models",
        ),
        (
            "volcengine_coding",
            "https://ark.cn-beijing.volces.com/api/coding/v3/chat/completions",
            "https://ark.cn-beijing.volces.com/api/coding/v3/models",
        ),
        (
            "byteplus",
            "https://ark.ap-southeast.bytepluses.com/api/v3/chat/completions",
            "https://ark.ap-southeast.bytepluses.com/api/v3/models",
        ),
        ("ollama", "http://127.0.0.1:11434/v1/chat/completions", "http://127.0.0.1:11434/v1/models"),
    ],
)
def test_every_kind_has_its_documented_addresses(kind: str, chat: str, models: str) -> None:
    profile = replace(PROFILE, kind=kind, base_url=None)
    assert (chat_url(profile, KINDS[kind]), models_url(profile, KINDS[kind])) == (chat, models)


def test_whole_addresses_and_moved_paths_win_and_take_the_list_along() -> None:
    kind = KINDS["openai"]
    whole = replace(PROFILE, endpoint="https://h/x/chat/completions")
    moved = replace(PROFILE, base_url="https://h", chat_completions_path="/y/chat/completions")
    assert (chat_url(whole, kind), models_url(whole, kind)) == (whole.endpoint, "https://h/x/models")
    assert (chat_url(moved, kind), models_url(moved, kind)) == (
        "https://h/y/chat/completions",
        "https://h/y/models",
    )
    assert models_url(replace(whole, models_endpoint="https://h/z"), kind) == "https://h/z"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "custom"}, "has no address of its own"),
        ({"base_url": "ftp://h"}, "base_url is not a usable"),
        ({"base_url": "https://u:pw@h"}, "base_url is not a usable"),
        ({"base_url": "https://<host>/v1"}, "base_url is not a usable"),
        ({"base_url": "https://h/v1?key=x"}, "base_url is not a usable"),
        ({"endpoint": "h:80"}, "endpoint is not a usable"),
        ({"base_url": "https://h/v1/chat/completions"}, "already ends in the path of the chat call"),
        ({"kind": "volcengine", "base_url": "https://h/api/coding/v3"}, "is the coding lane"),
        (
            {"kind": "volcengine", "endpoint": "https://h/api/coding/v3/chat/completions"},
            "is the coding lane",
        ),
        ({"kind": "volcengine_coding", "base_url": "https://h/api/v3"}, "lacks /api/coding/v3"),
        ({"kind": "byteplus_coding", "base_url": "https://h/api/coding"}, "lacks /api/coding/v3"),
        ({"kind": "bedrock"}, "needs a region"),
    ],
)
def test_what_cannot_work_is_refused_when_the_provider_is_made(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ProviderFault, match=words) as caught:
        provider_for(None, **changes)
    assert caught.value.kind == "provider_missing"
    assert caught.value.where.startswith("providers.main.") and "loong " in caught.value.fix
    assert "pw@" not in str(caught.value)


def test_echo_repeats_the_question_whole_and_in_pieces() -> None:
    provider = provider_for(None, kind="echo")
    pieces: list[str] = []
    assert ask(provider).text == f"echo: {QUESTION}"
    assert ask(provider, on_text=pieces.append).text == "".join(pieces)
    assert len(pieces) > 2 and provider.models(deadline=None) == ("echo",)


def test_echo_knows_when_it_last_answered() -> None:
    provider = provider_for(None, kind="echo")
    assert provider.health()["last_success_ms"] is None
    began_ms = wall_ms()
    ask(provider)
    assert provider.health()["last_success_ms"] >= began_ms


def test_echo_heeds_a_stop() -> None:
    stop = StopToken()
    stop.set()
    with pytest.raises(ProviderFault) as caught:
        ask(provider_for(None, kind="echo"), CALL, stop=stop)
    assert caught.value.kind == "interrupted"


class Source:
    """A secret that changes, with a clock beside it."""

    def __init__(self, *values: str | None) -> None:
        self.values = list(values)
        self.now = 0.0
        self.fetched = 0

    def resolve(self, ref: SecretRef) -> str:
        self.fetched += 1
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        if value is None:
            raise SecretUnavailable("secret.not_set", setting=ref.setting)
        return value

    def ring(self, form: str = "env", *, required: bool = True) -> KeyRing:
        ref = SecretRef(form, "K", "p.api_key")
        return KeyRing(ref, self.resolve, required=required, clock=lambda: self.now)


def test_a_key_is_looked_at_again_after_thirty_seconds() -> None:
    source = Source("a" * 8, "b" * 8)
    ring = source.ring()
    assert [ring.ordered(), ring.ordered()] == [["a" * 8], ["a" * 8]]
    source.now = 31
    assert ring.ordered() == ["b" * 8] and source.fetched == 2


def test_a_key_that_vanishes_for_a_moment_serves_on() -> None:
    source = Source(KEY, None)
    ring = source.ring()
    ring.ordered()
    source.now = 31
    assert ring.ordered() == [KEY]
    ring.refused(KEY)
    assert ring.ordered() == [KEY]


def test_a_refused_key_is_looked_at_again_at_once() -> None:
    source = Source("old-key", "old-key", "new-key")
    ring = source.ring()
    for expected in ("old-key", "old-key", "new-key"):
        assert ring.ordered() == [expected]
        ring.refused("old-key")
    # Somebody else has replaced it meanwhile, so there is nothing to fetch.
    assert source.fetched == 3


@pytest.mark.parametrize("value", ["old-key", None])
@pytest.mark.parametrize("method", ["ordered", "refused"])
def test_those_who_wait_for_a_key_share_one_look(value: str | None, method: str) -> None:
    source = Source("old-key" if method == "refused" else value, value)
    ring = source.ring()
    if method == "refused":
        ring.ordered()
    began, go_on = threading.Event(), threading.Event()
    at_once = source.resolve

    def slowly(ref: SecretRef) -> str:
        began.set()
        assert go_on.wait(10)
        return at_once(ref)

    ring._resolve = slowly
    before = source.fetched
    faults: list[str] = []

    def look() -> None:
        try:
            ring.refused("old-key") if method == "refused" else ring.ordered()
        except ProviderFault as fault:
            faults.append(fault.kind)

    threads = [threading.Thread(target=look) for _ in range(8)]
    threads[0].start()
    assert began.wait(10)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: sum(waits_for_lock(thread) for thread in threads) == 7)
    go_on.set()
    for thread in threads:
        thread.join()
    assert source.fetched == before + 1
    assert faults == (["secret_missing"] * 8 if value is None and method == "ordered" else [])


def waits_for_lock(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and "seen" in frame.f_locals


def test_a_key_that_is_not_needed_may_be_absent_but_a_wrong_reference_is_told() -> None:
    assert Source(None).ring("absent", required=False).ordered() == [""]
    for form, required in (("env", False), ("absent", True)):
        with pytest.raises(ProviderFault) as caught:
            Source(None).ring(form, required=required).ordered()
        assert caught.value.kind == "secret_missing"
