"""The Executor protocol: what the driver needs of a place where attempts run.

Concrete executors know no database and no state: they get intents and handles, and report facts. A new executor is
one new module that fulfils this protocol, and passes the conformance suite.

External calls and lost answers: `launch` may be called again with the same intent after a crash; the executor must
find what the first call made (same name, same identity) and acknowledge it instead of making another. `stop` may be
called again for something that is gone already; that is a `Gone`, not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from execplane.contract.observations import Fact
from execplane.contract.states import AttemptState
from execplane.contract.workload import Handle, Intent, Workload

Report = Callable[[Sequence[Fact]], None]
"""Takes facts from any thread; returns at once (a bounded queue and a wake stand behind it)."""


class Executor(Protocol):
    name: str
    """"local", "kubernetes", …: what a task's `executor` says and the attempt's row keeps."""

    def start(self, report: Report) -> None:
        """Begin observing. Called once, before anything else."""

    def slots(self) -> int | None:
        """How many attempts may be alive at once here; None: no limit of its own."""

    def build(self, workload: Workload) -> Intent:
        """Pure: what would be created. Raises InvalidInput when the layers do not make something launchable."""

    def launch(self, intents: Sequence[Intent]) -> None:
        """Create them, in order of priority; answers come as Acknowledged or LaunchRefused. Does not block long."""

    def stop(self, handles: Sequence[Handle], *, grace_seconds: float) -> None:
        """End them: SIGTERM, the grace period, SIGKILL. Their end comes as Gone."""

    def adopt(self, handles: Sequence[Handle]) -> None:
        """Watch over launches of an earlier process. Each one is answered by a fact: Acknowledged when it is
        alive, Gone when it is dead, LaunchRefused(retry=True) when it never came to be."""

    def clean(self, handles: Sequence[Handle], *, outcome: AttemptState) -> None:
        """The attempts ended so: delete what is left, as the deletion policy says."""

    def check(self) -> str:
        """ "" when the executor can launch; else one sentence why not."""

    def close(self) -> None:
        """Stop observing; what runs keeps running."""
