"""Applying a hook's difference: only that, and all of that."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given

from execplane.pods.hook import Mutation, apply
from execplane.pods.tree import plain, plant, provenance
from tests.unit.pods.samples import PODS


def applied(raw: Any, before: Any, after: Any) -> Any:
    return plain(apply(plant(raw, "template"), Mutation(before=before, after=after)))


@given(PODS, PODS)
def test_with_a_lossless_model_the_result_is_what_the_hook_made(before: Any, after: Any) -> None:
    assert applied(before, before, after) == after


@given(PODS)
def test_a_hook_that_does_nothing_changes_nothing(pod: Any) -> None:
    raw = {**pod, "futureField": 1}
    assert applied(raw, pod, copy.deepcopy(pod)) == raw


def test_fields_that_the_model_dropped_survive_beside_a_change() -> None:
    raw = {"spec": {"future": {"a": 1}, "containers": [{"name": "base", "image": "1", "future": 2}, {"name": "side"}]}}
    before = {"spec": {"containers": [{"name": "base", "image": "1"}, {"name": "side"}]}}
    after = {"spec": {"containers": [{"name": "new"}, {"name": "base", "image": "2"}], "hostNetwork": True}}
    assert applied(raw, before, after) == {
        "spec": {
            "future": {"a": 1},
            "containers": [{"name": "new"}, {"name": "base", "image": "2", "future": 2}],
            "hostNetwork": True,
        }
    }


def test_items_without_names_keep_what_the_model_dropped() -> None:
    raw = {"tolerations": [{"key": "a", "future": 1}, {"key": "b", "future": 2}]}
    before = {"tolerations": [{"key": "a"}, {"key": "b"}]}
    after = {"tolerations": [{"key": "b"}, {"key": "c"}, {"key": "a"}]}
    assert applied(raw, before, after) == {
        "tolerations": [{"key": "b", "future": 2}, {"key": "c"}, {"key": "a", "future": 1}]
    }


def test_only_changed_fields_belong_to_the_hook() -> None:
    before = {"spec": {"containers": [{"name": "base", "image": "1", "stdin": True}]}}
    after = {"spec": {"containers": [{"name": "base", "image": "2", "stdin": True}]}}
    tree = apply(plant(before, "template"), Mutation(before=before, after=after))
    assert provenance(tree) == {
        "spec.containers[0].name": "template",
        "spec.containers[0].image": "mutation hook",
        "spec.containers[0].stdin": "template",
    }
