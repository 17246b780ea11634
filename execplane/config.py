"""Every setting, declared once: type, default, meaning. Environment `EXECPLANE_…` (nested by `__`) over a TOML file.

An unknown or malformed key stops the start and names the key and the nearest right one. Secrets never print.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from execplane.config_kubernetes import Cluster, Kubernetes
from execplane.config_sections import (
    Deadlines,
    Failures,
    Local,
    Metrics,
    Parsing,
    Scheduler,
    Section,
    Waves,
    Web,
    Worker,
    comma_separated,
)
from execplane.contract.errors import ConfigError
from execplane.contract.executor_config import LOCAL_EXECUTORS
from execplane.contract.process import AUTHORS_PREFIXES

PREFIX = "EXECPLANE_"
EXECUTORS = (*LOCAL_EXECUTORS, "kubernetes")
"""The built-in ones; each of `clusters` is one more."""
_NOT_SETTINGS = (
    "EXECPLANE_TEST_",
    *AUTHORS_PREFIXES,
    "EXECPLANE_TOKEN_FILE",
    "EXECPLANE_BENCH_",
)
"""Prefixes that others read: test parts, Variables, Connections, the pod's token."""


class Config(Section):
    """The whole configuration. `home` holds everything that is not in the database."""

    home: Path = Field(Path("var"), description="folder for the database file, blobs, logs, secrets")
    dags_folders: list[Path] = Field([Path("dags")], description="folders of DAG files, separated by ':'")
    database_url: SecretStr = Field(SecretStr(""), description="postgresql://… or sqlite:///…; empty: in home")
    listen_url: SecretStr = Field(
        SecretStr(""), description="a direct postgresql://… for LISTEN beside pgbouncer; empty: database_url"
    )
    clusters: dict[str, Cluster] = Field(
        {},
        description="more kubernetes executors, by name; what one does not set is as in `kubernetes`, see "
        "docs/namespaces-and-clusters.md",
    )
    executor: str = Field("local", description="default executor: local, sequential, kubernetes, one of `clusters`")
    executors: list[str] = Field([], description="more executors that tasks may name, separated by ','")
    queue_executors: dict[str, str] = Field({}, description="queue -> executor")
    parallelism: int = Field(0, ge=0, description="most attempts in flight at once over all executors; 0: no limit")
    dags_are_paused_at_creation: bool = Field(True, description="new DAGs start paused")
    load_examples: bool = Field(False, description="also load the examples that come with execplane")
    secret_key: SecretStr = Field(SecretStr(""), description="signs sessions and tokens; empty: made in home")
    secret_key_fallbacks: list[SecretStr] = Field(
        [], description="older secret keys, newest first: what they signed is still accepted"
    )
    fernet_keys: list[SecretStr] = Field([], description="encrypt Variables and Connections, newest first")
    admin_password: SecretStr = Field(
        SecretStr(""), description="password of the user admin, whom the first standalone start makes; empty: random"
    )
    debug: bool = Field(False, description="Django's debug pages; never in production")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="level of our own log")
    log_json: bool = Field(False, description="our own log as JSON lines")
    kubernetes: Kubernetes = Kubernetes()
    local: Local = Local()
    worker: Worker = Worker()
    scheduler: Scheduler = Scheduler()
    failures: Failures = Failures()
    deadlines: Deadlines = Deadlines()
    waves: Waves = Waves()
    parsing: Parsing = Parsing()
    web: Web = Web()
    metrics: Metrics = Metrics()

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("dags_folders", mode="before")
    @classmethod
    def _split_folders(cls, value: Any) -> Any:
        return [part for part in value.split(":") if part] if isinstance(value, str) else value

    @field_validator("executors", "secret_key_fallbacks", "fernet_keys", mode="before")
    @classmethod
    def _split_commas(cls, value: Any) -> Any:
        return comma_separated(value)

    @field_validator("secret_key_fallbacks", "fernet_keys", mode="after")
    @classmethod
    def _no_empty_keys(cls, value: list[SecretStr]) -> list[SecretStr]:
        if not all(key.get_secret_value() for key in value):
            raise ValueError("one of the keys is empty, and anybody can sign with an empty key")
        return value

    @field_validator("clusters", mode="after")
    @classmethod
    def _new_names(cls, value: dict[str, Cluster]) -> dict[str, Cluster]:
        for name in value:
            if name in EXECUTORS:
                raise ValueError(f"{name!r} is an executor of its own. Choose another name")
            if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
                raise ValueError(f"{name!r} is not made of a-z, 0-9 and -, or is longer than 40")
        return value

    @field_validator("executor", "executors", "queue_executors", mode="after")
    @classmethod
    def _known_executors(cls, value: Any, info: ValidationInfo) -> Any:
        names = [value] if isinstance(value, str) else value.values() if isinstance(value, dict) else value
        known = (*EXECUTORS, *info.data.get("clusters", ()))
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                said = f"Did you mean {close[0]}?" if close else f"There are {', '.join(known)}."
                raise ValueError(f"there is no executor {name!r}. {said}")
        return value

    @field_validator("dags_folders", mode="after")
    @classmethod
    def _absolute_folders(cls, value: list[Path]) -> list[Path]:
        return [folder.expanduser().absolute() for folder in value]

    @property
    def web_url(self) -> str:
        """Where users and local workers reach the web server."""
        return self.web.url.rstrip("/") or f"http://{_reachable(self.web.host)}:{self.web.port}"

    @property
    def all_executors(self) -> tuple[str, ...]:
        """Names of the executors to run, the default one first."""
        named = [self.executor, *self.executors, *self.queue_executors.values(), *self.clusters]
        return tuple(dict.fromkeys(named))

    @property
    def pod_executors(self) -> tuple[str, ...]:
        """Those of them that make pods."""
        return tuple(name for name in self.all_executors if name not in LOCAL_EXECUTORS)

    def kubernetes_of(self, executor: str) -> Kubernetes:
        """The settings of this kubernetes executor. One that is no more is taken for `kubernetes`."""
        cluster = self.clusters.get(executor)
        return self.kubernetes if cluster is None else cluster.over(self.kubernetes)


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound


