"""The printed roles say what the table of rights says, each tier for itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from execplane.kube.rbac import Account, manifests
from execplane.kube.rights import RIGHTS, Right, Tier

ACCOUNT = Account(name="execplane", namespace="system")


def granted(found: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    """(namespace or "", group, resource, verb) that bindings to the account give."""
    roles = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one for one in found}
    rights = set()
    for one in found:
        if one["kind"].endswith("Binding"):
            assert one["subjects"] == [{"kind": "ServiceAccount", "name": "execplane", "namespace": "system"}]
            namespace = one["metadata"].get("namespace", "")
            role = roles[(one["roleRef"]["kind"], namespace, one["roleRef"]["name"])]
            for rule in role["rules"]:
                rights |= {
                    (namespace, group, resource, verb)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                }
    return rights


@pytest.mark.parametrize("tier", Tier)
def test_a_tier_grants_its_rights_and_no_other(tier: Tier) -> None:
    expected = {
        (namespace, right.group, right.rule_resource, right.verb)
        for right in RIGHTS
        if right.tier == tier
        for namespace in ([""] if right.cluster_wide else ["jobs", "gpu"])
    }
    assert granted(manifests(ACCOUNT, ["jobs", "gpu"], [tier])) == expected


def test_nothing_is_a_wildcard() -> None:
    for _, group, resource, verb in granted(manifests(ACCOUNT, ["jobs"], Tier)):
        assert "*" not in (group, resource, verb)


def test_two_deployments_in_one_cluster_do_not_share_cluster_wide_bindings() -> None:
    other = Account(name="execplane", namespace="elsewhere")
    mine, theirs = (
        {one["metadata"]["name"] for one in manifests(account, ["jobs"], Tier) if "Cluster" in one["kind"]}
        for account in (ACCOUNT, other)
    )
    assert mine
    assert not mine & theirs


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: right.words)
def test_the_docs_name_each_right_in_its_tier(right: Right) -> None:
    page = Path("docs/cluster-access.md").read_text().splitlines()
    (row,) = [line for line in page if line.startswith(f"| {right.tier:d}, ")]
    words = re.split(r"[ ,;|]+", row)
    assert right.verb in words[: words.index(right.rule_resource)]
