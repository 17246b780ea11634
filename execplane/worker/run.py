"""One attempt, from the claim to its acknowledged end.

fork -> claim (the fence) -> DAG files -> supervise -> report. Each call may have its answer lost and is repeated: the
claim under the same nonce, the end under the same nonce, log lines under the same offsets. The task's process is forked
first, while there is little to copy, gets itself ready and waits for its briefing: no code of the author's runs before
the claim.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from execplane import __version__
from execplane.contract.clock import Clock
from execplane.contract.errors import ExecplaneError
from execplane.contract.logs import LogRecord
from execplane.contract.messages import ClaimAnswer, ClaimRequest, End, EndAnswer, ErrorInfo, Verdict
from execplane.contract.process import ExitCode
from execplane.contract.workload import WorkerStart
from execplane.worker import bundles, termination
from execplane.worker.channel import Channel, ChildEnd, Result
from execplane.worker.child import UserCode, Work, adopt_orphans, error_info, task_main
from execplane.worker.client import Client, Fenced, Refused, Unreachable
from execplane.worker.endings import Death, conclude, exit_code
from execplane.worker.heartbeat import Courier
from execplane.worker.logs import LogBook
from execplane.worker.options import WorkerOptions
from execplane.worker.supervisor import Seen, Signals, Supervisor

POD_SIGTERM = "terminated by SIGTERM, because the pod was deleted or evicted, or its node is drained"
PROCESS_SIGTERM = "terminated by SIGTERM"
_SDK_USER_CODE = "execplane.worker.usercode"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who this process is: for the claim, and for what its log says about a SIGTERM."""

    uid: str
    """The pod's uid, or the process's."""
    hostname: str
    in_pod: bool = False


def run_attempt(
    start: WorkerStart,
    *,
    launch_token: Callable[[], str],
    identity: Identity,
    options: WorkerOptions,
    clock: Clock,
    user_code: UserCode | None = None,
) -> ExitCode:
    """Run the attempt in this process and children of it; returns what the process should exit with."""
    adopt_orphans()
    return _Attempt(start, launch_token, identity, options, clock, user_code).run()


