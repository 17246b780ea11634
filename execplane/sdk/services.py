"""What running tasks reach of the outside: XComs, Variables, Connections.

The worker gives an implementation that talks to the worker API; the parser gives one (or none) for what DAG files ask
while they are imported; tests give a dict. Task code never sees it: it uses `ti.xcom_pull`, `Variable.get`,
`BaseHook.get_connection` and templates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from execplane.contract.errors import Unavailable

if TYPE_CHECKING:
    from execplane.contract.messages import SecretValue, XComPull, XComValue, XComValues


class Services(Protocol):
    """Calls may block for the network. Each raises `Unavailable` when there is no answer in time."""

    def xcom_pull(self, request: XComPull) -> XComValues:
        """What was pushed, in the order of `task_ids` and then of map_index; what was not pushed is left out.
        Every answered value has its bytes in `value`: a large one has been fetched from its blob."""

    def xcom_push(self, values: tuple[XComValue, ...]) -> None:
        """Keep values of the own task instance; small or large is the implementation's affair."""

    def variable_get(self, key: str) -> SecretValue | None:
        """None: there is no such Variable."""

    def variable_set(self, key: str, value: SecretValue) -> None: ...

    def variable_delete(self, key: str) -> None: ...

    def connection_get(self, conn_id: str) -> SecretValue | None:
        """The Connection's JSON (see `Connection.from_json`), or None when there is no such Connection."""


class NoServices:
    """Nothing is reachable: no task runs."""

    def xcom_pull(self, request: XComPull) -> XComValues:
        raise Unavailable("XComs exist only while a task runs.", hint="Pull them inside a task.")

    def xcom_push(self, values: tuple[XComValue, ...]) -> None:
        raise Unavailable("XComs exist only while a task runs.", hint="Push them inside a task.")

    def variable_get(self, key: str) -> SecretValue | None:
        return None

    def variable_set(self, key: str, value: SecretValue) -> None:
        raise Unavailable("Variables are written only by a running task.", hint="Call Variable.set in a task.")

    def variable_delete(self, key: str) -> None:
        raise Unavailable("Variables are written only by a running task.", hint="Call Variable.delete in a task.")

    def connection_get(self, conn_id: str) -> SecretValue | None:
        return None


class ImportServices(NoServices):
    """A DAG file is being imported: it gets the Variables that were brought along, and what it asks for is noted, so
    that the importer may bring more the next time."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.asked: set[str] = set()
        self.lacked = False
        """It asked for something that had not been brought along."""

    def variable_get(self, key: str) -> SecretValue | None:
        from execplane.contract.messages import SecretValue

        self.asked.add(key)
        self.lacked |= key not in self._variables
        return SecretValue(value=self._variables[key]) if key in self._variables else None


_current: list[Services] = [NoServices()]


def current() -> Services:
    """The services of the task that runs in this process."""
    return _current[-1]


@contextmanager
def use(services: Services) -> Iterator[None]:
    """Make `services` the current ones, for the whole process (tasks start threads of their own)."""
    _current.append(services)
    try:
        yield
    finally:
        _current.remove(services)
