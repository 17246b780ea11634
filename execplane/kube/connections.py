"""What requests go through: connections made from what a kubeconfig says, and when they must be made anew."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from kubernetes.client.rest import RESTClientObject
from urllib3.util import parse_url

from execplane.kube.unusable import FAILURES, Unusable

_NAMES = ("host", "ssl_ca_cert", "cert_file", "key_file", "verify_ssl", "tls_server_name", "proxy", "no_proxy")
_FILES = ("ssl_ca_cert", "cert_file", "key_file")


def transport(configuration: Any) -> tuple[Any, ...]:
    """What a connection is made of: a certificate that is renewed in its old place makes it another one."""
    named = tuple(getattr(configuration, name) for name in _NAMES)
    return (*named, *(_state(getattr(configuration, name)) for name in _FILES))


def pool_of(configuration: Any) -> urllib3.PoolManager:
    """The library's connections, asked directly: only so do exact bytes go out, and nothing is repeated behind us.
    Raises Unusable."""
    if not _is_server(configuration.host):
        raise Unusable("the server's address is not http(s)://host[:port]")
    if not configuration.verify_ssl:
        # Chosen by the operator, and said by `execplane kubernetes check`: not once a request.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    try:
        if configuration.proxy and (who := urlsplit(configuration.proxy)).username:
            # urllib3 takes the address and leaves the password lying.
            login = f"{unquote(who.username)}:{unquote(who.password or '')}"
            configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=login)
        pool: urllib3.PoolManager = RESTClientObject(configuration).pool_manager
    except FAILURES:
        # Without their words, and not as their cause: they quote the address, which may hold a password.
        raise Unusable(
            "the proxy's address (kubernetes.proxy, the kubeconfig's proxy-url, or HTTPS_PROXY) is not "
            "http(s)://[user:password@]host[:port]"
        ) from None
    return pool


def _is_server(address: Any) -> bool:
    try:
        found = parse_url(str(address))
    except FAILURES:
        return False
    return found.scheme in ("http", "https") and bool(found.host)


def _state(file: str | None) -> tuple[int, int, int] | None:
    if not file:
        return None
    try:
        found = os.stat(file)
    except OSError:
        # It is missed when the next connection is made.
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
