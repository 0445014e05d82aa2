"""When the active provider fails another one is asked, where the config says so and nothing was shown yet."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.base.metrics import Metrics
from loong_gateway.config.loading import validate_source
from loong_gateway.config.secrets import resolve
from loong_gateway.config.snapshot import Config
from loong_gateway.providers.contract import Completion, Provider, ProviderCall, ProviderFault
from loong_gateway.providers.profiles_in_use import ProfilesInUse
from loong_gateway.providers.standby import MENDED, Links, Standby
from tests.fakes.scripted_peer import Connection, ScriptedPeer, answering
from tests.gateway.providers.provider_rig import CALL, ask, bodies, completion, refuses, says


class Journal:
    def __init__(self) -> None:
        self.records: list[tuple[str, Mapping[str, object]]] = []

    def record(self, kind: str, facts: Mapping[str, object], *, agent: str | None = None) -> None:
        self.records.append((kind, facts))


class One:
    """A provider that says, or fails with, what is lined up for it."""

    kind = "custom"
    model = "m"

    def __init__(self, profile: str, *outcomes: str, shows: str = "") -> None:
        self.profile = profile
        self.outcomes = list(outcomes)
        self.shows = shows
        self.calls: list[ProviderCall] = []

    def complete(
        self,
        call: ProviderCall,
        *,
        deadline: Deadline,
        stop: StopToken,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        self.calls.append(call)
        if on_text is not None and self.shows:
            on_text(self.shows)
        outcome = self.outcomes.pop(0)
        if outcome == "ok":
            return Completion(f"from {self.profile}", "m")
        raise ProviderFault(outcome, f"{self.profile} failed")


class Chain:
    def __init__(self, *providers: One) -> None:
        self.journal, self.metrics, self.answered = Journal(), Metrics(), [""]
        self.providers = {one.profile: one for one in providers}
        names = list(self.providers)
        links = Links(self.metrics, self.journal.record, self.answered.append)
        self.standby: Provider = Standby(providers[0], names[1:], self._of, links)  # type: ignore[arg-type]

    def _of(self, name: str) -> Provider:
        return self.providers[name]  # type: ignore[return-value]

    def tried(self) -> list[int]:
        return [len(one.calls) for one in self.providers.values()]


@pytest.mark.parametrize("kind", MENDED)
def test_what_another_service_may_mend_goes_to_it(kind: str) -> None:
    chain = Chain(One("a", kind), One("b", kind), One("c", "ok"))
    answer = ask(chain.standby)
    assert (answer.text, answer.profile, chain.answered[-1]) == ("from c", "c", "c")
    assert [facts for _, facts in chain.journal.records] == [
        {"from": "a", "to": "b", "kind": kind},
        {"from": "b", "to": "c", "kind": kind},
    ]
    assert {kind for kind, _ in chain.journal.records} == {"ProviderFailover"}
    assert [chain.metrics.get(f"provider_errors:{kind}:{name}") for name in "abc"] == [1, 1, 0]
    assert chain.metrics.get("provider_failovers:a:b") == 1


@pytest.mark.parametrize(
    "kind", ["request_rejected", "interrupted", "payload_incompatible", "provider_missing", "not_supported"]
)
def test_everything_else_is_the_answer(kind: str) -> None:
    chain = Chain(One("a", kind), One("b"))
    with pytest.raises(ProviderFault, match="a failed"):
        ask(chain.standby)
    assert chain.tried() == [1, 0] and chain.journal.records == []


def test_nothing_is_asked_again_once_text_was_shown() -> None:
    chain = Chain(One("a", "transport_failure", shows="he"), One("b"))
    seen: list[str] = []
    with pytest.raises(ProviderFault):
        ask(chain.standby, on_text=seen.append)
    assert chain.tried() == [1, 0] and seen == ["he"]


def test_nothing_is_asked_after_the_deadline_or_a_stop() -> None:
    stopped = StopToken()
    stopped.set()
    for limits in ({"deadline": Deadline(0)}, {"stop": stopped}):
        chain = Chain(One("a", "timed_out"), One("b"))
        with pytest.raises(ProviderFault):
            ask(chain.standby, **limits)
        assert chain.tried() == [1, 0]


def test_when_all_fail_the_fault_is_the_active_ones_and_each_is_counted_once() -> None:
    chain = Chain(One("a", "timed_out"), One("b", "rate_limited"))
    with pytest.raises(ProviderFault, match="a failed"):
        ask(chain.standby)
    # That of the active one is counted by whoever asked.
    assert chain.metrics.get("provider_errors:timed_out:a") == 0
    assert chain.metrics.get("provider_errors:rate_limited:b") == 1


def test_who_stood_in_is_asked_first_for_the_rest_of_the_turn() -> None:
    chain = Chain(One("a", "timed_out"), One("b", "ok", "ok"))
    ask(chain.standby)
    assert ask(chain.standby).profile == "b" and chain.tried() == [1, 2]


def test_the_name_of_a_model_stays_with_its_service() -> None:
    chain = Chain(One("a", "timed_out"), One("b", "ok"))
    ask(chain.standby, ProviderCall(CALL.messages, model="own"))
    assert [one.calls[0].model for one in chain.providers.values()] == ["own", None]


def profiles(text: str, **more: str) -> tuple[ProfilesInUse, Config]:
    environ = {"K": "key-one,key-two"}
    config, found = validate_source("config.toml", text.encode(), environ=environ)
    assert config is not None, found
    made = ProfilesInUse(
        lambda: config,
        environ=environ,
        resolve_secret=lambda ref: resolve(ref, environ),
        metrics=Metrics(),
        state=more.get("state"),
    )
    return made, config


def two(main: ScriptedPeer, spare: ScriptedPeer, more: str = "") -> str:
    blocks = [
        f'[providers.{name}]\nkind = "custom"\nmodel = "m"\nbase_url = "{peer.url}/v1"\n'
        f'api_key = {{ env = "K" }}\nretry_max_attempts = 1\n'
        for name, peer in (("main", main), ("spare", spare))
    ]
    return f'active_provider = "main"\n{more}\n' + "\n".join(blocks)


def test_the_status_stays_honest_while_another_one_answers(tmp_path: pathlib.Path) -> None:
    with (
        ScriptedPeer(answering(refuses(503), refuses(503), says(completion("back")))) as main,
        ScriptedPeer(answering(says(completion("instead")))) as spare,
    ):
        used, _ = profiles(two(main, spare, 'fallback_providers = ["spare"]'))
        assert ask(used.provider()).profile == "spare"
        facts = dict(used.facts() or {})
        assert used.fails() and facts["profile"] == "main" and facts["answered_by"] == "spare"
        assert facts["last_error"] == "provider_overloaded; spare answers instead"
        assert facts["keys"]["cooling"] == 2  # type: ignore[index]
        assert "key-one" not in str(facts)
        assert ask(used.provider()).text == "back"
        assert not used.fails() and "answered_by" not in (used.facts() or {})


@pytest.mark.parametrize("more", ["", 'fallback_providers = ["spare"]'], ids=["off", "named"])
def test_a_profile_that_is_named_or_stands_alone_has_no_stand_in(more: str) -> None:
    with (
        ScriptedPeer(answering(refuses(503))) as main,
        ScriptedPeer(answering(says(completion()))) as spare,
    ):
        used, _ = profiles(two(main, spare, more))
        with pytest.raises(ProviderFault, match="provider main is failing"):
            ask(used.provider("main" if more else None))
        assert bodies(spare) == []


def test_the_health_of_keys_is_kept_for_the_next_start(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "provider-profile-state.json")
    seen: list[str] = []

    def script(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            seen.append("one" if "key-one" in request[0] else "two")
            refused = seen[-1] == "one"
            connection.answer_json(401 if refused else 200, {"error": "no"} if refused else completion())

    with ScriptedPeer(script) as main:
        for _ in range(2):
            used, _ = profiles(two(main, main), state=path)
            assert ask(used.provider()).text == "hello"
            used.keep()
    assert seen == ["one", "two", "two"]
