"""`execplane kubernetes …`: what the executor needs of a cluster, and whether it has it.

Neither command needs the database: both are for the day before the first start, and for the night when it is down.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from execplane.cli.output import Output, OutputOption, cell, say, show_one, table

if TYPE_CHECKING:
    from execplane.config import Config
    from execplane.config_kubernetes import Kubernetes
    from execplane.executors.kubernetes_options import KubernetesOptions
    from execplane.executors.kubernetes_pods import PodMaker
    from execplane.kube.check import Found, Result
    from execplane.kube.rights import Tier

app = typer.Typer(help="The cluster: check what execplane needs, print its roles.", no_args_is_help=True)

_NOBODY = "execplane-check"
"""In place of the deployment's id, which is in the database: pods of this label are never made."""

_HOOK_SECONDS = 120.0
"""For the mutation hooks' import, as `execplane pods check` waits."""

ExecutorOption = Annotated[
    str, typer.Option("--executor", help="Which one, where several make pods; unset: all, or the first.")
]


@app.command()
def rbac(
    tier: Annotated[
        int, typer.Option(min=1, max=3, help="1: run tasks. 2: also events, logs, quotas. 3: also read nodes.")
    ] = 2,
    only: Annotated[bool, typer.Option("--only", help="Just this tier, without those below it.")] = False,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Where pods run; unset: as the settings say.")
    ] = None,
    account: Annotated[str, typer.Option(help="execplane's own service account.")] = "execplane",
    account_namespace: Annotated[str, typer.Option(help="The account's namespace; unset: the first of pods'.")] = "",
    executor: ExecutorOption = "",
    output: Annotated[
        Output, typer.Option("--output", "-o", help="yaml, or json (a List).", case_sensitive=False)
    ] = Output.YAML,
) -> None:
    """The smallest roles that execplane's account needs. Example: execplane kubernetes rbac | kubectl apply -f -"""
    from execplane.contract.errors import InvalidInput
    from execplane.kube.rbac import Account, manifests
    from execplane.kube.rights import Tier

    if output is Output.TABLE:
        raise InvalidInput("Manifests are no table.", hint="Use --output yaml or json.")
    wanted = namespace or list(_options(_config(), _executors(_config(), executor)[0]).all_namespaces)
    tiers = [Tier(tier)] if only else [one for one in Tier if one <= tier]
    found = manifests(Account(name=account, namespace=account_namespace or wanted[0]), wanted, tiers)
    if output is Output.JSON:
        show_one({"apiVersion": "v1", "kind": "List", "items": found}, output)
        return
    import yaml

    say("---\n".join(yaml.safe_dump(one, sort_keys=False) for one in found).rstrip("\n"))


