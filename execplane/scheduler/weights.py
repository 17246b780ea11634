"""Priority weights: what a task's `priority_weight` becomes under its weight rule.

Airflow's arithmetic: "downstream" adds the weights of everything that can only start later, so that long chains
begin first; "upstream" adds those that came before, so that begun runs finish first; "absolute" adds nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence


def reachable(edges: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """For each node the bit set of all nodes behind its `edges`; `order` visits a node after all it points to."""
    masks = [0] * len(edges)
    for node in order:
        mask = 0
        for other in edges[node]:
            mask |= masks[other] | (1 << other)
        masks[node] = mask
    return masks


def priority_weights(
    rules: Sequence[str], weights: Sequence[int], upstream: Sequence[Sequence[int]], downstream: Sequence[Sequence[int]]
) -> list[int]:
    """The effective weight per task; tasks are numbered in topological order, each relative counts once."""
    count = len(weights)
    after = reachable(downstream, range(count - 1, -1, -1)) if "downstream" in rules else []
    before = reachable(upstream, range(count)) if "upstream" in rules else []
    members: dict[int, int] = defaultdict(int)
    for index, weight in enumerate(weights):
        members[weight] |= 1 << index

    def total(mask: int) -> int:
        return sum(weight * (mask & having).bit_count() for weight, having in members.items())

    result = []
    for index, rule in enumerate(rules):
        relatives = after[index] if rule == "downstream" else before[index] if rule == "upstream" else 0
        result.append(weights[index] + total(relatives))
    return result
