"""BashOperator: a command in a process group of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from execplane.sdk.exceptions import AirflowException, AirflowSkipException
from execplane.sdk.operator import BaseOperator

if TYPE_CHECKING:
    import subprocess

    from execplane.sdk.context import Context


class BashOperator(BaseOperator):
    """Runs `bash_command`; the last line that it prints (stdout and stderr together) is the result.

    Exit code 99 (`skip_on_exit_code`) skips the task; any other but 0 fails it. `env` replaces the environment, with
    `append_env` it is added to it. A command that ends in .sh or .bash is a template file.
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

    def execute(self, context: Context) -> Any:
        if not isinstance(self.bash_command, str):
            raise AirflowException(f"bash_command is {self.bash_command!r} after rendering, and must be text.")
        if self.cwd is not None and not os.path.isdir(self.cwd):
            raise AirflowException(f"cwd {self.cwd!r} is not a folder here.", hint="Create it in the worker's image.")
        last = self._run(context)
        return self.output_processor(last) if self.output_processor is not None else last

    def _environment(self, context: Context) -> dict[str, str]:
        base = os.environ.copy() if self.env is None or self.append_env else {}
        for name, value in (self.env or {}).items():
            if not isinstance(value, str):
                raise AirflowException(f"env[{name!r}] is {value!r}, and must be text.", hint="Write it in quotes.")
            base[name] = value
        return {**base, **context.airflow_variables()}

    def _run(self, context: Context) -> str:
        import shutil
        import subprocess

        bash = shutil.which("bash")
        if bash is None:
            raise AirflowException("There is no bash here.", hint="Install bash in the worker's image.")
        # A group of its own, so that on_kill reaches the command's children; in the worker's session still, so
        # that whoever kills the worker outright can find it.
        self._process = process = subprocess.Popen(
            [bash, "-c", self.bash_command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.cwd,
            env=self._environment(context),
            process_group=0,
        )
        last = ""
        try:
            assert process.stdout is not None
            with process.stdout as lines:
                for raw in lines:
                    last = raw.decode(self.output_encoding, errors="backslashreplace").rstrip()
                    self.log.info("%s", last)
            code = process.wait()
            self._process = None
        except BaseException:
            self.on_kill()
            raise
        if code in self.skip_on_exit_code:
            raise AirflowSkipException(f"Bash command returned exit code {code}. Skipping.")
        if code != 0:
            how = f"was ended by {_signal_name(-code)}" if code < 0 else f"returned the exit code {code}"
            raise AirflowException(
                f"Bash command failed. The command {how}.",
                hint=f"Its last line was: {last[:500]}" if last else "",
            )
        return last

    def on_kill(self) -> None:
        """SIGTERM to the command's whole group, SIGKILL to what is left after a moment."""
        import subprocess

        process = self._process
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=_TERM_SECONDS)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
        else:
            process.wait()
        finally:
            self._process = None  # the number may belong to others from now on


_TERM_SECONDS = 5.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
