"""Whose fault is it when a hook hangs or dies: the hook's, for every pod, or this one pod's? Pure.

Nobody may be failed for a hook that hangs for all, and a pod that hangs it must not keep all others from starting. So
a pod under which the hook broke is only suspected: the others go first, and it gets another try. When the hook broke
again although it worked for others meanwhile, it is this pod. While it works for nobody, all wait.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_MOST_STOOD_BACK = 2
_MOST = 1000


@dataclass
class _Suspect:
    faults: int = 0
    cleared_hook: bool = False
    """The hook has worked for another pod since."""
    stood_back: int = 0
    """How often it has let others go first, since the hook broke last."""


class Suspects:
    """Pods by name. An asker that is told to stand back comes again after the others of its batch."""

    def __init__(self) -> None:
        self._suspects: dict[str, _Suspect] = {}
        self._faults_in_a_row = 0

    def may_try(self, name: str) -> bool:
        """False: the others first."""
        suspect = self._suspects.get(name)
        if suspect is None or suspect.cleared_hook:
            return True
        suspect.stood_back += 1
        if suspect.stood_back == 1:
            return False
        # Of those that wait here, the one that has had the fewest tries: none is always the first. One that was let go
        # first again and still did not come is not waited for: it may be gone.
        fewest = min(one.faults for one in self._suspects.values() if one.stood_back)
        return suspect.faults == fewest or suspect.stood_back > _MOST_STOOD_BACK

    def passed(self, name: str) -> None:
        """The hook answered for this pod."""
        self._faults_in_a_row = 0
        self._suspects.pop(name, None)
        for suspect in self._suspects.values():
            suspect.cleared_hook = True

    def broke(self, name: str) -> bool:
        """The hook hung or died for this pod. True: it is this pod's own doing."""
        self.broke_at_start()
        suspect = self._suspects.pop(name, None) or _Suspect()
        if suspect.cleared_hook:
            return True
        while len(self._suspects) >= _MOST:
            self._suspects.pop(next(iter(self._suspects)))
        self._suspects[name] = _Suspect(faults=suspect.faults + 1)
        for one in self._suspects.values():
            one.stood_back = 0
        return False

    def broke_at_start(self) -> None:
        """It could not even be imported."""
        self._faults_in_a_row += 1

    @property
    def pause_seconds(self) -> float:
        """Before the hook's process is started again: at most one start a minute, however broken it is."""
        return min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self._faults_in_a_row - 1, 10), _LONGEST_PAUSE_SECONDS)
