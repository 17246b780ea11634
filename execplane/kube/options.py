"""How the API server is reached: this room's options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class KubeOptions:
    """Where the cluster is and how patient we are with it.

    With neither `in_cluster` nor `kubeconfig`: the pod's service account where there is one, else ~/.kube/config.
    """

    kubeconfig: str = ""
    context: str = ""
    """Empty: the kubeconfig's current one."""
    in_cluster: bool | None = None
    """True: only the pod's service account. False: only a kubeconfig."""
    pool_size: int = 32
    """Connections kept open; at least the concurrent creates plus the watches."""
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 30.0
    """The longest silence within an answer."""
    tcp_keepalive_seconds: tuple[int, int, int] | None = (30, 10, 6)
    """Idle time, interval, count: a dead link is noticed even where nobody reads. None: no keepalive."""
    verify_ssl: bool | None = None
    """False: whoever answers is believed. None: as the kubeconfig says; True where `ssl_ca_cert` is given."""
    ssl_ca_cert: str = ""
    """File of the authorities to trust; empty: the kubeconfig's or the service account's."""
    proxy: str = ""
    """Wins over NO_PROXY. Empty: the kubeconfig's proxy-url, else HTTPS_PROXY and NO_PROXY."""
    watch_timeout_seconds: int = 40
    """The server ends a watch after this long; it sends a bookmark just before, so nothing is missed or re-read."""
    watch_silence_seconds: float = 50.0
    """A watch that says nothing for longer than its server-side end is half-open: it is dropped and resumed."""
    backoff_first_seconds: float = 0.2
    backoff_most_seconds: float = 30.0
    page_size: int = 500
    """Objects per page of a list."""
