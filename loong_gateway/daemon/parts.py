"""What the life of an owner is made of, and the few facts about it that change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loong_channels.egress import Egress
from loong_gateway.api.bind import Bound
from loong_gateway.api.listener import Listener
from loong_gateway.audit.recorder import Recorder
from loong_gateway.base.clock import Clock
from loong_gateway.base.threads import ThreadRegistry
from loong_gateway.control import ControlPlane
from loong_gateway.control.settings import SettingsDesk
from loong_gateway.daemon.held_secret import HeldSecret
from loong_gateway.daemon.models_desk import ModelsDesk
from loong_gateway.daemon.work_unit_desk import WorkUnitDesk
from loong_gateway.messaging.engine import Engine
from loong_gateway.owner.boots import Boots
from loong_gateway.owner.lock import OwnerLock
from loong_gateway.owner.paths import Places
from loong_gateway.storage.store import Store
from loong_gateway.tools.mcp import McpServers

__all__ = ["DeskParts", "LifeState", "RuntimeParts"]


@dataclass(frozen=True)
class DeskParts:
    """What the port may ask besides the life and the engine. `log_path` is the file of the log.

    Tools go out by `egress`, and never touch `own_paths`: the directories and files of the gateway itself. `audit` is
    None where no journal is kept.
    """

    settings: SettingsDesk
    models: ModelsDesk
    tool_servers: McpServers
    work_units: WorkUnitDesk
    audit: Recorder | None
    held: tuple[HeldSecret, ...]
    log_path: str
    egress: Egress
    own_paths: tuple[str, ...]


@dataclass(frozen=True)
class RuntimeParts:
    """What the life is made of; the command opened everything, nothing has started yet.

    `mode` and `session` are those of the status document, `token` is the control token. `listener` builds the port over
    a control plane. `announce` prints a line for the person who started us. `once` stops after one batch of every
    surface. `rehearse` raises CommandError for what a new start would be refused for; `program` is what to execute for
    one, () where there can be none; `supervised` says that somebody else starts us again, `is_successor` that this
    process came out of a restart.
    """

    places: Places
    lock: OwnerLock
    bound: Bound
    listener: Callable[[ControlPlane], Listener]
    store: Store
    engine: Engine
    threads: ThreadRegistry
    boots: Boots
    clock: Clock
    announce: Callable[[str], None]
    token: str
    mode: str
    desk: DeskParts
    session: str | None = None
    once: bool = False
    rehearse: Callable[[], object] = bool
    program: tuple[str, ...] = ()
    supervised: bool = False
    is_successor: bool = False


@dataclass
class LifeState:
    """Where the life of an owner has got to. Written by the main thread, read by any; each field is whole by itself.

    `resume_asked` alone is set by others: the channels that the crash-loop breaker keeps off are wanted again.
    """

    phase: str = "starting"
    channels_on: bool = True
    resume_asked: bool = False
    last_error: str | None = None
    shutdown_reason: str | None = None
