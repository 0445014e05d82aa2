"""What an operator sends through a running gateway: kept in the outbox first, its fate awaited after."""

from __future__ import annotations

import queue
from collections.abc import Callable

from loong_channels import catalog
from loong_channels.contract import ChannelSpec, OutboundFile
from loong_gateway.base.clock import Clock
from loong_gateway.base.faults import CommandError
from loong_gateway.base.ids import new_id
from loong_gateway.config.selectors import account_for
from loong_gateway.config.snapshot import AccountConfig, Config
from loong_gateway.control import SendFile, SendOutcome, SendRequest
from loong_gateway.messaging.delivery import Delivery, DeliveryTask, Fate
from loong_gateway.messaging.lanes import Lanes
from loong_gateway.messaging.parts import Contents, address_of, check_target_kind, operator_parts
from loong_gateway.messaging.send_options import check_contents, checked_options, file_kind
from loong_gateway.storage import outbox
from loong_gateway.storage.outbox import Part
from loong_gateway.storage.outgoing import Outgoing
from loong_gateway.storage.store import Store

__all__ = ["OperatorSends"]

FINAL_STATES = frozenset({"sent", "failed", "expired", "cancelled", "unknown"})


class OperatorSends:
    """Thread-safe. `ready_to_send` sees to it that an account can send, also one that this owner does not serve;
    `last_error` tells why one cannot at the moment. `outgoing` holds the copies of files."""

    def __init__(  # noqa: PLR0913  one for each of those it works with
        self,
        store: Store,
        lanes: Lanes,
        delivery: Delivery,
        *,
        config: Callable[[], Config],
        ready_to_send: Callable[[AccountConfig], None],
        last_error: Callable[[AccountConfig], str],
        outgoing: Outgoing,
        clock: Clock,
    ) -> None:
        self._store = store
        self._lanes = lanes
        self._delivery = delivery
        self._config = config
        self._ready_to_send = ready_to_send
        self._last_error = last_error
        self._outgoing = outgoing
        self._clock = clock

    def send(self, request: SendRequest) -> SendOutcome:
        """See control.ControlPlane."""
        # The prefix keeps a caller's key out of the way of our own groups.
        group = f"send-{request.idempotency_key}" if request.idempotency_key else new_id("send")
        if request.files:
            # Asked again after the end, when the copies are gone.
            account = account_for(self._config(), request.channel, request.account)
            known = self._store.read(lambda conn: outbox.state_of(conn, group))
            if known in FINAL_STATES:
                return SendOutcome(group, str(known), account.id)
        account, parts = self.prepare(request, group)
        self._ready_to_send(account)
        fate = self._fate_of(parts, request.wait_s)
        error = fate.error or (self._delay(parts[0].group, account) if fate.state == "queued" else "")
        return SendOutcome(parts[0].group, fate.state, account.id, fate.message_ids, error)

    def prepare(self, request: SendRequest, group: str) -> tuple[AccountConfig, list[Part]]:
        """The rows of a send, at least one, for who stores them together with something else. Raises CommandError."""
        config = self._config()
        account = account_for(config, request.channel, request.account)
        spec = catalog.spec(account.channel)
        check_target_kind(spec, request.target_kind or spec.target_kinds[0])
        options = checked_options(spec, request.options)
        check_contents(spec, request.text, options, tuple(file.kind for file in request.files))
        files = tuple(self._file(spec, file) for file in request.files)
        parts = operator_parts(
            spec,
            address_of(spec, account.id, request.target),
            Contents(request.text, options, files),
            group=group,
            expires_ms=self._clock.wall_ms() + config.delivery.push_ttl_s * 1000,
        )
        if not parts:
            raise CommandError("channels.empty_text")
        return account, parts

    def release(self, account: AccountConfig, parts: list[Part]) -> None:
        """Have prepared rows sent that are on disk now."""
        self._ready_to_send(account)
        self._lanes.offer(parts[0].outbound.address.lane, DeliveryTask(self._delivery, parts[0].group))

    def sweep(self) -> None:
        """Remove the copies of files that no row of the outbox needs any more. Raises StoreUnwritable."""
        self._outgoing.sweep(lambda: self._store.read(outbox.files), self._clock.wall_ms())

    def _delay(self, group: str, account: AccountConfig) -> str:
        """Why a group is not sent yet, "" when nothing is known to be wrong."""
        rows = self._store.read(lambda conn: outbox.group(conn, group))
        own = next((row.last_error for row in rows if row.last_error), "")
        return own or self._last_error(account)

    def _file(self, spec: ChannelSpec, file: SendFile) -> OutboundFile:
        kind = file_kind(spec, file.name, file.kind)
        path = self._outgoing.path_of(file.copy, limit_bytes=spec.file_limit(kind))
        return OutboundFile(path, file.name, kind)

    def _fate_of(self, parts: list[Part], wait_s: float) -> Fate:
        group = parts[0].group
        fates: queue.SimpleQueue[Fate] = queue.SimpleQueue()
        self._delivery.watch(group, fates.put)
        try:
            now_ms = self._clock.wall_ms()
            added = self._store.write(
                lambda conn: outbox.add(conn, parts, now_ms=now_ms, first_sending=False)
            )
            if added:
                self._lanes.offer(parts[0].outbound.address.lane, DeliveryTask(self._delivery, group))
            else:
                known = self._store.read(lambda conn: outbox.state_of(conn, group))
                if known in FINAL_STATES:
                    return Fate(str(known))
            return fates.get(timeout=wait_s) if wait_s > 0 else Fate("queued")
        except queue.Empty:
            # It is on disk and goes out later; the caller is told its id.
            return Fate("queued")
        finally:
            self._delivery.forget(group, fates.put)
