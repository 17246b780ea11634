"""Kubeconfigs, tokens and proxies that cannot be used: an error of ours that quotes nothing, and what worked stays."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import ConfigError
from execplane.kube.client import Client
from execplane.kube.errors import Unauthorized
from execplane.kube.options import KubeOptions
from tests.conftest import TestClock
from tests.unit.kube.api_server import Authority, api_server, kubeconfig

NOWHERE = "http://127.0.0.1:1"


def connected(file: Path, clock: TestClock | None = None, **options: Any) -> Client:
    return Client(KubeOptions(kubeconfig=str(file), in_cluster=False, **options), clock or TestClock())


def refused(file: Path, **options: Any) -> str:
    """What is said, with all that a traceback would print; the secret is in none of it."""
    with pytest.raises(ConfigError) as caught:
        connected(file, **options)
    shown = "".join(traceback.format_exception(caught.value))
    assert "S3CRET" not in shown
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("users: [{name: u, user: {token: S3CRET", "only half written (line 1)"),
        ("apiVersion", "has not the form that it must have"),
        ("clusters: {}\nusers: [S3CRET]\ncurrent-context: c\n", "Expected object with name c."),
        (
            (
                "clusters: [{name: k, cluster: {server: 1}}]\nusers: [{name: u, user: {token: S3CRET}}]\n"
                "contexts: [{name: c, context: {cluster: k, user: u}}]\ncurrent-context: c\n"
            ),
            "has not the form that it must have (AttributeError)",
        ),
        ("", "is no kubeconfig as Kubernetes has it"),
    ],
)
def test_a_kubeconfig_that_is_half_written_or_none_is_told_without_what_stands_in_it(
    tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "kubeconfig").write_text(content)
    assert said in refused(tmp_path / "kubeconfig")


def test_a_user_entry_in_the_wrong_place_does_not_show_its_token(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, NOWHERE, {"token": "t"})
    content = json.loads(file.read_text())
    content["users"] = [{"name": one["name"], "token": "S3CRET"} for one in content["users"]]
    file.write_text(json.dumps(content))
    assert "Expected key user." in refused(file)


def test_a_plugins_environment_is_not_shown(tmp_path: Path) -> None:
    env = [{"name": "PASSWORD", "value": "S3CRET"}, {"name": "EMPTY", "value": None}]
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "plugin", "env": env}}
    refused(kubeconfig(tmp_path, NOWHERE, user))


@pytest.mark.parametrize("token", ["S3CRET\nS3CRET2\n", "S3CRET\x07", "S3CRETé"])
def test_a_token_that_no_header_can_hold_is_refused_when_it_is_read_and_not_shown(tmp_path: Path, token: str) -> None:
    (tmp_path / "token").write_text(token)
    assert "the token has a line break" in refused(
        kubeconfig(tmp_path, NOWHERE, {"tokenFile": str(tmp_path / "token")})
    )


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.DependencyWarning")
@pytest.mark.parametrize(
    "proxy", ["proxy:3128", "socks5://user:S3CRET@proxy:1080", "http://user:S3CRET/ret@proxy:3128", "http://[S3CRET"]
)
def test_a_proxy_that_is_none_is_told_without_its_password(tmp_path: Path, proxy: str) -> None:
    said = "the proxy's address"
    assert said in refused(kubeconfig(tmp_path, NOWHERE, {"token": "t"}), proxy=proxy)
    assert said in refused(kubeconfig(tmp_path, NOWHERE, {"token": "t"}, **{"proxy-url": proxy}))


def test_a_server_without_a_scheme_is_told_at_the_start(tmp_path: Path) -> None:
    assert "the server's address is not" in refused(kubeconfig(tmp_path, "api.example:6443", {"token": "t"}))


@pytest.mark.parametrize("fault", ["half a file", "a broken proxy", "a token of two lines"])
def test_what_is_broken_later_replaces_nothing_and_is_told_with_the_next_refusal(tmp_path: Path, fault: str) -> None:
    clock = TestClock()
    with api_server() as server:
        client = connected(kubeconfig(tmp_path, server.url, {"token": "old"}), clock)
        file = kubeconfig(tmp_path, server.url, {"token": "S3CRET\nS3CRET" if fault.startswith("a token") else "t"})
        if fault == "half a file":
            file.write_text(file.read_text()[:-10])
        elif fault == "a broken proxy":
            kubeconfig(tmp_path, server.url, {"token": "t"}, **{"proxy-url": "proxy:S3CRET"})
        server.refused.add("Bearer old")
        for _ in range(2):
            clock.advance(5)
            with pytest.raises(Unauthorized) as caught:
                client.request("GET", "/version")
        assert "could not be renewed" in caught.value.hint
        assert "S3CRET" not in caught.value.hint
        server.refused.clear()
        client.request("GET", "/version")
        assert server.authorizations[-1] == "Bearer old"
        client.close()


def test_a_client_certificate_that_is_renewed_in_its_place_is_shown_after_a_401(tmp_path: Path) -> None:
    clock = TestClock()
    authority = Authority(tmp_path).write()
    with api_server(authority.certificate("server")) as server:
        cert, key = authority.certificate("client")
        files = {"client-certificate": str(cert), "client-key": str(key)}
        file = kubeconfig(tmp_path, server.url, files, **{"certificate-authority": str(authority.file)})
        client = connected(file, clock)
        before = client.credentials.pool
        server.refused.add("")
        for _ in range(2):
            with pytest.raises(Unauthorized):
                client.request("GET", "/version")
            clock.advance(5)
        assert client.credentials.pool is before, "read again, and still the same"
        for old, new in zip((cert, key), authority.certificate("next"), strict=True):
            new.replace(old)
        server.refused.clear()
        client.request("GET", "/version")
        assert client.credentials.pool is not before
        client.close()


@pytest.mark.parametrize(("settings", "verified"), [({}, False), ({"verify_ssl": True}, True)])
def test_the_settings_word_on_verifying_wins_over_the_kubeconfigs(
    tmp_path: Path, settings: dict[str, Any], verified: bool
) -> None:
    file = kubeconfig(tmp_path, "https://127.0.0.1:1", {"token": "t"}, **{"insecure-skip-tls-verify": True})
    assert connected(file, **settings).credentials.configuration.verify_ssl is verified


def test_an_authority_in_the_settings_is_asked_although_the_kubeconfig_skips_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path).write()
    file = kubeconfig(tmp_path, "https://127.0.0.1:1", {"token": "t"}, **{"insecure-skip-tls-verify": True})
    asked = connected(file, ssl_ca_cert=str(authority.file))
    assert asked.credentials.configuration.verify_ssl is True
    careless = connected(file, ssl_ca_cert=str(authority.file), verify_ssl=False)
    assert careless.credentials.configuration.verify_ssl is False


@pytest.mark.parametrize("where", ["settings", "kubeconfig"])
def test_a_proxy_that_is_named_is_asked_whatever_no_proxy_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with api_server() as proxy:
        named = {"proxy-url": proxy.url} if where == "kubeconfig" else {}
        file = kubeconfig(tmp_path, "http://api.nowhere.invalid:6443", {"token": "t"}, **named)
        client = connected(file, proxy=proxy.url if where == "settings" else "")
        client.request("GET", "/version")
        assert proxy.asked == [("GET", "http://api.nowhere.invalid:6443/version")]
        client.close()


def test_an_error_names_the_file_that_kubeconfig_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "mine"))
    with pytest.raises(ConfigError, match=f"in {tmp_path / 'mine'}: there is no such file"):
        Client(KubeOptions(in_cluster=False), TestClock())