def keys(model: type[Section] = Config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting as (dotted name, pydantic field), sections opened."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def environment_name(dotted: str) -> str:
    """`kubernetes.namespace` -> `EXECPLANE_KUBERNETES__NAMESPACE`."""
    return PREFIX + dotted.upper().replace(".", "__")


def load(environ: Mapping[str, str], file: Path | None = None) -> Config:
    """Read the TOML file and the environment, which wins. Raises ConfigError naming the key."""
    values: dict[str, Any] = {}
    known = dict(keys())
    for dotted, value in _from_file(file, known):
        _put(values, dotted, value)
    for dotted, value in _from_environment(environ, known):
        _put(values, dotted, value)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        dotted, entry = _place(first["loc"], known)
        said = first["msg"].removeprefix("Value error, ").rstrip(".?") + ("?" if first["msg"].endswith("?") else ".")
        raise ConfigError(
            f"The setting {dotted} ({environment_name(dotted)}) is not valid: {entry}{said}",
            hint=f"`execplane config explain {dotted}` tells what it takes.",
        ) from None


def _place(loc: tuple[int | str, ...], known: Mapping[str, Any]) -> tuple[str, str]:
    """The setting's dotted name, and which of its entries is meant, as words: "entry 2, budget: "."""
    parts: list[str] = []
    while len(parts) < len(loc) and ".".join(parts) not in known:
        parts.append(str(loc[len(parts)]))
    inner = [f"entry {part + 1}" if isinstance(part, int) else part for part in loc[len(parts) :]]
    return ".".join(parts), f"{', '.join(inner)}: " if inner else ""


def _from_file(file: Path | None, known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if file is None or not file.exists():
        return
    try:
        data = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The settings file {file} cannot be read: {error}.") from None
    for dotted, value in _flatten(data, known):
        if dotted not in known:
            raise ConfigError(f"Unknown setting {dotted} in {file}.", hint=_nearest(dotted, known))
        yield dotted, value


def _flatten(data: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, dict) and dotted not in known:
            yield from _flatten(value, known, f"{dotted}.")
        else:
            yield dotted, value


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.startswith(_NOT_SETTINGS) or name == "EXECPLANE_CONFIG":
            continue
        dotted = name[len(PREFIX) :].lower().replace("__", ".")
        field = known.get(dotted)
        if field is None:
            raise ConfigError(f"Unknown setting {name} in the environment.", hint=_nearest(dotted, known))
        text = environ[name]
        yield dotted, _json(name, text) if text and _is_mapping(field) else text


def _is_mapping(field: Any) -> bool:
    """Whether a value in the environment is written as JSON: an object, or a list of them."""
    kind = next(iter(get_args(field.annotation)), None) if get_origin(field.annotation) is list else None
    return get_origin(field.annotation) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel))


