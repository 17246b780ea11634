"""Each option of Airflow's executor has an answer, and a default differs only where the table says why."""

from __future__ import annotations

import pytest

from execplane import airflow_options
from execplane.airflow_options import OPTIONS, Option, default_of
from execplane.config import keys

SECTION = set(
    """
pod_template_file worker_container_repository worker_container_tag namespace delete_worker_pods
delete_worker_pods_on_failure worker_pods_creation_batch_size async_pod_creation pod_creation_max_concurrency
task_publish_max_retries pod_launch_failure_retries pod_launch_failure_excluded_container_reasons
worker_pod_pending_fatal_container_state_reasons multi_namespace_mode multi_namespace_mode_namespace_list in_cluster
cluster_context config_file kube_client_request_args delete_option_kwargs api_client_retry_configuration
enable_tcp_keepalive tcp_keep_idle tcp_keep_intvl tcp_keep_cnt verify_ssl ssl_ca_cert logs_task_metadata
running_pod_log_lines
""".split()  # noqa: SIM905 - read by people
)
"""`[kubernetes_executor]` of the cncf-kubernetes provider 10.25."""


def test_every_option_of_the_section_is_answered_once() -> None:
    assert sorted(one.name for one in OPTIONS if not one.name.startswith("[")) == sorted(SECTION)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_is_a_setting_with_its_default_or_says_why_not(option: Option) -> None:
    known = dict(keys())
    assert [name for name in option.ours if name not in known] == []
    if not option.why:
        assert [default_of(name) for name in option.ours] == [option.default]


def test_the_page_is_up_to_date() -> None:
    command = f"python -m execplane.airflow_options > {airflow_options.PAGE}"
    assert airflow_options.PAGE.read_text() == airflow_options.render(), f"run: {command}"
