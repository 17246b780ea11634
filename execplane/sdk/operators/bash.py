"""BashOperator: a command in a process group of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, ClassVar

from execplane.sdk import masking
from execplane.sdk.exceptions import AirflowException, AirflowSkipException, AirflowTaskTerminated
from execplane.sdk.operator import BaseOperator

if TYPE_CHECKING:
    import subprocess

    from execplane.sdk.context import Context


class BashOperator(BaseOperator):
    """Runs `bash_command`; the last line that it prints (stdout and stderr together) is the result.

    Exit code 99 (`skip_on_exit_code`) skips the task; any other but 0 fails it. `env` replaces the environment, with
    `append_env` it is added to it. A command that ends in .sh or .bash is a template file. Without `cwd` it runs in a
    fresh folder, which is removed afterwards.
    """

    template_fields: Sequence[str] = ("bash_command", "env", "cwd")
    template_ext: Sequence[str] = (".sh", ".bash")
    template_fields_renderers: ClassVar[dict[str, str]] = {"bash_command": "bash", "env": "json"}
    ui_color = "#f0ede4"

    def __init__(
        self,
        *,
        bash_command: Any,
        env: Any = None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code: int | Sequence[int] | None = 99,
        cwd: str | None = None,
        output_processor: Callable[[str], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = bash_command
        self.env = env
        self.append_env = append_env
        self.output_encoding = output_encoding
        codes = [] if skip_on_exit_code is None else skip_on_exit_code
        self.skip_on_exit_code = [codes] if isinstance(codes, int) else list(codes)
        self.cwd = cwd
        self.output_processor = output_processor
        self._process: subprocess.Popen[bytes] | None = None
        self._term_seconds = _TERM_SECONDS

    def execute(self, context: Context) -> Any:
        if not isinstance(self.bash_command, str):
            raise AirflowException(f"bash_command is {self.bash_command!r} after rendering, and must be text.")
        if self.cwd is not None and not os.path.isdir(self.cwd):
            raise AirflowException(f"cwd {self.cwd!r} is not a folder here.", hint="Create it in the worker's image.")
        with self._folder() as folder:
            last = self._run(context, folder)
        return self.output_processor(last) if self.output_processor is not None else last

    @contextmanager
    def _folder(self) -> Iterator[str]:
        """`cwd`, else a new one, as in Airflow: in the worker's own folder tasks would meet each other's files."""
        if self.cwd is not None:
            yield self.cwd
            return
        import tempfile

        try:
            made = tempfile.TemporaryDirectory(prefix="airflowtmp", ignore_cleanup_errors=True)
        except OSError as error:
            raise AirflowException(
                f"No temporary folder can be made for the command: {error.strerror}.",
                hint="Give it a cwd=..., or the worker a folder to write to (an emptyDir at /tmp, or TMPDIR).",
            ) from error
        with made as folder:
            yield folder

    def _environment(self, context: Context) -> dict[str, str]:
        base = os.environ.copy() if self.env is None or self.append_env else {}
        for name, value in (self.env or {}).items():
            if not isinstance(value, str):
                raise AirflowException(f"env[{name!r}] is {value!r}, and must be text.", hint="Write it in quotes.")
            base[name] = value
        return {**base, **context.airflow_variables()}

    def _run(self, context: Context, folder: str) -> str:
        import shutil
        import subprocess

        bash = shutil.which("bash")
        if bash is None:
            raise AirflowException("There is no bash here.", hint="Install bash in the worker's image.")
        # Masked before it is quoted: quoting changes a secret that has quotes or line ends in it.
        self.log.info("Running command: %s", masking.mask_value([bash, "-c", self.bash_command]))
        # A group of its own, so that on_kill reaches the command's children; in the worker's session still, so
        # that whoever kills the worker outright can find it.
        self._process = process = subprocess.Popen(
            [bash, "-c", self.bash_command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=self._environment(context),
            process_group=0,
        )
        lines = process.stdout
        assert lines is not None
        try:
            last = self._log_lines(lines)
            code = process.wait()
            self._process = None
            lines.close()
        except BaseException as error:
            if isinstance(error, AirflowTaskTerminated):
                # Told to stop: the grace is for the command's clean-up, and ends in a SIGKILL to us all.
                self._term_seconds = max(_TERM_SECONDS, context.claim.grace_seconds * _SHARE_OF_GRACE)
            self._end(process, lines)
            raise
        self.log.info("Command exited with return code %s", code)
        if code in self.skip_on_exit_code:
            raise AirflowSkipException(f"Bash command returned exit code {code}. Skipping.")
        if code != 0:
            how = f"was ended by {_signal_name(-code)}" if code < 0 else f"returned the exit code {code}"
            raise AirflowException(
                f"Bash command failed. The command {how}.",
                hint=f"Its last line was: {last[:500]}" if last else "",
            )
        return last

    def _log_lines(self, lines: IO[bytes]) -> str:
        """Log them until nobody holds the other end any more; gives the last one."""
        last = ""
        for raw in lines:
            last = raw.decode(self.output_encoding, errors="backslashreplace").rstrip()
            self.log.info("%s", last)
        return last

    def _end(self, process: subprocess.Popen[bytes], lines: IO[bytes]) -> None:
        """End the command, and log what it says meanwhile: without a reader its clean-up would die of SIGPIPE."""

        def log_the_rest() -> None:
            with lines:
                self._log_lines(lines)

        rest = threading.Thread(target=log_the_rest, daemon=True)
        rest.start()
        self.on_kill()
        rest.join(_REST_SECONDS)  # not for ever: what has left the group may hold the pipe
        self.log.info("Command exited with return code %s", process.returncode)

    def on_kill(self) -> None:
        """SIGTERM to the command's whole group, SIGKILL to what is left after a moment."""
        import subprocess

        process = self._process
        if process is None:
            return
        pause, deadline = threading.Event(), time.monotonic() + self._term_seconds
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=self._term_seconds)
            # A bash without a trap dies at once; its children may clean up, too.
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                pause.wait(_LOOK_SECONDS)
        except (ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            pass  # not permitted: only processes of another user are left (sudo), and we may not signal them
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        else:
            process.wait()
        finally:
            self._process = None  # the number may belong to others from now on


_TERM_SECONDS = 5.0
_SHARE_OF_GRACE = 2 / 3
_LOOK_SECONDS = 0.05
_REST_SECONDS = 1.0
"""For the last lines of what was killed."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