class _Attempt:
    def __init__(
        self,
        start: WorkerStart,
        launch_token: Callable[[], str],
        identity: Identity,
        options: WorkerOptions,
        clock: Clock,
        user_code: UserCode | None,
    ) -> None:
        self._start = start
        self._identity = identity
        self._options = options
        self._clock = clock
        self._user_code = user_code
        self._nonce = secrets.token_hex(16)
        self._signals = Signals()
        self._token = ""
        self._channel = Channel(self._token)
        self._courier: Courier
        self._book: LogBook
        self._claimed = False
        # One connection for all: the claim's goes on to serve heartbeats, log lines and the end.
        self._client = Client(
            start.api_url,
            lambda: self._token or launch_token(),
            clock=clock,
            wait=self._pause,
            timeout_seconds=options.request_timeout_seconds,
            backoff_first_seconds=options.backoff_first_seconds,
            backoff_cap_seconds=options.backoff_cap_seconds,
        )
        self._found = ""
        self._ending = False
        self._sigterm_reason = POD_SIGTERM if identity.in_pod else PROCESS_SIGTERM

    def run(self) -> ExitCode:
        self._waiting_pid = self._fork()
        try:
            return self._run()
        finally:
            self._dismiss()
            self._channel.close()

    def _run(self) -> ExitCode:
        claim = self._claim()
        if isinstance(claim, ExitCode):
            return claim
        self._renew(claim.token)
        self._book = LogBook(
            Path(self._options.work_dir, "logs", f"{self._start.attempt_id}-{self._nonce}.jsonl"),
            clock=self._clock,
            memory_bytes=self._options.log_memory_bytes,
            line_bytes=self._options.log_line_bytes,
            copy=_copy_to_stdout if self._options.log_copy else None,
        )
        self._courier = Courier(
            self._client,
            self._book,
            claim,
            self._nonce,
            options=self._options,
            clock=self._clock,
            new_token=self._renew,
            nudge=self._signals.nudge,
        )
        self._claimed = True
        try:
            return self._run_claimed(claim)
        finally:
            self._book.close()

    def _run_claimed(self, claim: ClaimAnswer) -> ExitCode:
        result: Result | None
        try:
            folder, self._found = bundles.files_for(
                claim, self._client, self._options, patience_seconds=claim.self_fence_seconds
            )
        except ExecplaneError as error:
            result = Result(outcome="no_files", reason=str(error), error=error_info(error))
        else:
            result = None
        if self._signals.terminated:
            result = Result(outcome="terminated", reason=self._sigterm_reason)
        if result is not None:
            return self._report(result, Seen())
        self._courier.bundle_found = self._found
        death, seen = self._supervise(claim, folder)
        if death.killed == "fenced":
            self._complain("The attempt was taken away, so its task was killed and nothing is reported.")
            return ExitCode.REFUSED
        result = conclude(death)
        if death.result is None:
            # The log's last line, where the task itself could not write it.
            self._book.append(result.reason, at=self._clock.now(), level="ERROR", logger="execplane.worker")
        return self._report(result, seen)

    def _claim(self) -> ClaimAnswer | ExitCode:
        request = ClaimRequest(
            attempt_id=self._start.attempt_id,
            key=self._start.key,
            uid=self._identity.uid,
            nonce=self._nonce,
            hostname=self._identity.hostname,
            worker_version=__version__,
            python_version=".".join(map(str, sys.version_info[:3])),
        )
        try:
            return self._client.call(
                "POST", "claim", ClaimAnswer, request, patience_seconds=self._options.claim_patience_seconds
            )
        except Refused as refused:
            self._complain(f"The claim was refused, so nothing runs: {refused}")
            return ExitCode.REFUSED
        except Unreachable as unreachable:
            self._complain(f"Nothing runs: {unreachable}")
            return ExitCode.NO_CLAIM

    def _fork(self) -> int:
        supervisor_pid = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has a handler of its own, a SIGTERM must wait rather than be taken for the supervisor's.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            self._signals.forget()
            end = self._channel.into_child()
            task_main(lambda: self._begin(end), self._user_code or _sdk_user_code, supervisor_pid, self._options)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._channel.into_supervisor()
        return pid

    def _begin(self, end: ChildEnd) -> Work | None:
        """In the task's process: what can be done without a claim, and then the wait for it."""
        if self._user_code is None:
            importlib.import_module(_SDK_USER_CODE)
        briefing = end.briefing()
        if not briefing:
            return None
        claim, folder = msgspec.json.decode(briefing, type=tuple[ClaimAnswer, str])
        return Work(
            start=self._start,
            claim=claim,
            nonce=self._nonce,
            folder=Path(folder),
            end=end,
            options=self._options,
            clock=self._clock,
        )

    def _dismiss(self) -> None:
        """The task's process, if it waits for a briefing that will not come."""
        if self._waiting_pid:
            os.kill(self._waiting_pid, signal.SIGKILL)
            os.waitpid(self._waiting_pid, 0)
            self._waiting_pid = 0

    def _supervise(self, claim: ClaimAnswer, folder: Path) -> tuple[Death, Seen]:
        pid, self._waiting_pid = self._waiting_pid, 0
        self._channel.brief(msgspec.json.encode((claim, str(folder))))
        supervisor = Supervisor(
            pid,
            self._channel,
            self._signals,
            self._courier,
            self._book,
            claim,
            options=self._options,
            clock=self._clock,
            sigterm_reason=self._sigterm_reason,
        )
        return supervisor.watch(), supervisor.seen

    def _report(self, result: Result, seen: Seen) -> ExitCode:
        verdict = Verdict(
            attempt_id=self._start.attempt_id,
            nonce=self._nonce,
            outcome=result.outcome,
            reason=result.reason,
            error=result.error,
        )
        termination.leave(self._options.termination_log, verdict)
        ended_at = self._clock.now()
        patience = self._options.end_patience_seconds
        self._ending = True
        try:
            rest = self._flush(patience)
            answer = self._deliver(self._end(result, seen, ended_at, rest), patience)
        except Refused as refused:
            self._complain(f"The end was refused: {refused}")
            return ExitCode.REFUSED
        except Unreachable as unreachable:
            self._complain(f"The end could not be reported: {unreachable}")
            return ExitCode.UNREPORTED
        termination.leave(self._options.termination_log, msgspec.structs.replace(verdict, reported=True))
        if answer.hold_seconds > 0 and self._identity.in_pod:
            self._hold(answer.hold_seconds)
        return exit_code(result)

    def _hold(self, seconds: float) -> None:
        """Stay, and with us the container, so that somebody looks into it. The attempt has ended; whoever releases it
        has the container terminated."""
        until = self._clock.now() + timedelta(seconds=seconds)
        self._complain(f"The task failed; its container is kept until {until:%Y-%m-%d %H:%M:%S} UTC (hold_on_failure).")
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0 and not self._signals.wait(left):
            continue

    def _flush(self, patience: float) -> list[LogRecord]:
        """Send the lines that do not fit into the End; the rest is returned. Lines that are refused must not cost
        the report."""
        try:
            return self._courier.flush(patience_seconds=patience, keep_bytes=self._options.log_batch_bytes)
        except Fenced:
            raise
        except Refused as refused:
            self._complain(f"Log lines were refused: {refused}")
            return []

    def _deliver(self, end: End, patience: float) -> EndAnswer:
        """Send the End; where the API does not take its contents (too large, malformed), say that instead."""
        try:
            return self._client.call("POST", "end", EndAnswer, end, patience_seconds=patience)
        except Fenced:
            raise
        except Refused as refused:
            sentence = f"The task ended as {end.outcome!r}, but the API refused its report: {refused}"
            bare = End(
                nonce=end.nonce,
                outcome="failed",
                reason=sentence,
                error=ErrorInfo(type="ReportRefused", message=sentence),
                log_offset=end.log_offset,
                user_code_started_at=end.user_code_started_at,
                ended_at=end.ended_at,
            )
            return self._client.call("POST", "end", EndAnswer, bare, patience_seconds=patience)

    def _end(self, result: Result, seen: Seen, ended_at: datetime, rest: list[LogRecord]) -> End:
        return End(
            nonce=self._nonce,
            outcome=result.outcome,
            reason=result.reason,
            error=result.error,
            xcoms=result.xcoms,
            map_length=result.map_length,
            map_label=result.map_label,
            skip=result.skip,
            reschedule_at=result.reschedule_at,
            log_offset=self._book.produced,
            logs=tuple(rest),
            rendered=result.rendered if result.rendered is not None else seen.rendered,
            bundle_found=self._found,
            peak_memory_bytes=seen.peak_memory_bytes,
            user_code_started_at=seen.started_at,
            ended_at=ended_at,
        )

    def _pause(self, seconds: float) -> bool:
        """How the client of this attempt waits between tries. A SIGTERM does not end the reporting of an end."""
        if self._ending:
            self._signals.sleep(seconds)
            return False
        if self._claimed and self._courier.started:
            return self._courier.pause(seconds)
        return self._signals.wait(seconds)

    def _renew(self, token: str) -> None:
        self._token = token
        self._channel.token.write(token)

    def _complain(self, message: str) -> None:
        """For whoever reads this process's own output; the attempt's log may be out of reach."""
        sys.stderr.write(f"execplane worker, attempt {self._start.attempt_id}: {message}\n")
        sys.stderr.flush()


def _copy_to_stdout(line: bytes) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def _sdk_user_code(work: Work) -> Result:
    # Imported in the child: the supervisor has no use for the sdk, and stays small.
    result: Result = importlib.import_module(_SDK_USER_CODE).run(work)
    return result
