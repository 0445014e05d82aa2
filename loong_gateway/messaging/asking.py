"""Asks the model: the history of a session, a question, and the active provider. Runs on lane workers."""

from __future__ import annotations

from collections.abc import Callable

from loong_channels.contract import Preview
from loong_channels.waiting import Deadline, StopToken
from loong_gateway.config.snapshot import Config
from loong_gateway.messaging.conversation import Question, build_call
from loong_gateway.providers.contract import Completion, Provider
from loong_gateway.storage import transcripts
from loong_gateway.storage.store import Store

__all__ = ["Asking"]


class Asking:
    """Stateless, so thread-safe. `provider` raises ProviderFault when there is none."""

    def __init__(
        self, store: Store, *, config: Callable[[], Config], provider: Callable[[], Provider]
    ) -> None:
        self._store = store
        self._config = config
        self._provider = provider

    def complete(
        self,
        session: str,
        question: Question,
        deadline: Deadline,
        stop: StopToken,
        preview: Preview | None = None,
    ) -> Completion:
        """The answer, shown in `preview` while it grows. Blocks; raises ProviderFault and StoreUnwritable."""
        config = self._config()
        window = config.memory.sliding_window
        history = self._store.read(
            lambda conn: transcripts.window(conn, transcripts.active_session(conn, session), window)
        )
        provider = self._provider()
        grown: list[str] = []

        def show(piece: str) -> None:
            grown.append(piece)
            assert preview is not None
            preview.update("".join(grown))

        return provider.complete(
            build_call(config, history, question.text, question.images),
            deadline=deadline,
            stop=stop,
            on_text=None if preview is None else show,
        )
