"""The same override as a plain dict, which needs no Kubernetes client where DAG files are parsed."""

from datetime import datetime

from execplane import DAG
from execplane.sdk.operators import BashOperator

with DAG("pod_override_dict", schedule=None, start_date=datetime(2024, 1, 1), tags=["example", "pod"]):
    BashOperator(
        task_id="show_override",
        bash_command="echo greeting=$GREETING",
        executor_config={
            "pod_override": {
                "metadata": {"labels": {"purpose": "pod-override-dict"}},
                "spec": {
                    "containers": [
                        {
                            "name": "base",
                            "env": [{"name": "GREETING", "value": "hello"}],
                            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                        }
                    ]
                },
            }
        },
    )
    BashOperator(
        task_id="legacy_dict",
        bash_command="echo greeting=$GREETING",
        executor_config={
            "KubernetesExecutor": {"request_memory": "64Mi", "envs": {"GREETING": "hello"}, "labels": {"old": "form"}}
        },
    )
