"""What execplane asks the API server for, as rights: one table for the printed roles, the check and the docs.

In tiers, because few operators may grant everything. Without tier 1 nothing runs; without tier 2 less is known of
pods; without tier 3 "why pending" cannot compare a pod with the cluster's nodes. What every account may do anyway
(ask what it may do, read /version and /readyz) is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Tier(IntEnum):
    RUN = 1
    """Launch, watch and delete pods, and know which pod a worker's token is from."""
    RECORD = 2
    """Events, logs, claims and quotas, in the same namespaces."""
    EXPLAIN = 3
    """What belongs to no namespace."""


@dataclass(frozen=True, kw_only=True)
class Right:
    """One verb on one resource, and what does not work without it."""

    tier: Tier
    verb: str
    resource: str
    without: str
    """As a sentence."""
    group: str = ""
    subresource: str = ""
    cluster_wide: bool = False

    @property
    def rule_resource(self) -> str:
        """As a role names it: `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def words(self) -> str:
        """ "create pods", as kubectl says it."""
        return f"{self.verb} {self.rule_resource}{f'.{self.group}' if self.group else ''}"


RIGHTS: tuple[Right, ...] = (
    Right(tier=Tier.RUN, verb="create", resource="pods", without="Nothing can be launched."),
    Right(
        tier=Tier.RUN,
        verb="get",
        resource="pods",
        without="A create whose answer was lost cannot be looked up, so it is never known to have been done.",
    ),
    Right(tier=Tier.RUN, verb="list", resource="pods", without="Pods cannot be watched, adopted or reconciled."),
    Right(tier=Tier.RUN, verb="watch", resource="pods", without="A pod's end is seen only by the worker's report."),
    Right(tier=Tier.RUN, verb="delete", resource="pods", without="Stops do not work, and finished pods pile up."),
    Right(tier=Tier.RUN, verb="patch", resource="pods", without="Sidecars of a kept pod run on."),
    Right(
        tier=Tier.RUN,
        verb="create",
        resource="tokenreviews",
        group="authentication.k8s.io",
        cluster_wide=True,
        without="No worker can prove who it is where the cluster's public keys may not be read.",
    ),
    Right(
        tier=Tier.RECORD,
        verb="get",
        resource="pods",
        subresource="log",
        without="The flight record lacks the containers' last lines.",
    ),
    Right(
        tier=Tier.RECORD,
        verb="list",
        resource="events",
        without="The flight record and `why` lack what the scheduler and the node said.",
    ),
    Right(
        tier=Tier.RECORD,
        verb="get",
        resource="persistentvolumeclaims",
        without="`why` cannot name the claim that a pod waits for.",
    ),
    Right(
        tier=Tier.RECORD, verb="list", resource="resourcequotas", without="The check cannot tell which quota is full."
    ),
    Right(
        tier=Tier.EXPLAIN,
        verb="get",
        resource="nodes",
        cluster_wide=True,
        without="The flight record lacks the node's conditions.",
    ),
    Right(
        tier=Tier.EXPLAIN,
        verb="list",
        resource="nodes",
        cluster_wide=True,
        without="`why` cannot compare a pod with the largest node.",
    ),
)


def rights(tier: Tier, *, cluster_wide: bool) -> tuple[Right, ...]:
    """Those of exactly this tier, in namespaces or beyond them."""
    return tuple(right for right in RIGHTS if right.tier == tier and right.cluster_wide is cluster_wide)
