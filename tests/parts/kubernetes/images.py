"""Images without Docker and without a registry: a Debian base with Python, and the project's own on top of it."""

from __future__ import annotations

import os
import platform
import subprocess
import tomllib
from pathlib import Path

from tests.parts import debian
from tests.parts.cache import cache_folder, locked, part

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "ca-certificates")
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
TOOLS = {"mmdebstrap": "mmdebstrap", "buildah": "buildah"}

BASE_NAME = "execplane-base:test"
WORKER_NAME = "execplane-worker:test"
REPOSITORY = Path(__file__).parents[3]
SOURCE_FILES = ("Dockerfile", ".dockerignore", "pyproject.toml", "requirements.lock", "README.md", "LICENSE")
# An archive of the worker's image is large, and every change of the sources makes another one.
KEEP_WORKER_SECONDS = 6 * 3600

BASE_FILE = """\
FROM scratch
ADD base.tar /
ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8
CMD ["sleep", "infinity"]
"""


def base_image() -> Path:
    """A docker archive of the base image: Debian with Python and little else."""
    inputs = [SUITE, *PACKAGES, *LEFT_OUT, BASE_FILE, platform.machine()]
    return part("base-image", inputs, _build_base)


def worker_image() -> Path:
    """A docker archive of the project's image, by the repository's own Dockerfile."""
    base = base_image()
    sources = _package_sources()
    names = [str(path.relative_to(REPOSITORY)) for path in sources]

    def build(target: Path) -> None:
        arguments = ["--build-arg", f"BASE_IMAGE=docker-archive:{base}"]
        _build_image(REPOSITORY, REPOSITORY / "Dockerfile", arguments, target, WORKER_NAME)

    inputs: list[str | Path] = [base.name, *names, *sources]
    return part("worker-image", inputs, build, keep_unused_seconds=KEEP_WORKER_SECONDS)


def _package_sources() -> list[Path]:
    """Every file that goes into the image: pyproject.toml knows which folders the wheel has."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = [REPOSITORY / name for name in SOURCE_FILES]
    for folder in [*wheel["packages"], *wheel.get("force-include", {})]:
        sources += sorted(path for path in (REPOSITORY / folder).rglob("*") if _is_source(path))
    return sources


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _build_base(target: Path) -> None:
    debian.require(TOOLS)
    folder = target.with_name(f"{target.name}-folder")
    folder.mkdir()
    try:
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *options]
        subprocess.run([*command, SUITE, str(folder / "base.tar"), *_mirror()], check=True)
        (folder / "Dockerfile").write_text(BASE_FILE)
        _build_image(folder, folder / "Dockerfile", [], target, BASE_NAME)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def _mirror() -> list[str]:
    """The machine's own sources where it is the same Debian; else mmdebstrap knows the public mirror."""
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    release = platform.freedesktop_os_release()
    return [str(sources)] if release.get("VERSION_CODENAME") == SUITE and sources.exists() else []


def _build_image(context: Path, file: Path, arguments: list[str], target: Path, name: str) -> None:
    """Build with the layers of earlier builds and write a docker archive to `target`."""
    debian.require(TOOLS)
    with locked("buildah"):
        build = ["bud", "--quiet", "--isolation", "chroot", "--layers", "--format", "docker", *_host_files()]
        _buildah(*build, *arguments, "--file", str(file), "--tag", name, str(context))
        _buildah("push", "--quiet", name, f"docker-archive:{target}:{name}")


def _host_files() -> list[str]:
    """What RUN steps need of this machine to install packages: its certificates and its pip settings."""
    places = {"/etc/ssl/certs/ca-certificates.crt": "/etc/ssl/certs/ca-certificates.crt"}
    for settings in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf", Path("/etc/pip.conf")):
        if settings.exists():
            places[str(settings)] = "/etc/pip.conf"
            break
    mounts = [f"{source}:{target}:ro" for source, target in places.items() if Path(source).exists()]
    return [argument for mount in mounts for argument in ("--volume", mount)]


def _buildah(*arguments: str) -> None:
    storage = cache_folder() / "buildah"
    roots = ["--root", str(storage / "root"), "--runroot", str(storage / "run"), "--storage-driver", "overlay"]
    # In a mount namespace of its own: buildah leaves its storage mounted onto itself.
    command = ["unshare", "--mount", "buildah", *roots, *arguments]
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
