"""The conf of a manual run, checked against the DAG's params: a bad value is refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from execplane.contract.dag import ParamSpec
from execplane.contract.errors import InvalidInput
from execplane.store.texts import json_has_nul

MOST_CONF_BYTES = 1 << 20
_HINT = "The DAG file declares what its params take; `execplane dags show DAG_ID` lists them."


def merge_conf(params: Mapping[str, ParamSpec], conf: Any) -> dict[str, Any]:
    """Give the conf back when it is a JSON object whose known keys fit their params' schemas; unknown keys enter.

    Raises InvalidInput naming the param.
    """
    if not isinstance(conf, dict):
        raise InvalidInput("A run's conf is a JSON object.", hint='For example {"table": "orders"}.')
    try:
        encoded = json.dumps(conf, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"The conf is not JSON: {error}.") from None
    if len(encoded) > MOST_CONF_BYTES:
        raise InvalidInput(f"The conf has {len(encoded)} bytes; {MOST_CONF_BYTES} are the most.")
    if json_has_nul(encoded):
        raise InvalidInput("The conf has a NUL character in it, which cannot be stored.")
    for name, param in params.items():
        _check(name, param, conf)
    return conf


def _check(name: str, param: ParamSpec, conf: Mapping[str, Any]) -> None:
    if name not in conf and not param.has_default:
        raise InvalidInput(f"The param {name} has no default: give it a value.", hint=_HINT)
    value = conf.get(name, param.default)
    try:
        problem = next(iter(Draft202012Validator(param.schema).iter_errors(value)), None)
    except SchemaError as error:
        raise InvalidInput(f"The schema of the param {name} is not valid: {error.message}.") from None
    if problem is not None:
        raise InvalidInput(f"The param {name} does not fit: {problem.message}.", hint=_HINT)
