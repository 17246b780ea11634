"""A TaskFlow DAG whose task asks for a label and an environment variable on its pod, through pod_override.

The task reads a table instead of calling an address, so that it runs without a network.
"""

import os
from datetime import datetime

from airflow.decorators import dag, task
from kubernetes.client import models as k8s

new_config = {
    "pod_override": k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(labels={"purpose": "pod-override-example"}),
        spec=k8s.V1PodSpec(containers=[k8s.V1Container(name="base", env=[k8s.V1EnvVar(name="STATE", value="wa")])]),
    )
}

default_args = {"start_date": datetime(2021, 1, 1)}

TOTAL_TEST_RESULTS_INCREASE = {"wa": 12_345, "or": 6_789}


@dag("k8s_executor_example", schedule_interval="@daily", default_args=default_args, catchup=False)
def taskflow():
    @task(executor_config=new_config)
    def get_testing_increase():
        """Gets the totalTestResultsIncrease field for the state that the pod's environment names."""
        return {"testing_increase": TOTAL_TEST_RESULTS_INCREASE[os.environ.get("STATE", "wa")]}

    get_testing_increase()


dag = taskflow()
