"""The composition root of an owner: builds every part, starts and stops them in order, answers for all of them.

Start: lock and port are taken before; then store, recovery, workers, port, channels. Stop: no new work, channels stop
receiving, running turns end or go back, what they produced is sent or stays queued, then port, store, lock.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loong_channels import catalog
from loong_channels.contract import Account, Channel
from loong_channels.net import Egress
from loong_channels.waiting import Deadline
from loong_gateway import VERSION, inbox, outbox, owner, retention, secrets
from loong_gateway.api.listener import Listener
from loong_gateway.boots import Boots
from loong_gateway.clock import Clock
from loong_gateway.control import SendOutcome, SendRequest, TurnRequest, TurnResult
from loong_gateway.delivery import Delivery, DeliveryTask
from loong_gateway.faults import StoreUnwritable
from loong_gateway.intake import Intake
from loong_gateway.lanes import Lanes
from loong_gateway.main_loop import MainLoop, Timer
from loong_gateway.metrics import Metrics
from loong_gateway.moves import Moves
from loong_gateway.owner import OwnerLock
from loong_gateway.owner_document import OwnerFacts, degraded_reasons, status_document, status_line
from loong_gateway.parking import Parking
from loong_gateway.paths import Places
from loong_gateway.slots import Slot, SlotServices
from loong_gateway.snapshot import AccountConfig, Config
from loong_gateway.store import Store
from loong_gateway.supervisor import Supervisor
from loong_gateway.terminal import TERMINAL_SPEC, Terminal, terminal_account
from loong_gateway.threads import ThreadRegistry
from loong_gateway.turns import RequestTask, Turns, TurnTask

__all__ = ["RunOptions", "Runtime"]

logger = logging.getLogger("loong.runtime")
