"""Writes docs/failures.md from the list: `python -m execplane.executors.failure_reference > docs/failures.md`."""

from __future__ import annotations

from collections.abc import Iterator

from execplane.contract.categories import FINAL, MEANING, Budget, Category
from execplane.pods.lessons import AVOIDED_NODES, RAISED_MEMORY

_HEAD = """\
# Why an attempt failed, and who pays for the next one

Generated from `execplane/contract/categories.py` by
`python -m execplane.executors.failure_reference > docs/failures.md`; do not edit.

Each failed attempt has a category, a sentence and a hint. Categories are stable: they are stored with the attempt, they
can be filtered for (`execplane attempts list --category oom_killed`), counted
(`execplane_attempts_ended_total{category="…"}`) and alerted on, and a name never changes its meaning.

A failure is paid from one of two budgets, never from both:

| budget | is | when it is used up |
|---|---|---|
| author | the task's own `retries`, with its `retry_delay` | the task has failed |
| infra | `scheduler.infra_retries` (3), for each task instance until it is cleared | the task has failed |
| none | nothing is counted: the end was asked for, or a rule says so | nothing follows |

Waiting spends no budget: a full quota, a full cluster, an API server that does not answer. The same pod is posted again
until it is taken.
"""

_RULES = """
## Rules of your own

`failures.rules` is a list; the first rule that matches a failure counts. All that a rule names must match:

| key | matches, or says |
|---|---|
| `category` | a category of the table above |
| `exit_codes` | the exit code of the container or process, one of these |
| `reason` | Kubernetes' own word for the end of the container or pod: `Error`, `OOMKilled`, `Evicted` … |
| `message` | a regular expression (Python's), found anywhere in the failure's sentence |
| `budget` | who pays: `author`, `infra`, or `none`: the task fails at once and nothing is counted. Required |
| `hint` | in place of the built-in hint |
| `name` | a category of your own (a-z, 0-9, _) in place of the built-in one |

```toml
[[failures.rules]]
name = "licence_server"
message = "LicenceError: no free seat"
budget = "infra"
hint = "Ask #licences; the task is tried again by itself."

[[failures.rules]]
category = "user_code"
exit_codes = [42]
budget = "none"
```

In the environment it is one JSON list: `EXECPLANE_FAILURES__RULES=[{"exit_codes": [42], "budget": "none"}]`. A rule
that is not valid stops the start and is named by its place in the list.

Rules look at failures only: not at what was stopped, cleared or marked by somebody, and not at success. What asks not
to be tried again ({final}) is not tried again, whatever a rule says. An exit code is known where the container's or
process's death ended the attempt; a worker that lives to report has the task's exception in its sentence instead.
"""

_NEXT = """
## What the next attempt does differently

After an infrastructure failure it waits between half and the whole of `scheduler.infra_backoff_seconds` (10), doubled
with each failure, at most `scheduler.infra_backoff_cap_seconds` (300).

It would rather not run where infrastructure failed its task before ({tied}, and categories of your own): a
`preferredDuringSchedulingIgnoredDuringExecution` term of weight 100 with `kubernetes.io/hostname NotIn` the latest
`kubernetes.avoid_nodes` (3) of those nodes is added to the pod's affinity, whose own terms stay. It is a preference:
where no other node fits, the task still runs. The fields' layer is "{avoided}" on the attempt's pod page. Where a
node's hostname label is not its name, the term has no effect.

With `kubernetes.oom_memory_factor` above 1 (default 1: off), the memory request and limit of the container `base` are
multiplied by it for each OOM kill of the task, up to `kubernetes.oom_memory_cap_bytes` (32 GiB); the layer is
"{raised}".

Both look at the task's latest attempts (20) since it was last cleared.
"""


def render() -> str:
    final = ", ".join(f"`{name}`" for name in sorted(FINAL))
    table = "\n".join(_table())
    tied = ", ".join(f"`{name}`" for name in Category if MEANING[name].tied_to_node)
    following = _NEXT.format(tied=tied, avoided=AVOIDED_NODES, raised=RAISED_MEMORY)
    return f"{_HEAD}\n## Categories\n\n{table}\n{following}{_RULES.replace('{final}', final)}"


def _table() -> Iterator[str]:
    yield "| category | means | paid by | what helps |"
    yield "|---|---|---|---|"
    for category in Category:
        yield f"| `{category}` | {MEANING[category].sentence} | {_paid_by(category)} | {MEANING[category].hint} |"


def _paid_by(category: Category) -> str:
    meaning = MEANING[category]
    if category in FINAL:
        return "author, once"
    if meaning.budget is Budget.NONE:
        return "nobody"
    return f"{meaning.budget}; {meaning.unless}" if meaning.unless else str(meaning.budget)


if __name__ == "__main__":
    print(render(), end="")  # noqa: T201 - this is the command
