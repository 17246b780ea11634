"""From a workload to the bytes of its pod: template files, mutation hooks, policies. Needs no cluster."""

from __future__ import annotations

from collections.abc import Sequence

from execplane.contract.clock import Clock
from execplane.contract.errors import InvalidInput
from execplane.contract.workload import Intent, Workload
from execplane.executors.kubernetes_options import KubernetesOptions
from execplane.executors.kubernetes_template import Templates
from execplane.kube.mutation_hook import MutationHook
from execplane.pods.build import BuildOptions, Built, build_intent
from execplane.pods.builder import PodBuilder
from execplane.pods.layers import layers_of
from execplane.pods.rules import PodRule


class PodMaker:
    """Builds the pods of one executor. For one thread."""

    def __init__(self, options: KubernetesOptions, clock: Clock) -> None:
        self._options = options
        self._templates = Templates(options.pod_template_file)
        self._hook = MutationHook(options.hook, clock)
        self._builder = PodBuilder(
            BuildOptions(
                namespace=options.namespace,
                namespaces=options.namespaces,
                rule_namespaces=options.rule_namespaces,
                cluster=options.cluster,
                image=options.image,
                version=options.version,
                worker_args=options.worker_args,
                allow_command=options.allow_command,
                attempt_url=options.attempt_url,
                lessons=options.lessons,
                policies=options.policies,
            )
        )

    def check(self, wait_seconds: float | None = None) -> str:
        """Why no pod at all can be built now; "" when one can. Else each attempt would fail for a fault of nobody's.

        `wait_seconds`: for the mutation hooks to be imported; None: hardly at all.
        """
        try:
            self._templates.default()
        except InvalidInput as error:
            return f"{error.message} {error.hint}"
        return self._hook.check(wait_seconds)

    def pod(self, workload: Workload, rules: Sequence[PodRule] | None = None) -> Built:
        """Raises InvalidInput naming field and layer, NotYet while the mutation hook does not work.

        `rules`: in place of the settings'.
        """
        rules = self._options.rules if rules is None else rules
        layers = layers_of(workload, self._templates.default(), self._templates.load, rules)
        return self._builder.build(workload, layers, self._hook.mutate())

    def intent(self, workload: Workload) -> Intent:
        """As `pod`, for the ledger."""
        return build_intent(self.pod(workload), workload, self._options.cluster)

    def close(self) -> None:
        """End the hook's process."""
        self._hook.close()
