"""Programs that come from Debian or Ubuntu: found where they are, installed by apt-get when we may."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.parts.cache import PartUnavailableError, locked, report


def program(name: str) -> Path | None:
    """The program's path; the sbin folders count even where a login's PATH lacks them."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def require(packages: Mapping[str, str]) -> None:
    """Make sure of every package of `package -> the program or absolute path (wildcards allowed) it brings`."""
    if not _missing(packages):
        return
    with locked("apt"):
        missing = _missing(packages)
        if not missing:
            return
        names = " ".join(missing)
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise PartUnavailableError(f"missing programs; run: sudo apt-get install -y {names}")
        if not _install(missing):
            _apt("update")
            if not _install(missing) or _missing(packages):
                raise PartUnavailableError(f"apt-get could not install: {names}; install them by hand")
        report(f"packages installed: {names}")


def _missing(packages: Mapping[str, str]) -> list[str]:
    return [package for package, brings in packages.items() if not _present(brings)]


def _present(brings: str) -> bool:
    return bool(glob.glob(brings)) if brings.startswith("/") else program(brings) is not None


def _install(names: list[str]) -> bool:
    return _apt("install", "-y", "--no-install-recommends", *names)


def _apt(*arguments: str) -> bool:
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode == 0