@app.command()
def check(
    tier: Annotated[
        int, typer.Option(min=1, max=3, help="Which rights must be there; those of higher tiers are only noted.")
    ] = 1,
    expires_within: Annotated[int, typer.Option(help="Warn of what expires within so many days.", min=0)] = 14,
    executor: ExecutorOption = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Try what launches need: access, quota, dry run, watch, clock; what is missing, what expires soon.

    Exit code: 0 all is there (with warnings, maybe), 1 something is missing. Example: execplane kubernetes check
    """
    from execplane.kube.check import Result
    from execplane.kube.rights import Tier

    config = _config()
    found: list[tuple[str, Found]] = []
    for name in _executors(config, executor):
        found += [(name, one) for one in _check(config, name, Tier(tier), timedelta(days=expires_within))]
    counts = {result: sum(one.result is result for _, one in found) for result in Result}
    if output is Output.TABLE:
        _print(found, counts)
    else:
        show_one({"ok": not counts[Result.FAILED], "checks": [_fields(name, one) for name, one in found]}, output)
    if counts[Result.FAILED]:
        raise typer.Exit(1)


def _check(config: Config, name: str, tier: Tier, expires_within: timedelta) -> Iterator[Found]:
    """One executor's cluster. A kubeconfig that cannot be used is a finding, too: others may do."""
    from execplane.contract.clock import SystemClock
    from execplane.contract.errors import ConfigError
    from execplane.executors.kubernetes_pods import PodMaker
    from execplane.kube.check import Found, Plan, Result, check
    from execplane.kube.client import Client
    from execplane.pods.identity import deployment_selector

    options = _options(config, name)
    try:
        client = Client(options.kube, SystemClock())
    except ConfigError as error:
        yield Found(step="connect", what=name, result=Result.FAILED, said=error.message, hint=error.hint)
        return
    pods = PodMaker(options, client.clock)
    trouble = pods.check(_HOOK_SECONDS)
    plan = Plan(
        namespaces=options.all_namespaces,
        pod=lambda namespace: _default_pod(pods, trouble, config.kubernetes_of(name), config.web_url, namespace),
        label_selector=deployment_selector(_NOBODY),
        tier=tier,
        expires_within=expires_within,
    )
    try:
        yield from check(client, plan)
    finally:
        pods.close()
        client.close()


def _default_pod(pods: PodMaker, trouble: str, settings: Kubernetes, web_url: str, namespace: str) -> bytes:
    """What a task without any wishes would get there. Raises Unavailable with `trouble` when no pod can be made."""
    from execplane.contract.errors import Unavailable
    from execplane.contract.keys import AttemptKey, TaskKey
    from execplane.contract.workload import Workload
    from execplane.kube.check import Elsewhere
    from execplane.pods.rules import PodRule

    if trouble:
        raise Unavailable(trouble)
    workload = Workload(
        attempt_id=0,
        key=AttemptKey(task=TaskKey(dag_id="execplane", run_id="check", task_id="dry-run"), attempt_no=1),
        try_number=1,
        deployment_id=_NOBODY,
        incarnation=1,
        api_url=settings.api_url or web_url,
        dag_file="check.py",
        bundle="0" * 64,
        source=settings.worker_source,
        dags_folder=settings.worker_dags_folder,
    )
    # Said by the operators, as their own rules say it: what rules give to one team no task may wish for. Theirs are
    # left out: of those for some other task a binding one would take the pod elsewhere.
    built = pods.pod(workload, [PodRule(number=1, name=_NOBODY, namespace=namespace, binding=True)])
    if built.namespace != namespace:
        raise Elsewhere(f"The mutation hook sends it to {built.namespace}.")
    return built.body


def _config() -> Config:
    from execplane.config import current

    return current()


def _executors(config: Config, wanted: str) -> tuple[str, ...]:
    """Those that make pods; without any, what `kubernetes` would be. Raises NotFound for another name."""
    from execplane.contract.errors import NotFound

    known = config.pod_executors or ("kubernetes",)
    if not wanted:
        return known
    if wanted not in known:
        raise NotFound(f"No executor {wanted!r} makes pods here.", hint=f"There is {', '.join(known)}.")
    return (wanted,)


def _options(config: Config, executor: str) -> KubernetesOptions:
    from execplane.room_options import kubernetes_options

    return kubernetes_options(config, _NOBODY, executor)


def _fields(executor: str, one: Found) -> dict[str, Any]:
    return {
        "executor": executor,
        "check": one.step,
        "what": one.what,
        "result": str(one.result),
        "said": one.said,
        "hint": one.hint,
    }


def _print(found: list[tuple[str, Found]], counts: dict[Result, int]) -> None:
    """What is well in a table; what is not below it, in whole sentences."""
    from execplane.kube.check import Result

    several = len({name for name, _ in found}) > 1
    rows = [[*([name] if several else []), one.step, one.what, one.result] for name, one in found]
    say(table([*(["EXECUTOR"] if several else []), "CHECK", "WHAT", "RESULT"], rows))
    say("")
    for name, one in found:
        if one.result in (Result.FAILED, Result.WARNING):
            where = f"{name}: " if several else ""
            mark = "!" if one.result is Result.FAILED else "?"
            say(f"{mark} {where}{one.step}, {cell(one.what)}: {cell(one.said)} {cell(one.hint)}".rstrip())
    failed, warned = counts[Result.FAILED], counts[Result.WARNING]
    if failed:
        say(f"{failed} of {len(found)} checks failed.")
    else:
        say("All that launches need is there." + (f" {warned} warnings." if warned else ""))
