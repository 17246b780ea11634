"""FileSensor: waits for a file, or for any file in a folder."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from execplane.sdk.connections import Connection
from execplane.sdk.exceptions import AirflowNotFoundException
from execplane.sdk.sensors.base import BaseSensorOperator

if TYPE_CHECKING:
    from execplane.sdk.context import Context

_DEFAULT_CONNECTION = "fs_default"


class FileSensor(BaseSensorOperator):
    """Done when `filepath` (a path or a glob pattern) is a file, or a folder that holds one.

    `fs_conn_id` names a Connection whose extra has a "path" that a relative filepath is under.
    """

    template_fields: Sequence[str] = ("filepath",)

    def __init__(
        self, *, filepath: Any, fs_conn_id: str = _DEFAULT_CONNECTION, recursive: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.filepath = filepath
        self.fs_conn_id = fs_conn_id
        self.recursive = recursive

    def _base_path(self) -> str:
        try:
            return str(Connection.get(self.fs_conn_id).extra_dejson.get("path", ""))
        except AirflowNotFoundException:
            if self.fs_conn_id == _DEFAULT_CONNECTION:
                return ""
            raise

    def poke(self, context: Context) -> bool:
        pattern = os.path.join(self._base_path(), os.fspath(self.filepath))
        self.log.info("Poking for file %s", pattern)
        for path in glob.glob(pattern, recursive=self.recursive):
            if os.path.isfile(path):
                self.log.info("Found File %s", path)
                return True
            if any(files for _, _, files in os.walk(path)):
                return True
        return False
