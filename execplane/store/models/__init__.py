"""All tables, by subject; see data-model rules in ARCHITECTURE.md (keyset lists, partial indexes, exact bytes)."""

from __future__ import annotations

from execplane.store.models.attempts import Attempt, AttemptEvent, FlightRecord, WaitingReason
from execplane.store.models.dags import Bundle, Dag, DagTag, DagVersion, ImportErrorRow
from execplane.store.models.deployment import (
    Audit,
    Blob,
    DeadlineState,
    Deployment,
    Lease,
    LoopStatus,
    RollupMinute,
    User,
)
from execplane.store.models.drift import DriftFinding, DriftLook
from execplane.store.models.launch_holds import LaunchHold, LaunchWave
from execplane.store.models.runs import DagRun, TaskInstance
from execplane.store.models.secrets import Connection, Pool, SecretAccess, Variable
from execplane.store.models.templates import OverrideRule, Policy, Template, TemplateRevision
from execplane.store.models.xcoms import XCom

__all__ = [
    "Attempt",
    "AttemptEvent",
    "Audit",
    "Blob",
    "Bundle",
    "Connection",
    "Dag",
    "DagRun",
    "DagTag",
    "DagVersion",
    "DeadlineState",
    "Deployment",
    "DriftFinding",
    "DriftLook",
    "FlightRecord",
    "ImportErrorRow",
    "LaunchHold",
    "LaunchWave",
    "Lease",
    "LoopStatus",
    "OverrideRule",
    "Policy",
    "Pool",
    "RollupMinute",
    "SecretAccess",
    "TaskInstance",
    "Template",
    "TemplateRevision",
    "User",
    "Variable",
    "WaitingReason",
    "XCom",
]
