"""The process that outlives a killed test run and leaves nothing of it behind.

Run as a program of its own (`supervisor.py` starts it), standard library only. Its standard input is a pipe that
only the test process holds open: when that closes, for whatever reason, everything ends. Commands are JSON lines.

Without namespaces it is the subreaper of all that it starts, so that no grandchild escapes by daemonising. With
namespaces (`--namespaces`, needs root) a second reaper runs as process 1 of new mount, network and pid namespaces:
when it ends, the kernel itself kills every process in there (containers included) and drops every mount, bridge
and iptables rule. Then the first one removes what no namespace holds: cgroups, kernel settings, the folder.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
GRACE_SECONDS = 5.0
OUTSIDE_FILE = "outside.json"


class Children:
    """Named children in process groups of their own, and everybody below them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pids: dict[str, int] = {}
        # Kept so that subprocess never collects a dropped object's child behind our back.
        self.processes: list[subprocess.Popen[bytes]] = []
        self.signals: dict[str, int] = {}
        self.ended: dict[int, int] = {}

    def start(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["name"]
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                request["argv"],
                env={**clean_environment(), **request["environment"]},
                cwd=request["cwd"] or self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=hear_of_children,
            )
        self.processes.append(process)
        self.pids[name] = process.pid
        self.signals[name] = request["stop_signal"]
        return {"pid": process.pid}

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a short command to its end, within the same namespaces."""
        done = subprocess.run(
            request["argv"],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=request["timeout"],
            check=False,
        )
        return {"status": done.returncode, "output": done.stdout.decode(errors="replace")}

    def status(self, request: dict[str, Any]) -> dict[str, Any]:
        self.collect()
        return {"status": self.ended.get(self.pids[request["name"]])}

    def signal(self, request: dict[str, Any]) -> dict[str, Any]:
        self.kill_group(self.pids[request["name"]], request["signal"])
        return {}

    def stop(self, request: dict[str, Any]) -> dict[str, Any]:
        pid = self.pids[request["name"]]
        self.kill_group(pid, self.signals[request["name"]])
        if not self.wait(pid, request["grace"]):
            self.kill_group(pid, signal.SIGKILL)
            self.wait(pid, GRACE_SECONDS)
        return {"status": self.ended.get(pid)}

    def collect(self) -> None:
        """Reap every zombie, adopted orphans included, and remember how each ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.ended[pid] = os.waitstatus_to_exitcode(status)

    def wait(self, pid: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while True:
            self.collect()
            if pid in self.ended:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            signal.sigtimedwait({signal.SIGCHLD}, min(left, 0.2))

    def kill_group(self, pid: int, number: int) -> None:
        self.collect()
        if pid not in self.ended:
            os.killpg(pid, number)

    def end(self) -> None:
        """Stop all in the reverse order of their start, each its own way, then whatever is left below us."""
        for name in reversed(self.pids):
            self.stop({"name": name, "grace": GRACE_SECONDS})
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := descendants(os.getpid())) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            self.collect()


def hear_of_children() -> None:
    """Undo for a server what `main` does to this process; safe before exec, as there is only one thread."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def clean_environment() -> dict[str, str]:
    """Without proxies: these servers talk only to each other."""
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


def descendants(root: int) -> list[int]:
    """Every process below `root` that still runs, by /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    level = [root]
    while level:
        level = [child for parent in level for child in children.get(parent, [])]
        found.extend(level)
    return found


def serve(children: Children, owner: int | None) -> None:
    """Answer commands until the owner's pipe closes or the owner is dead."""
    watched = [sys.stdin.fileno(), *([owner] if owner is not None else [])]
    pending = b""
    while True:
        ready, _, _ = select.select(watched, [], [], 1.0)
        children.collect()
        if owner in ready:
            break
        if sys.stdin.fileno() not in ready:
            continue
        data = os.read(sys.stdin.fileno(), 65536)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            answer(children, json.loads(line))


def answer(children: Children, request: dict[str, Any]) -> None:
    verbs = {verb: getattr(children, verb) for verb in ("start", "call", "status", "signal", "stop")}
    try:
        reply = verbs[request["verb"]](request)
    except (OSError, KeyError, subprocess.SubprocessError) as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    try:
        os.write(1, json.dumps(reply).encode() + b"\n")
    except BrokenPipeError:
        # The owner died between asking and hearing: the closed input ends the loop.
        return


def watch_namespaces(folder: Path, owner: int) -> None:
    """Run the inner reaper; it shares our pipes, so its end is the owner's wish or the owner's death."""
    flags = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    program = [sys.executable, "-I", __file__, "--inside", str(folder)]
    inner = subprocess.Popen(["unshare", *flags, *program])
    inner_handle = os.pidfd_open(inner.pid)
    # The only line of our own: process 1 of the namespaces, as seen from the host.
    os.write(1, json.dumps({"pid": first_child(inner.pid)}).encode() + b"\n")
    os.close(0)
    ready, _, _ = select.select([owner, inner_handle], [], [])
    if inner_handle not in ready:
        select.select([inner_handle], [], [], 2 * GRACE_SECONDS)
        inner.kill()
    inner.wait()


def first_child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if numbers := children.read_text().split():
            return int(numbers[0])
        signal.sigtimedwait({signal.SIGCHLD}, 0.01)
    raise TimeoutError("unshare started nothing: does this container lack CAP_SYS_ADMIN?")


def clean_up(folder: Path) -> None:
    """Remove what outlives processes: mounts and the folder, and what the owner listed in OUTSIDE_FILE."""
    outside = folder / OUTSIDE_FILE
    listed = json.loads(outside.read_text()) if outside.exists() else {}
    for name in listed.get("cgroups", []):
        remove_cgroups(name)
    for setting, value in listed.get("kernel_settings", {}).items():
        Path(setting).write_text(value)
    for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if mount.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", mount.split()[1]], check=False)
    shutil.rmtree(folder, ignore_errors=True)


def remove_cgroups(name: str) -> None:
    """Remove the tree of that name in every hierarchy; the kernel frees an emptied group with some delay."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    deadline = time.monotonic() + GRACE_SECONDS
    for top in [root / name for root in roots if (root / name).is_dir()]:
        while top.exists() and time.monotonic() < deadline:
            for path in sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True):
                quietly_remove(path)
            if not quietly_remove(top):
                signal.sigtimedwait({signal.SIGCHLD}, 0.1)


def quietly_remove(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def main(mode: str, folder: Path, owner_pid: int | None) -> None:
    # Blocked, so that it can be waited for with a timeout instead of polling.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    children = Children(folder)
    if mode == "--inside":
        # The kernel kills the rest of these namespaces with their process 1.
        serve(children, None)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert owner_pid is not None
    owner = os.pidfd_open(owner_pid)
    try:
        if mode == "--namespaces":
            watch_namespaces(folder, owner)
        else:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            serve(children, owner)
            children.end()
    finally:
        clean_up(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
