"""Roles for the executor's account, as manifests: what `rights` lists and nothing else, a role per tier. Pure.

A tier is a Role and a RoleBinding in each namespace, a ClusterRole and its binding for what belongs to none; so an
operator takes the tiers that may be granted and leaves the others out. Names carry the account, so that two
deployments in one cluster do not overwrite each other's bindings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from execplane.kube.rights import Right, Tier, rights

_API = "rbac.authorization.k8s.io"


@dataclass(frozen=True, kw_only=True)
class Account:
    """The service account that execplane itself runs under (not the one of its pods)."""

    name: str
    namespace: str


def manifests(account: Account, namespaces: Sequence[str], tiers: Iterable[Tier]) -> list[dict[str, Any]]:
    """The account itself, then each tier's roles with their bindings."""
    found: list[dict[str, Any]] = [_account(account)]
    for tier in sorted(set(tiers)):
        if rules := _rules(rights(tier, cluster_wide=False)):
            for namespace in dict.fromkeys(namespaces):
                found += _granted(account, tier, rules, namespace)
        if rules := _rules(rights(tier, cluster_wide=True)):
            found += _granted(account, tier, rules, "")
    return found


def _account(account: Account) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account.name, "namespace": account.namespace},
    }


def _granted(account: Account, tier: Tier, rules: list[dict[str, Any]], namespace: str) -> list[dict[str, Any]]:
    """A role and its binding; without a namespace, for the whole cluster."""
    kind = "Role" if namespace else "ClusterRole"
    own = f"{account.name}-{tier.name.lower()}"
    # A ClusterRole is everybody's: accounts of one name in two namespaces must not share it.
    metadata = {"name": own, "namespace": namespace} if namespace else {"name": f"{account.namespace}-{own}"}
    role = {"apiVersion": f"{_API}/v1", "kind": kind, "metadata": metadata, "rules": rules}
    binding = {
        "apiVersion": f"{_API}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _API, "kind": kind, "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace}],
    }
    return [role, binding]


def _rules(wanted: Iterable[Right]) -> list[dict[str, Any]]:
    """One rule per resource, its verbs together."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for right in wanted:
        verbs.setdefault((right.group, right.rule_resource), []).append(right.verb)
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": found} for (group, resource), found in verbs.items()
    ]
