"""`execplane standalone` as a process, for tests that use the product as a person does: command line and HTTP."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.parts.eventually import eventually, scaled
from tests.parts.leftovers import marked_environment
from tests.parts.ports import free_ports

COMMAND = str(Path(sys.executable).parent / "execplane")
PASSWORD = "correct-horse-battery"


class Standalone:
    """One home, one process at a time; `start` after `kill` continues on the same home and port."""

    def __init__(self, home: Path, dags: Path, **settings: str) -> None:
        self.home = home
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("EXECPLANE_")}
        # Users' Pythons keep bytecode; without it every command compiles all it imports.
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        self.environment = {
            **inherited,
            **marked_environment(),
            "EXECPLANE_HOME": str(home),
            "EXECPLANE_DAGS_FOLDERS": str(dags),
            "EXECPLANE_WEB__PORT": str(self.port),
            "EXECPLANE_DAGS_ARE_PAUSED_AT_CREATION": "false",
            "EXECPLANE_ADMIN_PASSWORD": PASSWORD,
            **{f"EXECPLANE_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home.parent / f"{home.name}.log"
        self._opener: urllib.request.OpenerDirector | None = None

    def start(self) -> None:
        """The kernel kills it when the tests are killed: no test run leaves one behind. A shell that runs the tests in
        the background has them ignore SIGINT; it is to mean what it does in a terminal."""
        command = ["setpriv", "--pdeathsig", "KILL", "env", "--default-signal=INT", COMMAND, "standalone"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        eventually(self._answers, timeout_seconds=60, on_failure=self.tail)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"standalone ended with {self.process.returncode}:\n{self.tail()}")
        try:
            with urllib.request.urlopen(f"{self.url}/login", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def tail(self, lines: int = 80) -> str:
        """The end of the process's own log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(timeout=scaled(60))
        self.process = None

    def run(self, *words: str, ok: bool = True, timeout_seconds: float = 120) -> str:
        """`execplane WORDS…` in this deployment; gives its standard output."""
        done = subprocess.run(
            [COMMAND, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=scaled(timeout_seconds),
            check=False,
        )
        if ok and done.returncode:
            raise AssertionError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}\n{self.tail()}")
        return done.stdout if ok else f"{done.stdout}\n{done.stderr}"

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--output", "json"))

    def get(self, path: str) -> str:
        """A page as the logged-in admin sees it."""
        if self._opener is None:
            self._opener = self._log_in()
        with self._opener.open(self.url + path, timeout=scaled(30)) as answer:
            return str(answer.read().decode())

    def post(self, path: str, **fields: str) -> None:
        """Send the form that the page at `path` shows, as the logged-in admin."""
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(path))
        assert found, f"{path} shows no form"
        assert self._opener is not None
        data = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": found[1]}).encode()
        request = urllib.request.Request(self.url + path, data, headers={"Referer": self.url + path})
        self._opener.open(request, timeout=scaled(30)).close()

    def _log_in(self) -> urllib.request.OpenerDirector:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        form = opener.open(f"{self.url}/login", timeout=30).read().decode()
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert found, "the login page has no CSRF token"
        fields = {"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": found[1]}
        request = urllib.request.Request(
            f"{self.url}/login", urllib.parse.urlencode(fields).encode(), headers={"Referer": f"{self.url}/login"}
        )
        with opener.open(request, timeout=30) as answer:
            assert "/login" not in answer.url, "the login was refused"
        return opener
