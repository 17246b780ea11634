"""How a cluster is reached and what becomes of pods: from the settings to the options of the rooms."""

from __future__ import annotations

import json
import math
import traceback

import pytest

from execplane.config import load
from execplane.contract.errors import ConfigError
from execplane.contract.states import AttemptState
from execplane.room_options import kube_options, kubernetes_options

ACCESS = {
    "IN_CLUSTER": "false",
    "SSL_CA_CERT": "/ca.crt",
    "VERIFY_SSL": "false",
    "PROXY": "http://ann:hunter2@proxy:3128",
    "CONNECT_TIMEOUT_SECONDS": "3",
    "REQUEST_TIMEOUT_SECONDS": "7",
    "TCP_KEEP_IDLE_SECONDS": "120",
    "TCP_KEEP_INTERVAL_SECONDS": "30",
    "TCP_KEEP_COUNT": "4",
}


def settings(**values: str) -> dict[str, str]:
    return {f"EXECPLANE_KUBERNETES__{name}": value for name, value in values.items()}


def test_every_setting_of_access_reaches_the_client() -> None:
    options = kube_options(load(settings(**ACCESS)), "kubernetes")
    assert options.in_cluster is False
    assert (options.ssl_ca_cert, options.verify_ssl) == ("/ca.crt", False)
    assert options.proxy == "http://ann:hunter2@proxy:3128"
    assert (options.connect_timeout_seconds, options.read_timeout_seconds) == (3, 7)
    assert options.tcp_keepalive_seconds == (120, 30, 4)
    assert kube_options(load(settings(ENABLE_TCP_KEEPALIVE="false")), "kubernetes").tcp_keepalive_seconds is None


def test_a_proxys_password_does_not_print() -> None:
    assert "hunter2" not in repr(load(settings(**ACCESS)))


@pytest.mark.parametrize(
    "address",
    [
        "proxy:3128",
        "socks5://S3CRET@proxy:1080",
        "http://ann:S3CRET/x@proxy:3128",
        "http://ann:12/S3CRET@h",
        "http://:1",
    ],
)
def test_a_proxys_address_that_is_none_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(ConfigError, match=r"kubernetes\.proxy.*http\(s\)://") as caught:
        load(settings(PROXY=address))
    assert "S3CRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("address", ["http://proxy:3128", "https://ann:p%2F%40ss@proxy", "http://[::1]:3128/", ""])
def test_a_proxys_address_may_leave_out_port_and_login(address: str) -> None:
    assert kube_options(load(settings(PROXY=address)), "kubernetes").proxy == address


def test_each_outcome_has_its_time_or_the_common_one() -> None:
    kept = json.dumps({"failed": 14400, "success": 0, "skipped": 60})
    config = load(settings(KEPT_SECONDS_BY_OUTCOME=kept, DELETE_WORKER_PODS="false", DELETE_GRACE_SECONDS="5"))
    options = kubernetes_options(config, "dep", "kubernetes")
    found = {outcome: options.patience.kept_for_seconds(outcome) for outcome in AttemptState}
    assert (found[AttemptState.FAILED], found[AttemptState.SUCCESS], found[AttemptState.SKIPPED]) == (14400, 0, 60)
    assert (found[AttemptState.CANCELLED], found[AttemptState.RESCHEDULED]) == (math.inf, math.inf)
    assert options.delete_grace_seconds == 5


@pytest.mark.parametrize("kept", [{"broken": 1}, {"failed": -1}])
def test_an_outcome_that_does_not_exist_and_a_time_below_zero_are_refused(kept: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"kubernetes\.kept_seconds_by_outcome"):
        load(settings(KEPT_SECONDS_BY_OUTCOME=json.dumps(kept)))
