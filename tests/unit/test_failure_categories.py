"""One list of categories: every row says something, the docs are made from it, and nobody writes names beside it."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

from execplane.contract.categories import MEANING, Budget, Category, infrastructure
from execplane.contract.process import ExitCode
from execplane.executors import failure_reference, local_diagnosis
from execplane.pods.observe import observe
from execplane.pods.status import decode_pod

REPOSITORY = Path(__file__).parents[2]


def test_every_category_has_a_meaning_a_hint_and_a_budget() -> None:
    assert set(MEANING) == set(Category)
    for category, meaning in MEANING.items():
        assert meaning.sentence.endswith("."), category
        assert meaning.hint.endswith((".", ").")), category
        assert infrastructure(category) is (meaning.budget is Budget.INFRA)
        assert len(category) <= 40, "the column's width"


def test_the_docs_are_what_the_list_says() -> None:
    written = (REPOSITORY / "docs" / "failures.md").read_text()
    command = "python -m execplane.executors.failure_reference > docs/failures.md"
    assert written == failure_reference.render(), f"run: {command}"


def test_no_category_is_written_as_text_beside_the_list() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{node.value.lineno}: {node.value.value!r}"
        for path in sorted((REPOSITORY / "execplane").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.keyword)
        and node.arg == "category"
        and isinstance(node.value, ast.Constant)
        and node.value.value not in ("", "category")  # a column's name
    ]
    assert found == [], "use contract.categories.Category"


@pytest.mark.parametrize("code", [ExitCode.REFUSED, ExitCode.UNREPORTED, ExitCode.NO_CLAIM])
def test_a_workers_exit_code_means_the_same_in_a_pod_and_as_a_process(code: ExitCode) -> None:
    terminated = {"exitCode": int(code), "reason": "Error"}
    statuses = [{"name": "base", "state": {"terminated": terminated}}]
    pod = {"metadata": {"name": "p"}, "status": {"phase": "Failed", "containerStatuses": statuses}}
    in_pod = observe(decode_pod(msgspec.json.encode(pod))).end
    assert in_pod is not None
    local = local_diagnosis.diagnose(code << 8)
    assert (in_pod.category, in_pod.infrastructure) == (local.category, local.infrastructure)
    assert in_pod.infrastructure, "the worker failed, not the task"
