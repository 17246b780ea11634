"""The client: what is repeated, how soon, and what each refusal means."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from execplane.contract.messages import Accepted, SecretValue, XComPush
from execplane.worker.client import Client, Fenced, Refused, Unreachable, backoff, path_of
from tests.unit.worker.stub_api import MOMENT, StubApi, claim_answer


class ManualClock:
    """Time moves only while the client waits."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        return MOMENT

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.seconds += seconds
        return False


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def api() -> Iterator[StubApi]:
    with StubApi(claim_answer()) as api:
        yield api


def client_of(url: str, clock: ManualClock) -> Client:
    return Client(url, lambda: "token", clock=clock, wait=clock.wait, rng=lambda: 1.0)


@pytest.fixture
def client(api: StubApi, clock: ManualClock) -> Iterator[Client]:
    client = client_of(api.url, clock)
    yield client
    client.close()


def push(client: Client, patience_seconds: float = 300.0) -> Accepted:
    return client.call("PUT", "xcoms", Accepted, XComPush(nonce="n", values=()), patience_seconds=patience_seconds)


def test_delays_double_up_to_the_cap_with_jitter_of_a_half() -> None:
    full = list(itertools.islice(backoff(1, 10, lambda: 1.0), 6))
    assert full == [1, 2, 4, 8, 10, 10]
    assert list(itertools.islice(backoff(1, 10, lambda: 0.0), 3)) == [0.5, 1, 2]


def test_an_outage_of_five_minutes_is_waited_out(api: StubApi, client: Client, clock: ManualClock) -> None:
    api.statuses["xcoms"] = [503] * 28
    assert push(client, 600).accepted
    assert 300 < sum(clock.waits) < 600
    assert max(clock.waits) == 15
    assert not client.failing


def test_patience_ends_with_a_sentence_about_where_and_how_long(
    api: StubApi, client: Client, clock: ManualClock
) -> None:
    api.down = True
    with pytest.raises(Unreachable, match=r"did not serve us within 60 s \(.*RemoteDisconnected"):
        push(client, 60)
    assert sum(clock.waits) == pytest.approx(60)
    assert client.failing


def test_not_yet_is_asked_again_at_once(api: StubApi, client: Client, clock: ManualClock) -> None:
    api.statuses["xcoms"] = [425, 425]
    push(client)
    assert clock.waits == [0.01, 0.02]


def test_fenced_is_final(api: StubApi, client: Client, clock: ManualClock) -> None:
    api.statuses["xcoms"] = [409]
    with pytest.raises(Fenced):
        push(client)
    assert clock.waits == []


def test_a_malformed_call_is_not_repeated(api: StubApi, client: Client, clock: ManualClock) -> None:
    api.statuses["xcoms"] = [400]
    with pytest.raises(Refused) as refused:
        push(client)
    assert (refused.value.status, refused.value.code) == (400, "malformed")
    assert clock.waits == []


def test_a_refused_token_is_tried_for_a_minute(api: StubApi, client: Client, clock: ManualClock) -> None:
    api.statuses["xcoms"] = [401, 401]
    assert push(client).accepted
    api.statuses["xcoms"] = [401] * 100
    before = clock.seconds
    with pytest.raises(Refused) as refused:
        push(client)
    assert refused.value.code == "token"
    assert 60 <= clock.seconds - before < 90


def test_a_connection_closed_while_idle_is_no_outage(api: StubApi, client: Client, clock: ManualClock) -> None:
    push(client)
    api.cut()
    push(client)
    assert clock.waits == []
    assert api.requests["xcoms"] == 2


def test_one_connection_serves_many_calls(api: StubApi, client: Client) -> None:
    for _ in range(5):
        push(client)
    assert len(api._sockets) == 1


def test_only_answers_that_serve_us_count_as_contact(api: StubApi, client: Client, clock: ManualClock) -> None:
    push(client)
    contact = client.last_contact
    clock.seconds += 50
    api.statuses["xcoms"] = [409]
    with pytest.raises(Fenced):
        push(client)
    assert client.last_contact == contact
    push(client)
    assert client.last_contact == contact + 50


def test_a_proxys_page_is_taken_for_an_outage(client: Client, api: StubApi, clock: ManualClock) -> None:
    api._put_xcoms = lambda argument, body: (502, b"<html>Bad Gateway</html>")  # type: ignore[method-assign]
    with pytest.raises(Unreachable, match="502: HTTP 502 without a reason"):
        push(client, 5)


def test_a_unix_socket_serves_as_well(tmp_path: Path, clock: ManualClock) -> None:
    with StubApi(claim_answer(), unix=str(tmp_path / "a b.sock")) as api:
        client = client_of(api.url, clock)
        assert push(client).accepted
        client.close()


def test_a_socket_that_is_not_there_is_an_outage(tmp_path: Path, clock: ManualClock) -> None:
    with pytest.raises(Unreachable, match="FileNotFoundError"):
        push(client_of(f"unix:{tmp_path}/none.sock", clock), 1)


def test_keys_with_any_character_find_their_way(api: StubApi, client: Client) -> None:
    api.variables["a/b c?d#é"] = SecretValue(value="v")
    answer = client.call("GET", path_of("variables", "a/b c?d#é"), SecretValue, patience_seconds=1)
    assert answer.value == "v"


def test_a_path_before_the_api_is_kept(api: StubApi, clock: ManualClock) -> None:
    client = client_of(api.url + "/prefix/", clock)
    with pytest.raises(Refused) as refused:
        push(client)
    assert refused.value.status == 404
    client.close()