def _json(name: str, text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"The setting {name} is not JSON: {error}.") from None


def _nearest(dotted: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]} ({environment_name(close[0])})?" if close else "See `execplane config list`."


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, name = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    # An empty environment variable means "unset": shells and Helm cannot always leave one out.
    if value != "":
        values[name] = value
    else:
        values.pop(name, None)


def settings_file(environ: Mapping[str, str]) -> Path:
    """The TOML file: EXECPLANE_CONFIG, else `execplane.toml` in home, which may be absent. Raises ConfigError."""
    named = environ.get("EXECPLANE_CONFIG")
    if named and not Path(named).is_file():
        raise ConfigError(f"EXECPLANE_CONFIG names {named}, and there is no such file.")
    return Path(named) if named else Path(environ.get("EXECPLANE_HOME") or "var") / "execplane.toml"


def sources(environ: Mapping[str, str], file: Path | None) -> dict[str, str]:
    """Where each setting that is set comes from: the environment variable's name or the file's. Others: default."""
    known = dict(keys())
    found = {dotted: str(file) for dotted, value in _from_file(file, known) if value != ""}
    for dotted, value in _from_environment(environ, known):
        if value != "":
            found[dotted] = environment_name(dotted)
        else:
            found.pop(dotted, None)
    return found


@cache
def current() -> Config:
    """The process's configuration: read once."""
    return load(os.environ, settings_file(os.environ))


def secret(config: Config, name: str) -> str:
    """A secret from the settings, else one made once and kept in home, readable by its owner only.

    name: "secret_key" or "fernet_key". Two first starts at once agree: the file is created exclusively.
    """
    given = config.secret_key if name == "secret_key" else (config.fernet_keys or [SecretStr("")])[0]
    if given.get_secret_value():
        return given.get_secret_value()
    path = config.home / "secrets" / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return _make_secret(path, name)


def signing_keys(config: Config) -> list[str]:
    """What verifies sessions and tokens; the first one signs. Never empty."""
    return [secret(config, "secret_key"), *(key.get_secret_value() for key in config.secret_key_fallbacks)]


def _make_secret(path: Path, name: str) -> str:
    if name == "fernet_key":
        from cryptography.fernet import Fernet

        value = Fernet.generate_key().decode()
    else:
        value = secrets.token_urlsafe(48)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{name}.{os.getpid()}.{secrets.token_hex(4)}")
        with open(os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
            file.write(value)
        try:
            os.link(temporary, path)
        except FileExistsError:
            value = path.read_text().strip()
        finally:
            temporary.unlink()
    except OSError as error:
        raise ConfigError(
            f"The secret {name} cannot be kept in {path.parent}: {error.strerror}.",
            hint=f"Make the folder writable, or set {environment_name('secret_key')}.",
        ) from None
    return value
