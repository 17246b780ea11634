"""The logger of operators, hooks and callbacks: children of one name, which the worker's handler listens to."""

from __future__ import annotations

import logging

TASK_LOGGER = "execplane.task"


class LoggingMixin:
    """Gives `self.log`, as Airflow's mixin of this name does."""

    _logger_name: str = ""

    @property
    def log(self) -> logging.Logger:
        name = self._logger_name or f"{TASK_LOGGER}.{type(self).__module__}.{type(self).__qualname__}"
        return logging.getLogger(name)
