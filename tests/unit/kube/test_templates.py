"""Pod template files: errors name the file; a change is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from execplane.contract.errors import InvalidInput
from execplane.executors.kubernetes_template import Templates

GOOD = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: base\n    image: one\n"


def test_a_template_is_read_again_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text(GOOD)
    templates = Templates(str(file))
    first = templates.default()
    assert templates.default() is first
    file.write_text(GOOD.replace("one", "another"))
    assert templates.default().pod["spec"]["containers"][0]["image"] == "another"


def test_without_a_file_the_built_in_template_is_used() -> None:
    assert Templates("").default().source == "built in"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("a: [1", "is not YAML at line 1"),
        (GOOD + "---\n" + GOOD, "holds 2 documents"),
        ("", "is empty"),
        ("apiVersion: batch/v1\nkind: Job\n", "is not a Pod"),
        (GOOD.replace("image", "imagee"), "spec.containers[0].imagee is not a field of Container"),
    ],
)
def test_a_bad_template_names_its_file(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "pod.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        Templates(str(file)).default()
    assert message in caught.value.message
    assert str(file) in caught.value.message
