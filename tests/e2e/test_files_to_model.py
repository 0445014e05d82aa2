"""Files that come with messages, from a platform to the model: a real gateway between the doubles."""

from __future__ import annotations

import pathlib

from tests.e2e.gateway import Gateway, config_for
from tests.e2e.test_wecom import gateway_of, ready
from tests.e2e.world import staged
from tests.fakes.model import FakeModel
from tests.fakes.telegram_files import document, photo
from tests.fakes.wecom import FakeWeCom

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
SEES = "images = true"


def everything_written(gateway: Gateway) -> str:
    logs = pathlib.Path(gateway.home).rglob("*.log*")
    return gateway.output() + "".join(path.read_text(encoding="utf-8") for path in logs)


def test_texts_and_pictures_of_telegram_reach_the_model_and_strangers_are_not_fetched(
    tmp_path: pathlib.Path,
) -> None:
    with staged(tmp_path, provider_extra=SEES) as (gateway, telegram, model):
        gateway.start()
        notes = telegram.add_file("buy milk", "documents/1.txt")
        small, large = telegram.add_file(b"", "photos/1.png"), telegram.add_file(PNG, "photos/2.png")
        telegram.say(None, 6666, document=document(notes, "notes.txt"))
        telegram.say(None, document=document(notes, "notes.txt", 8), caption="what must I do?")
        telegram.wait_messages(1)
        telegram.say(None, photo=photo(small, large))
        telegram.wait_messages(2)
        telegram.say("thanks")
        telegram.wait_messages(3)
        assert model.refused == []
        first, second, third = [call.body["messages"] for call in model.calls]
        assert first[-1]["content"].startswith("what must I do?\n--- begin ")
        assert "\nbuy milk\n" in first[-1]["content"]
        assert [part["type"] for part in second[-1]["content"]] == ["text", "image_url"]
        assert [m["content"] for m in third[-3:]] == ["[photo]", "re: [photo]", "thanks"]
        assert third[-5]["content"] == first[-1]["content"]
        assert len(telegram.calls("getFile")) == 2
        assert gateway.stop() == 0
        assert telegram.token not in everything_written(gateway)
        assert "buy milk" not in everything_written(gateway)


def test_a_model_that_refuses_pictures_answers_the_text(tmp_path: pathlib.Path) -> None:
    with staged(tmp_path, provider_extra=SEES) as (gateway, telegram, model):
        model.sees = False
        gateway.start()
        file_id = telegram.add_file(PNG, "photos/1.png")
        telegram.say(None, photo=photo(file_id, file_id), caption="what is this?")
        telegram.wait_messages(1)
        assert telegram.texts() == ["re: what is this?\n[photo]"]
        assert len(model.refused) == 1


def test_a_crash_before_the_answer_fetches_again_and_a_file_that_is_gone_is_a_note(
    tmp_path: pathlib.Path,
) -> None:
    with staged(tmp_path) as (gateway, telegram, model):
        model.fault("hang", times=None)
        gateway.start()
        file_id = telegram.add_file("buy milk", "documents/1.txt")
        telegram.say(None, document=document(file_id, "notes.txt"))
        model.wait_calls(1)
        gateway.kill()
        model.clear_faults()
        gateway.start()
        telegram.wait_messages(1)
        assert "\nbuy milk\n" in model.calls[1].question
        model.fault("hang", times=None)
        telegram.say(None, document=document(file_id, "notes.txt"))
        model.wait_calls(3)
        gateway.kill()
        del telegram.files.contents[file_id]
        model.clear_faults()
        gateway.start()
        telegram.wait_messages(2)
        assert model.calls[3].question == "[document notes.txt: could not be fetched]"


def test_files_of_wecom_are_read_or_noted_and_their_address_is_shown_to_nobody(
    tmp_path: pathlib.Path,
) -> None:
    with FakeWeCom() as fake, FakeModel() as model:
        provider = config_for(None, model)
        with gateway_of(tmp_path, fake, provider) as gateway:
            ready(gateway, fake)
            url = fake.add_media(b"milk, eggs", "list.csv", "file-key-1")
            fake.say(None, msgtype="file", file={"url": url})
            fake.wait_answers(1)
            gone = url.replace("file-key-1", "file-key-2")
            fake.say(None, msgtype="file", file={"url": gone})
            fake.wait_answers(2)
            read, noted = model.questions()
            assert '"list.csv"' in read and "\nmilk, eggs\n" in read
            assert noted == "[file: could not be fetched]"
            assert gateway.stop() == 0
            written = everything_written(gateway)
            assert "file-key" not in read + noted + written
            assert "was not read: the file is not there any more" in written
