"""Pictures in chat completions: how they are written, and what happens when a model takes none."""

from __future__ import annotations

import base64
import logging

import pytest

from loong_channels.waiting import Deadline, StopToken
from loong_gateway.providers.contract import Image, Message, ProviderCall, ProviderFault
from loong_gateway.providers.echo import Echo
from tests.fakes.model import KEY as MODEL_KEY
from tests.fakes.model import FakeModel
from tests.fakes.scripted_peer import ScriptedPeer, answering
from tests.gateway.providers.provider_rig import Answer, ask, bodies, completion, provider_for, refuses, says

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
ENCODED = base64.b64encode(PNG).decode()
CALL = ProviderCall(
    (
        Message("system", "be brief"),
        Message("user", "look at this\n[image]", (Image("image/png", PNG),)),
    )
)


def asked(*answers: Answer) -> tuple[str, list[dict[str, object]], dict[str, object]]:
    with ScriptedPeer(answering(*answers)) as peer:
        provider = provider_for(peer)
        text = ask(provider, CALL).text
    return text, [body["messages"][-1] for body in bodies(peer)], dict(provider.health())


def test_a_picture_follows_the_text_as_a_data_url() -> None:
    text, (sent,), health = asked(says(completion("a cat")))
    assert text == "a cat"
    assert sent == {
        "role": "user",
        "content": [
            {"type": "text", "text": "look at this\n[image]"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}},
        ],
    }
    assert health["images_refused"] == 0


def test_a_picture_without_a_text_is_sent_alone() -> None:
    with ScriptedPeer(answering(says(completion()))) as peer:
        ask(provider_for(peer), ProviderCall((Message("user", "", (Image("image/gif", b"GIF89a"),)),)))
    assert [part["type"] for part in bodies(peer)[0]["messages"][0]["content"]] == ["image_url"]


@pytest.mark.parametrize(
    "refusal",
    [
        refuses(400, message="Invalid content type. image_url is only supported by certain models."),
        refuses(400),
        refuses(413),
        refuses(415),
        refuses(422, message="messages[1]: unknown variant `image_url`, expected `text`"),
        refuses(404, message="No endpoints found that support image input"),
        refuses(500, message="image input is not supported"),
    ],
)
def test_a_model_that_refuses_pictures_is_asked_once_more_with_the_text_alone(refusal: Answer) -> None:
    text, sent, health = asked(refusal, says(completion("I see none")))
    assert text == "I see none"
    assert isinstance(sent[0]["content"], list)
    assert sent[1] == {"role": "user", "content": "look at this\n[image]"}
    assert (health["images_refused"], health["failed"]) == (1, 0)


def test_a_request_that_is_refused_without_pictures_too_fails() -> None:
    with ScriptedPeer(answering(refuses(400))) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer), CALL)
    assert caught.value.kind == "request_rejected"
    assert len(peer.requests) == 2


@pytest.mark.parametrize("refusal", [refuses(401), refuses(402, message="no image budget")])
def test_what_is_not_about_the_request_drops_no_pictures(refusal: Answer) -> None:
    with ScriptedPeer(answering(refusal)) as peer:
        provider = provider_for(peer)
        with pytest.raises(ProviderFault):
            ask(provider, CALL)
    assert provider.health()["images_refused"] == 0


def test_no_piece_of_a_picture_gets_into_an_error_or_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    quoted = refuses(400, message=f"bad url data:image/png;base64,{ENCODED[:60]} at 1")
    with ScriptedPeer(answering(quoted)) as peer, pytest.raises(ProviderFault) as caught:
        ask(provider_for(peer), CALL)
    assert ENCODED[:20] not in str(caught.value) + caplog.text
    assert "[hidden] at 1" in caplog.text
    assert "refused the pictures" in caplog.text


@pytest.mark.parametrize("sees", [True, False])
def test_a_strict_server_is_content(sees: bool) -> None:
    with FakeModel(sees=sees) as model:
        provider = provider_for(base_url=model.base_url, model="test-model", environ={"MODEL_KEY": MODEL_KEY})
        assert ask(provider, CALL).text == "re: look at this\n[image]"
        assert len(model.refused) == (0 if sees else 1)


def test_the_built_in_echo_names_the_pictures() -> None:
    answer = Echo("demo").complete(CALL, deadline=Deadline(5), stop=StopToken())
    assert answer.text == f"echo: look at this\n[image]\nimage/png, {len(PNG)} bytes"
