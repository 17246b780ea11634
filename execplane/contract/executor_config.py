"""What authors may say in `executor_config` and more than one room reads. Imports nothing: every DAG file loads it."""

from __future__ import annotations

HOLD_ON_FAILURE = "hold_on_failure"
"""For so many seconds a failed task's container is kept alive, to look into it."""
LOCAL_EXECUTORS = ("local", "sequential")
"""The executors that make processes on execplane's own machine; every other one makes pods, whatever its name."""
