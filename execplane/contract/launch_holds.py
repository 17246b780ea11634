"""An operator's launch hold: nothing new starts in its scope, and what runs goes on.

Not to be taken for two other holds: `hold_on_failure` keeps one failed container alive, and drift holds launches by
itself after a database was restored.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """What a launch hold is about; all but `ALL` have a name."""

    ALL = "all"
    EXECUTOR = "executor"
    CLUSTER = "cluster"
    NAMESPACE = "namespace"
    DAG_TAG = "dag_tag"
    DAG = "dag"


_WORDS = {
    Scope.ALL: "all launches",
    Scope.EXECUTOR: "the executor {}",
    Scope.CLUSTER: "the cluster {}",
    Scope.NAMESPACE: "the namespace {}",
    Scope.DAG_TAG: "DAGs tagged {}",
    Scope.DAG: "the DAG {}",
}


class LaunchHold(msgspec.Struct, frozen=True, kw_only=True):
    """One that counts now. `until` None: until somebody releases it."""

    id: int
    scope: Scope
    name: str
    reason: str
    author: str
    since: datetime
    until: datetime | None = None

    @property
    def what(self) -> str:
        """What it holds, in words."""
        return _WORDS[self.scope].format(self.name)

    @property
    def sentence(self) -> str:
        """Says the same as long as it counts: it is written on everything that waits for it."""
        return f"Launch hold {self.id} on {self.what}, by {self.author}: {self.reason.rstrip('.')}."

    @property
    def ends(self) -> str:
        """What ends it, as a sentence."""
        release = f"`execplane holds release {self.id}` ends it"
        if self.until is None:
            return f"{release}; it does not end by itself."
        return f"It ends by itself at {self.until:%Y-%m-%d %H:%M:%S} UTC; {release} now."
