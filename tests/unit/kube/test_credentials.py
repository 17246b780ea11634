"""Credentials that change, come from a plugin, or end; and who is trusted."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from execplane.contract.errors import ConfigError
from execplane.kube.client import Client
from execplane.kube.credentials import Credentials
from execplane.kube.errors import Unauthorized, Unreachable
from execplane.kube.options import KubeOptions
from tests.conftest import TestClock
from tests.unit.kube.api_server import ApiServer, Authority, api_server, kubeconfig

API = "client.authentication.k8s.io/v1"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with api_server() as running:
        yield running


@dataclass
class Plugin:
    """An exec plugin: a script that prints what stands in a file, and counts its runs."""

    folder: Path
    runs_file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.runs_file = self.folder / "runs"
        self.runs_file.write_text("")
        (self.folder / "plugin.py").write_text(
            "import pathlib, sys\n"
            f"folder = pathlib.Path({str(self.folder)!r})\n"
            "with (folder / 'runs').open('a') as runs: runs.write('x')\n"
            "said = (folder / 'said').read_text()\n"
            "sys.exit(said.removeprefix('fail:')) if said.startswith('fail:') else print(said)\n"
        )

    @property
    def user(self) -> dict[str, Any]:
        wanted = {"apiVersion": API, "command": sys.executable, "args": [str(self.folder / "plugin.py")]}
        return {"exec": {**wanted, "interactiveMode": "Never"}}

    @property
    def runs(self) -> int:
        return len(self.runs_file.read_text())

    def says(self, **status: Any) -> None:
        answer = {"apiVersion": API, "kind": "ExecCredential", "status": status}
        (self.folder / "said").write_text(json.dumps(answer))

    def fails(self, words: str) -> None:
        (self.folder / "said").write_text(f"fail:{words}")


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def connected(file: Path, clock: TestClock, **options: Any) -> Client:
    return Client(KubeOptions(kubeconfig=str(file), in_cluster=False, connect_timeout_seconds=5, **options), clock)


def in_an_hour(clock: TestClock) -> str:
    return (clock.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_token_file_that_changes_is_read_again(server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    clock = TestClock()
    client = connected(kubeconfig(tmp_path, server.url, {"tokenFile": str(tmp_path / "token")}), clock)
    client.request("GET", "/version")
    (tmp_path / "token").write_text("second\n")
    client.request("GET", "/version")
    clock.advance(60)
    client.request("GET", "/version")
    assert server.authorizations == ["Bearer first", "Bearer first", "Bearer second"]
    client.close()


def test_in_a_pod_the_service_accounts_token_is_used_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path).write()
    (tmp_path / "token").write_text("first")
    library = "kubernetes.config.incluster_config"
    monkeypatch.setattr(f"{library}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(f"{library}.SERVICE_CERT_FILENAME", str(authority.file))
    clock = TestClock()
    with api_server(authority.certificate("server")) as server:
        host, port = server.url.removeprefix("https://").split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        client = Client(KubeOptions(in_cluster=True), clock)
        client.request("GET", "/version")
        (tmp_path / "token").write_text("second")
        clock.advance(60)
        client.request("GET", "/version")
        assert [said.lower() for said in server.authorizations] == ["bearer first", "bearer second"]
        client.close()


def test_in_cluster_without_a_service_account_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="in the pod's service account"):
        Client(KubeOptions(in_cluster=True), TestClock())


def test_a_token_file_that_is_gone_for_a_moment_does_no_harm(server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    clock = TestClock()
    client = connected(kubeconfig(tmp_path, server.url, {"tokenFile": str(tmp_path / "token")}), clock)
    (tmp_path / "token").unlink()
    clock.advance(60)
    client.request("GET", "/version")
    (tmp_path / "token").write_text("second")
    clock.advance(60)
    client.request("GET", "/version")
    assert server.authorizations == ["Bearer first", "Bearer second"]
    client.close()


def test_a_kubeconfig_that_changes_is_read_after_a_401_but_never_leads_to_another_cluster(
    server: ApiServer, tmp_path: Path
) -> None:
    clock = TestClock()
    client = connected(kubeconfig(tmp_path, server.url, {"token": "revoked"}), clock)
    server.refused.add("Bearer revoked")
    kubeconfig(tmp_path, "http://127.0.0.1:1", {"token": "new"})
    for _ in range(2):
        clock.advance(5)
        with pytest.raises(Unauthorized) as caught:
            client.request("GET", "/version")
    assert "names another server now" in caught.value.hint
    kubeconfig(tmp_path, server.url, {"token": "new"})
    clock.advance(5)
    client.request("GET", "/version")
    assert server.authorizations[-1] == "Bearer new"
    client.close()


def test_a_plugin_runs_again_before_its_credentials_end_and_not_for_each_request(
    server: ApiServer, plugin: Plugin, tmp_path: Path
) -> None:
    clock = TestClock()
    plugin.says(token="first", expirationTimestamp=in_an_hour(clock))
    client = connected(kubeconfig(tmp_path, server.url, plugin.user), clock)
    for _ in range(5):
        client.request("GET", "/version")
    assert plugin.runs == 1
    clock.advance(3590)
    plugin.says(token="second", expirationTimestamp=in_an_hour(clock))
    client.request("GET", "/version")
    assert (plugin.runs, server.authorizations[-1]) == (2, "Bearer second")
    client.close()


def test_a_plugin_is_asked_again_after_a_401_but_not_for_each_of_many(
    server: ApiServer, plugin: Plugin, tmp_path: Path
) -> None:
    clock = TestClock()
    plugin.says(token="revoked")
    client = connected(kubeconfig(tmp_path, server.url, plugin.user), clock)
    server.refused.add("Bearer revoked")
    plugin.says(token="new")
    for _ in range(3):
        with pytest.raises(Unauthorized):
            client.request("GET", "/version")
    assert plugin.runs == 1
    clock.advance(5)
    client.request("GET", "/version")
    assert (plugin.runs, server.authorizations[-1]) == (2, "Bearer new")
    client.close()


def test_a_plugin_that_fails_later_costs_nothing_until_what_it_gave_has_ended(
    server: ApiServer, plugin: Plugin, tmp_path: Path
) -> None:
    clock = TestClock()
    plugin.says(token="first", expirationTimestamp=in_an_hour(clock))
    client = connected(kubeconfig(tmp_path, server.url, plugin.user), clock)
    plugin.fails("no network")
    clock.advance(3590)
    client.request("GET", "/version")
    clock.advance(30)
    with pytest.raises(Unreachable, match=r"could not be renewed: .*no network"):
        client.request("GET", "/version")
    assert len(server.asked) == 1
    client.close()


def test_a_plugin_that_fails_at_the_start_is_told_with_its_own_words(plugin: Plugin, tmp_path: Path) -> None:
    plugin.fails("log in first")
    with pytest.raises(ConfigError, match="ended with code 1: log in first"):
        connected(kubeconfig(tmp_path, "http://127.0.0.1:1", plugin.user), TestClock())


def test_a_plugin_that_prints_something_else_does_not_show_it(plugin: Plugin, tmp_path: Path) -> None:
    (tmp_path / "said").write_text("raw-secret")
    with pytest.raises(ConfigError) as caught:
        connected(kubeconfig(tmp_path, "http://127.0.0.1:1", plugin.user), TestClock())
    assert "did not print an ExecCredential" in caught.value.message
    assert "raw-secret" not in str(caught.value)


def test_a_plugin_that_hangs_is_given_up(plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execplane.kube.credentials._PLUGIN_SECONDS", 0.5)
    (tmp_path / "plugin.py").write_text("import time; time.sleep(600)")
    with pytest.raises(ConfigError, match=r"did not answer within 0\.5 s"):
        connected(kubeconfig(tmp_path, "http://127.0.0.1:1", plugin.user), TestClock())


def test_a_plugins_client_certificate_is_shown_and_its_next_one_too(plugin: Plugin, tmp_path: Path) -> None:
    authority = Authority(tmp_path).write()
    clock = TestClock()
    with api_server(authority.certificate("server")) as server:
        first, second = authority.certificate("first"), authority.certificate("second")

        def give(files: tuple[Path, Path]) -> None:
            pair = {"clientCertificateData": files[0].read_text(), "clientKeyData": files[1].read_text()}
            plugin.says(**pair, expirationTimestamp=in_an_hour(clock))

        give(first)
        user = kubeconfig(tmp_path, server.url, plugin.user, **{"certificate-authority": str(authority.file)})
        client = connected(user, clock)
        client.request("GET", "/version")
        shown = Path(client.credentials.configuration.cert_file).read_text()
        pool = client.credentials.pool
        give(second)
        clock.advance(3590)
        client.request("GET", "/version")
        assert shown.startswith(first[0].read_text())
        assert Path(client.credentials.configuration.cert_file).read_text().startswith(second[0].read_text())
        assert client.credentials.pool is not pool
        client.close()


def test_the_authority_of_the_settings_wins(tmp_path: Path) -> None:
    authority = Authority(tmp_path).write()
    with api_server(authority.certificate("server")) as server:
        file = kubeconfig(tmp_path, server.url, {"token": "t"})
        distrusting = connected(file, TestClock())
        with pytest.raises(Unreachable, match="not signed by an authority we know"):
            distrusting.request("GET", "/version")
        client = connected(file, TestClock(), ssl_ca_cert=str(authority.file))
        client.request("GET", "/version")
        careless = connected(file, TestClock(), verify_ssl=False)
        careless.request("GET", "/version")
        for one in (distrusting, client, careless):
            one.close()


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        ({"ends_in": timedelta(hours=-1)}, "has expired"),
        ({"address": "192.0.2.1"}, "for another name"),
    ],
)
def test_a_certificate_that_is_not_good_is_told_in_a_sentence(
    tmp_path: Path, certificate: dict[str, Any], said: str
) -> None:
    authority = Authority(tmp_path).write()
    with api_server(authority.certificate("server", **certificate)) as server:
        file = kubeconfig(tmp_path, server.url, {"token": "t"}, **{"certificate-authority": str(authority.file)})
        client = connected(file, TestClock())
        with pytest.raises(Unreachable, match=f"cannot be trusted: its certificate.* {said}") as caught:
            client.request("GET", "/version")
        assert caught.value.hint
        assert server.asked == []
        client.close()


def test_a_401_says_which_of_our_credentials_has_expired(server: ApiServer, tmp_path: Path) -> None:
    ended = Authority(tmp_path).write().certificate("client", ends_in=timedelta(hours=-1))
    clock = TestClock()
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds())
    files = {"client-certificate": str(ended[0]), "client-key": str(ended[1])}
    client = connected(kubeconfig(tmp_path, server.url.replace("http:", "https:"), files), clock)
    assert "The client certificate for" in client.credentials.expired()
    client.close()
    # A server behind TLS refuses it in the handshake or with a 401, as it likes; this one has no TLS.
    plain = connected(kubeconfig(tmp_path, server.url, {"token": _ends_at(clock.now() - timedelta(hours=1))}), clock)
    server.refused.add(plain.credentials.headers()["authorization"])
    with pytest.raises(Unauthorized) as caught:
        plain.request("GET", "/version")
    assert "The token for" in caught.value.hint
    assert "has expired" in caught.value.hint
    plain.close()


def test_a_proxy_is_asked_for_everything(server: ApiServer, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, "http://api.nowhere.invalid:6443", {"token": "t"})
    client = connected(file, TestClock(), proxy=server.url.replace("//", "//ann:p%40ss@"))
    client.request("GET", "/version")
    assert server.asked == [("GET", "http://api.nowhere.invalid:6443/version")]
    assert server.proxy_logins == ["Basic " + b64encode(b"ann:p@ss").decode()]
    client.close()


def test_a_proxy_that_is_not_there_is_called_so(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, "https://api.nowhere.invalid:6443", {"token": "t"})
    client = connected(file, TestClock(), proxy="http://127.0.0.1:1")
    with pytest.raises(Unreachable, match="The proxy on the way to the API server"):
        client.request("GET", "/version")
    client.close()


def test_what_ends_is_known_with_its_time(tmp_path: Path) -> None:
    clock = TestClock()
    at = (clock.now() + timedelta(days=3)).replace(microsecond=0)
    file = kubeconfig(tmp_path, "http://127.0.0.1:1", {"token": _ends_at(at)})
    found = Credentials(KubeOptions(kubeconfig=str(file), in_cluster=False), clock).expiries()
    assert [(one.what, one.at, one.renewed) for one in found] == [("The token for http://127.0.0.1:1", at, False)]


def _ends_at(moment: datetime) -> str:
    import jwt

    return jwt.encode({"exp": int(moment.timestamp())}, "k" * 32, algorithm="HS256")
