"""What a task reaches of the outside under `dags test`: XComs and Variables in memory, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from execplane.contract.messages import SecretValue, XComPull, XComValue, XComValues


class MemoryServices:
    """The sdk's Services. Variables and Connections come from AIRFLOW_VAR_… and AIRFLOW_CONN_…, which the sdk reads
    first. `own` is the instance that runs."""

    def __init__(self, dag_id: str, run_id: str, mapped_lengths: Callable[[], dict[str, int]]) -> None:
        self._run = (dag_id, run_id)
        self._mapped_lengths = mapped_lengths
        self._xcoms: dict[tuple[str, int, str], XComValue] = {}
        self._variables: dict[str, SecretValue] = {}
        self.own: tuple[str, int] = ("", -1)

    def forget(self, task_id: str, map_index: int) -> None:
        """A new try begins without the XComs of the one before."""
        self._xcoms = {at: value for at, value in self._xcoms.items() if at[:2] != (task_id, map_index)}

    def keep(self, task_id: str, map_index: int, values: Iterable[XComValue]) -> None:
        for value in values:
            self._xcoms[(task_id, map_index, value.key)] = value

    def xcom_pull(self, request: XComPull) -> XComValues:
        """Only this run exists, so other DAGs and runs have pushed nothing."""
        if (request.dag_id or self._run[0], request.run_id or self._run[1]) != self._run:
            return XComValues(values=())
        task_ids = request.task_ids or (self.own[0],)
        found = [
            value
            for task_id in task_ids
            for (owner, index, key), value in sorted(self._xcoms.items(), key=lambda item: item[0])
            if owner == task_id and request.key in ("", key) and request.map_index in (None, index)
        ]
        mapped = self._mapped_lengths()
        return XComValues(values=tuple(found), mapped_task_ids=tuple(id for id in task_ids if id in mapped))

    def xcom_push(self, values: tuple[XComValue, ...]) -> None:
        self.keep(*self.own, values)

    def variable_get(self, key: str) -> SecretValue | None:
        return self._variables.get(key)

    def variable_set(self, key: str, value: SecretValue) -> None:
        self._variables[key] = value

    def variable_delete(self, key: str) -> None:
        self._variables.pop(key, None)

    def connection_get(self, conn_id: str) -> SecretValue | None:
        return None
