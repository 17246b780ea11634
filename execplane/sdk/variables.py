"""`Variable`: deployment-wide settings of the authors'. The environment wins over the store."""

from __future__ import annotations

import json
import os
from typing import Any

from execplane.sdk import masking, services
from execplane.sdk.exceptions import VariableNotFound

_UNSET: Any = object()
_PREFIXES = ("EXECPLANE_VAR_", "AIRFLOW_VAR_")


class Variable:
    """Read and write Variables, as Airflow's class of this name does."""

    @staticmethod
    def get(key: str, default_var: Any = _UNSET, deserialize_json: bool = False, *, default: Any = _UNSET) -> Any:
        """The Variable's text (or JSON value). A missing one gives the default, else VariableNotFound (a KeyError).

        EXECPLANE_VAR_<KEY> and AIRFLOW_VAR_<KEY> come before the store.
        """
        text = _from_environment(key)
        if text is None:
            found = services.current().variable_get(key)
            text = None if found is None else found.value
        if text is not None:
            masking.learn_variable(key, text)
            return json.loads(text) if deserialize_json else text
        fallback = default if default is not _UNSET else default_var
        if fallback is _UNSET:
            raise VariableNotFound(
                f"Variable {key!r} does not exist.",
                hint="Create it, set AIRFLOW_VAR_" + key.upper() + ", or give default_var.",
            )
        return fallback

    @staticmethod
    def set(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Create or overwrite the Variable."""
        from execplane.contract.messages import SecretValue

        text = json.dumps(value, indent=2) if serialize_json else str(value)
        services.current().variable_set(key, SecretValue(value=text, description=description or ""))

    @staticmethod
    def delete(key: str) -> None:
        """Remove the Variable; a missing one is no error."""
        services.current().variable_delete(key)

    @classmethod
    def setdefault(cls, key: str, default: Any, description: str | None = None, deserialize_json: bool = False) -> Any:
        """The Variable's value; a missing one is created with `default` first."""
        found = cls.get(key, default_var=None, deserialize_json=deserialize_json)
        if found is not None:
            return found
        cls.set(key, default, description=description, serialize_json=deserialize_json)
        return default


def _from_environment(key: str) -> str | None:
    for prefix in _PREFIXES:
        found = os.environ.get(prefix + key.upper())
        if found is not None:
            return found
    return None
