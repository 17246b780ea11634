"""The last words fit, and stay JSON, whatever the task's error looks like."""

from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from execplane.contract.messages import ErrorInfo, Verdict
from execplane.worker.termination import LIMIT_BYTES, fit, leave

TEXT = st.builds(lambda text, times: text * times, st.text(max_size=20), st.integers(0, 2000))


@given(st.builds(ErrorInfo, type=TEXT, message=TEXT, traceback=TEXT, line=st.integers(0, 10**6)), TEXT)
def test_a_verdict_always_fits(error: ErrorInfo, reason: str) -> None:
    verdict = Verdict(attempt_id=1, nonce="n" * 32, outcome="failed", reason=reason, error=error)
    data = fit(verdict)
    assert len(data) <= LIMIT_BYTES
    kept = msgspec.json.decode(data, type=Verdict)
    assert (kept.outcome, kept.attempt_id, kept.nonce) == ("failed", 1, "n" * 32)


def test_of_a_long_traceback_the_end_is_kept() -> None:
    error = ErrorInfo(type="E", message="m", traceback="x" * 10_000 + "the line that raised")
    kept = msgspec.json.decode(fit(Verdict(attempt_id=1, nonce="n", outcome="failed", error=error)), type=Verdict)
    assert kept.error is not None
    assert kept.error.traceback.endswith("the line that raised")


def test_a_second_verdict_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.touch()
    verdict = Verdict(attempt_id=1, nonce="n", outcome="failed", reason="x" * 1000)
    leave(str(path), verdict)
    leave(str(path), Verdict(attempt_id=1, nonce="n", outcome="failed", reported=True))
    assert msgspec.json.decode(path.read_bytes(), type=Verdict).reported


def test_nothing_is_written_where_no_kubelet_made_the_file(tmp_path: Path) -> None:
    leave(str(tmp_path / "termination-log"), Verdict(attempt_id=1, nonce="n", outcome="success"))
    leave("", Verdict(attempt_id=1, nonce="n", outcome="success"))
    assert list(tmp_path.iterdir()) == []
