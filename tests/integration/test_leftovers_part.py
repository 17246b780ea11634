"""A test run that is killed leaves none of its workers behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from execplane.contract.process import process_info
from tests.parts.eventually import eventually

RUN = """
import os, subprocess, sys, time
from tests.parts.leftovers import marked_environment

child = subprocess.Popen(
    ["setsid", "--fork", "sh", "-c", "echo $$; exec sleep 1000"], env={**os.environ, **marked_environment()}
)
time.sleep(1000)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_what_a_run_started_ends_with_it(end: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        daemon = int(run.stdout.readline())
        assert process_info(daemon) is not None
        os.kill(run.pid, end)
        eventually(lambda: (info := process_info(daemon)) is None or info.state == "Z")
