"""The executors' wiring, by kind and not by name: each made, driven, looked into, and its workers' tokens checked.

`compose` hands itself in. Each kubernetes executor has clients of its own, made when first needed: one whose API server
is away stops none of the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from execplane import room_options
from execplane.config import EXECUTORS
from execplane.contract.errors import ConfigError, Forbidden, Unavailable
from execplane.contract.executor import Executor
from execplane.contract.executor_config import LOCAL_EXECUTORS

if TYPE_CHECKING:
    from execplane.actions.pending import Look
    from execplane.api.worker.routes import Verify
    from execplane.compose import Deployment
    from execplane.executors.driver.loop import DriverLoop
    from execplane.kube.review import PodIdentity


def make(deployment: Deployment, name: str) -> Executor:
    """A new executor of this name, not started. Raises ConfigError for an unknown one."""
    if name in LOCAL_EXECUTORS:
        return _local(deployment, name)
    if name in (*EXECUTORS, *deployment.config.clusters):
        return _kubernetes(deployment, name)
    known = ", ".join((*EXECUTORS, *deployment.config.clusters))
    raise ConfigError(f"There is no executor {name!r}.", hint=f"Use one of {known}.")


def _local(deployment: Deployment, name: str) -> Executor:
    from execplane.executors.local import LocalExecutor
    from execplane.executors.local_options import LocalOptions
    from execplane.executors.sequential import SequentialExecutor

    config, clock = deployment.config, deployment.clock
    work = config.home / "work"
    options = LocalOptions(
        slots=config.local.slots,
        api_url=config.web_url,
        work_dir=str(work),
        worker_options=json.dumps({"work_dir": str(work), "bundles_dir": str(config.home / "bundles")}),
    )
    kind = SequentialExecutor if name == "sequential" else LocalExecutor
    return kind(
        options,
        clock=clock,
        mint_token=lambda start: deployment.mint.launch_token(start.attempt_id, clock.now()),
    )


def _kubernetes(deployment: Deployment, name: str) -> Executor:
    from execplane.executors.kubernetes import KubernetesExecutor

    return KubernetesExecutor(deployment.kubernetes_options(name), clock=deployment.clock, paces=deployment.paces)


def driver(deployment: Deployment, name: str) -> DriverLoop:
    """The loop that drives this executor."""
    from execplane.executors.driver.deadlines import DeadlineOptions
    from execplane.executors.driver.loop import DriverLoop, DriverOptions
    from execplane.executors.driver.waves import WaveOptions

    config = deployment.config
    return DriverLoop(
        lambda: make(deployment, name),
        deployment.deployed(name),
        DriverOptions(
            parallelism=config.parallelism or None,
            failures=deployment.failure_policy,
            grace_seconds=config.worker.grace_seconds,
            self_fence_seconds=config.worker.self_fence_seconds,
            deadlines=DeadlineOptions(
                **config.deadlines.model_dump(),
                heartbeat_seconds=config.worker.heartbeat_seconds,
                self_fence_seconds=config.worker.self_fence_seconds,
            ),
            waves=WaveOptions(**config.waves.model_dump()),
        ),
        deployment.clock,
        owner=deployment.process,
        wake=lambda: deployment.bus.deliver(["driver"]),
    )


def looks(deployment: Deployment) -> dict[str, Look]:
    """Executor -> how its cluster is asked about a pod."""
    return {name: _look(deployment, name) for name in deployment.config.pod_executors}


def _look(deployment: Deployment, name: str) -> Look:
    from execplane.kube.client import Client
    from execplane.kube.pending import Looker

    config, clock = deployment.config, deployment.clock
    return Looker(lambda: Client(room_options.kube_options(config, name), clock), clock).look


def verifiers(deployment: Deployment) -> dict[str, Verify]:
    """Executor -> how a launch of its proves itself."""
    from execplane.api.worker.routes import local_verifier, pod_verifier

    local = local_verifier(deployment.mint, deployment.clock)
    return {
        name: local if name in LOCAL_EXECUTORS else pod_verifier(_token_verifier(deployment, name))
        for name in deployment.config.all_executors
    }


def _token_verifier(deployment: Deployment, name: str) -> Callable[[str], PodIdentity]:
    """Made at the first token, so that a web server starts while the API server is down."""
    from execplane.kube.asking import Asking, MadeOnce
    from execplane.kube.client import Client
    from execplane.kube.errors import KubeError
    from execplane.kube.review import TokenRefused, TokenVerifier

    asking, clock = Asking(), deployment.clock

    def make() -> TokenVerifier:
        client = Client(room_options.kube_options(deployment.config, name), clock)
        return TokenVerifier(client, clock, asking=asking)

    verifier = MadeOnce(make, asking, clock)

    def identify(token: str) -> PodIdentity:
        try:
            return verifier().verify_worker_token(token)
        except TokenRefused as error:
            raise Forbidden(error.message, hint=error.hint) from error
        except KubeError as error:
            raise Unavailable(error.message, hint=error.hint) from error

    return identify
