"""The operators' mutation hooks as an executor uses them: in a process of their own, started when there are any.

What a hook may do to a pod is apply's business; here is that it cannot stop or bring down whoever builds pods. A hook
that hangs or dies loses its process; the next one is started after a pause that grows, and `check` says why launches
wait meanwhile.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from execplane.contract.clock import Clock
from execplane.contract.errors import InvalidInput, NotYet
from execplane.kube.mutation_messages import NotLoaded, Refused
from execplane.kube.mutation_places import HOOK_NAME, any_place
from execplane.kube.mutation_process import HookDied, HookOptions, HookProcess
from execplane.kube.mutation_suspects import Suspects
from execplane.pods.hook import Mutate, Mutation

logger = logging.getLogger(__name__)

_OF_THIS_POD = "It works for other pods: see what is special about this one. "


class MutationHook:
    """All hooks that are found. Any thread may use it; they take turns."""

    def __init__(self, options: HookOptions, clock: Clock) -> None:
        """Looks where a hook may stand; a file that appears there later is seen by the next driver."""
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._process: HookProcess | None = None
        self._ready = False
        self._none = not any_place(options.folders)
        self._suspects = Suspects()
        self._trouble = ""
        self._not_before = float("-inf")
        self._waited = False

    def mutate(self) -> Mutate | None:
        """What runs the hooks on a pod; None when there is none. Raises NotYet while that is not known."""
        with self._lock:
            if trouble := self._unready():
                raise NotYet(trouble)
        return None if self._none else self._mutate

    def check(self, wait_seconds: float | None = None) -> str:
        """ "" when pods can be built; else why not. Starts the process, and waits for it that long.

        None: for the time of one call at most, and only once; for who has others to serve.
        """
        with self._lock:
            return self._unready(wait_seconds)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _mutate(self, pod: dict[str, Any]) -> Mutation:
        """Raises InvalidInput when it is this pod's fault, NotYet when it is not, or not known yet."""
        name = str(pod["metadata"]["name"])
        with self._lock:
            if trouble := self._unready():
                raise NotYet(trouble)
            if self._process is None:
                # The file was mended while its process was away, and has no hook any more.
                return Mutation(before=pod, after=pod)
            if not self._suspects.may_try(name):
                raise NotYet(f"{self._trouble} Other pods are tried first.")
            try:
                reply = self._process.mutate(pod)
            except HookDied as error:
                own = self._suspects.broke(name)
                self._broke(error.message, error.hint)
                if own:
                    raise InvalidInput(error.message, hint=_OF_THIS_POD + error.hint) from error
                raise NotYet(self._trouble) from error
            except BaseException:
                # Its answer may still be on the way, and the next pod must not get it.
                self._end()
                raise
            self._suspects.passed(name)
        if isinstance(reply, Refused):
            raise InvalidInput(reply.sentence, hint=reply.hint)
        return Mutation(before=reply.before, after=reply.after)

    def _unready(self, wait_seconds: float | None = None) -> str:
        """Why no hook can be run now; "" when one can, or there is none."""
        if self._none or (self._process is not None and self._ready):
            return ""
        if self._clock.monotonic() < self._not_before:
            return self._trouble
        try:
            if self._process is None:
                self._process, self._waited = HookProcess(self._options), False
            if wait_seconds is None:
                wait_seconds = 0.0 if self._waited else self._options.limit_seconds
            loaded = self._process.loaded(wait_seconds)
        except HookDied as error:
            self._suspects.broke_at_start()
            return self._broke(error.message, error.hint)
        except OSError as error:
            self._suspects.broke_at_start()
            hint = "Check this machine's memory and limits on processes."
            return self._broke(f"The process of {HOOK_NAME} cannot be started: {error.strerror}.", hint)
        except BaseException:
            self._end()
            raise
        self._waited = True
        if loaded is None:
            return f"The module of {HOOK_NAME} is still being imported."
        if isinstance(loaded, NotLoaded):
            self._suspects.broke_at_start()
            return self._broke(loaded.sentence, loaded.hint)
        if not loaded.names:
            # A settings module may have other things to say than a hook; then nothing is left to be paid for.
            self._none = True
            self._end()
        else:
            logger.info("mutation hooks, in this order: %s", ", ".join(loaded.names))
            self._ready = True
        return ""

    def _broke(self, sentence: str, hint: str) -> str:
        self._end()
        pause = self._suspects.pause_seconds
        self._not_before = self._clock.monotonic() + pause
        self._trouble = f"{sentence} {hint} No pod is made without it; it is tried again within {pause:g} s."
        logger.warning("%s", self._trouble)
        return self._trouble

    def _end(self) -> None:
        process, self._process, self._ready = self._process, None, False
        if process is not None:
            process.kill()
