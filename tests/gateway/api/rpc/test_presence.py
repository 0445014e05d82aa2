from __future__ import annotations

from loong_gateway.api.rpc.calls import Client
from loong_gateway.api.rpc.member import Member
from loong_gateway.api.rpc.presence import Presence
from tests.gateway.api.rpc.schema import PERSON, Each, check

MINUTE_MS = 60_000


class World:
    """A list on a clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_795_161_160_266
        self.presence = Presence(lambda: self.now_ms, "127.0.0.1")
        self.number = 0

    def member(self, **about: str) -> Member:
        self.number += 1
        client = Client(
            f"c-{self.number}", "openclaw-tui", "ui", frozenset({"operator.read"}), address="127.0.0.1"
        )
        return Member(None, client, proven="secret", about={"version": "1", "platform": "linux", **about})

    @property
    def reasons(self) -> list[str]:
        entries, _ = self.presence.stamped()
        check(entries, Each(PERSON))
        return [entry["reason"] for entry in entries]

    @property
    def version(self) -> int:
        return self.presence.stamped()[1]


def test_the_gateway_is_always_the_first() -> None:
    world = World()
    [own], _ = world.presence.stamped()
    assert (own["mode"], own["reason"], own["ts"]) == ("gateway", "self", world.now_ms)
    assert own["text"].startswith(f"Gateway: {own['host']} (127.0.0.1) · app ")


def test_who_left_is_listed_for_five_minutes() -> None:
    world = World()
    member = world.member()
    assert world.presence.came(member)
    world.now_ms += MINUTE_MS
    assert world.presence.left(member)
    assert not world.presence.left(member)
    assert world.reasons == ["self", "disconnect"]
    world.now_ms += 4 * MINUTE_MS
    assert not world.presence.forget()
    before = world.version
    world.now_ms += MINUTE_MS
    assert world.presence.forget()
    assert world.reasons == ["self"]
    assert world.version == before + 1


def test_an_instance_with_two_connections_is_one_and_stays_until_both_are_gone() -> None:
    world = World()
    one, two = world.member(instanceId="i"), world.member(instanceId="i")
    assert world.presence.came(one)
    assert world.presence.came(two)
    assert world.reasons == ["self", "connect"]
    assert not world.presence.left(one)
    assert world.presence.left(two)
    assert world.reasons == ["self", "disconnect"]
    assert world.presence.came(world.member(instanceId="i"))
    assert world.reasons == ["self", "connect"]


def test_the_list_is_bounded_and_keeps_those_who_are_there() -> None:
    world = World()
    stays = world.member()
    world.presence.came(stays)
    for _ in range(300):
        passing = world.member()
        world.presence.came(passing)
        world.presence.left(passing)
    reasons = world.reasons
    assert len(reasons) <= 201
    assert "connect" in reasons


def test_long_names_are_cut() -> None:
    world = World()
    world.presence.came(world.member(displayName="x" * 4096, modelIdentifier="y" * 4096))
    entry = world.presence.stamped()[0][1]
    assert max(len(str(value)) for value in entry.values()) < 400
