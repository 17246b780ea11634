"""execplane built without one of its promises: the tests that guard the promise must notice.

Python imports this module at the start of every process that finds it on PYTHONPATH. `BROKEN_BUILD` names what is
taken away, once the module that holds it has been imported.
"""

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

WANTED = os.environ.get("BROKEN_BUILD", "")


def without_the_fence(launching: Any) -> None:
    """Every process that asks may start the attempt."""

    def pass_fence(attempt_id: int, **who: Any) -> Any:
        with launching.write():
            row = launching.locked_attempt(attempt_id)
            launching._begin(row, **who)
        return launching.Passed(code="running", first_time=True)

    launching.pass_fence = pass_fence


def without_uid_preconditions(client: Any) -> None:
    """A delete means whatever pod has the name."""
    request = client.Client.request

    def request_without(self: Any, method: str, path: str, *, body: bytes = b"", **more: Any) -> Any:
        wish = json.loads(body) if method == "DELETE" else None
        if wish is not None:
            wish.pop("preconditions", None)
            body = json.dumps(wish).encode()
        return request(self, method, path, body=body, **more)

    client.Client.request = request_without


def intent_after_create(observing: Any) -> None:
    """What is to be created is written down when the create was answered."""
    launching: Any = importlib.import_module("execplane.store.transitions.launching")
    commit, acknowledge = launching.commit_intents, observing.acknowledge
    waiting: dict[int, tuple[Any, dict[str, Any]]] = {}

    def commit_later(intents: Any, **how: Any) -> list[int]:
        waiting.update({intent.attempt_id: (intent, how) for intent in intents})
        return [intent.attempt_id for intent in intents]

    def acknowledge_and_commit(facts: Any) -> Any:
        for fact in facts:
            if fact.attempt_id in waiting:
                intent, how = waiting.pop(fact.attempt_id)
                commit([intent], **how)
        return acknowledge(facts)

    launching.commit_intents = commit_later
    observing.acknowledge = acknowledge_and_commit


BUILDS = {
    "without_the_fence": ("execplane.store.transitions.launching", without_the_fence),
    "without_uid_preconditions": ("execplane.kube.client", without_uid_preconditions),
    "intent_after_create": ("execplane.store.transitions.observing", intent_after_create),
}


class Breaking(Loader):
    def __init__(self, loader: Loader, breaks: Callable[[ModuleType], None]) -> None:
        self.loader, self.breaks = loader, breaks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.breaks(module)


class Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        module, breaks = BUILDS[WANTED]
        if name != module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None  # noqa: PT018
        spec.loader = Breaking(spec.loader, breaks)
        return spec


if WANTED:
    sys.meta_path.insert(0, Finder())
