from __future__ import annotations

from loong_channels.contract import WebhookAnswer, WebhookRequest
from loong_gateway.messaging.webhooks import Webhooks

REQUEST = WebhookRequest("POST", {}, b"{}")


class Receiver:
    def __init__(self, name: bytes) -> None:
        self.name = name
        self.requests: list[WebhookRequest] = []

    def answer(self, request: WebhookRequest) -> WebhookAnswer:
        self.requests.append(request)
        return WebhookAnswer(200, self.name)


def test_a_path_is_kept_for_its_account_before_and_after_it_receives() -> None:
    webhooks = Webhooks()
    assert not webhooks.has("/a")
    webhooks.reserve("/a")
    receiver = Receiver(b"1")
    for _ in range(2):
        assert webhooks.has("/a")
        early = webhooks.answer("/a", REQUEST)
        assert (early.status, dict(early.fields)) == (503, {"Retry-After": "15"})
        with webhooks.mounted("/a", receiver):
            assert webhooks.answer("/a", REQUEST).body == b"1"
    assert receiver.requests == [REQUEST] * 2


def test_the_end_of_an_older_life_does_not_take_the_place_of_a_newer_one() -> None:
    webhooks = Webhooks()
    older, newer = webhooks.mounted("/a", Receiver(b"1")), webhooks.mounted("/a", Receiver(b"2"))
    older.__enter__()
    newer.__enter__()
    older.__exit__(None, None, None)
    assert webhooks.answer("/a", REQUEST).body == b"2"
    webhooks.reserve("/a")
    assert webhooks.answer("/a", REQUEST).body == b"2"
