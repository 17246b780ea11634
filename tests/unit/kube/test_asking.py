"""An API server that does not answer has few of the threads that serve all clusters' workers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import jwt
import pytest

from execplane.contract.errors import ConfigError
from execplane.kube.asking import Asking, MadeOnce
from execplane.kube.client import Client
from execplane.kube.errors import AccessDenied, KubeError, Unreachable
from execplane.kube.review import TokenVerifier
from tests.conftest import TestClock
from tests.parts.eventually import eventually

TOKEN = jwt.encode({"iss": "k"}, "x" * 32, algorithm="HS256", headers={"kid": "one"})


class Silent:
    """An API server that takes requests and answers none before it is told to."""

    def __init__(self) -> None:
        self.waiting = 0
        self.told = threading.Event()
        self._lock = threading.Lock()

    def request(self, method: str, path: str, **more: Any) -> bytes:
        with self._lock:
            self.waiting += 1
        self.told.wait(60)
        raise Unreachable("It did not answer.")


def test_of_many_workers_of_a_silent_cluster_two_wait_for_it_and_the_others_are_told_at_once(clock: TestClock) -> None:
    server = Silent()
    verifier = TokenVerifier(cast(Client, server), clock)
    with ThreadPoolExecutor(20) as threads:
        try:
            asked = [threads.submit(verifier.verify_worker_token, TOKEN) for _ in range(20)]
            eventually(lambda: sum(one.done() for one in asked) == 18, 30)
            eventually(lambda: server.waiting == 2, 30)
        finally:
            server.told.set()
        said = [str(one.exception(timeout=30)) for one in asked]
    assert sum("has not answered others yet" in one for one in said) == 18
    assert sum("It did not answer" in one for one in said) == 2


def fail(error: KubeError) -> None:
    raise error


def test_after_silence_one_asks_until_there_is_an_answer() -> None:
    asking, asked, go_on = Asking(), threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        go_on.wait(60)

    with pytest.raises(Unreachable):
        asking(lambda: fail(Unreachable("silence")))
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(asking, wait)
        assert asked.wait(30)
        with pytest.raises(Unreachable, match="has not answered others"):
            asking(lambda: None)
        go_on.set()
        first.result(30)
        asked.clear()
        go_on.clear()
        threads.submit(asking, wait)
        assert asked.wait(30)
        # It answered: two may ask again.
        assert asking(lambda: 7) == 7
        go_on.set()


def test_a_refusal_is_an_answer() -> None:
    asking = Asking()
    with pytest.raises(AccessDenied):
        asking(lambda: fail(AccessDenied("no", status=403)))
    assert not asking._troubled


class Plugin:
    """What making a client may run: it hangs, fails or works."""

    def __init__(self) -> None:
        self.runs = 0
        self.works = True
        self.go_on = threading.Event()

    def __call__(self) -> str:
        self.runs += 1
        self.go_on.wait(60)
        if not self.works:
            raise ConfigError("The plugin failed.", hint="Mend it.")
        return "client"


def test_while_one_makes_the_client_the_others_are_told_at_once_and_it_is_made_once(clock: TestClock) -> None:
    plugin = Plugin()
    made = MadeOnce(plugin, Asking(), clock)
    with ThreadPoolExecutor(4) as threads:
        try:
            asked = [threads.submit(made) for _ in range(4)]
            eventually(lambda: sum(one.done() for one in asked) == 3, 30)
        finally:
            plugin.go_on.set()
        said = [one.exception(timeout=30) for one in asked]
    assert sum(one is None for one in said) == 1
    assert sum("has not answered others yet" in str(one) for one in said) == 3
    assert (made(), made(), plugin.runs) == ("client", "client", 1)


def test_a_client_that_cannot_be_made_is_tried_again_after_a_while_and_not_for_each_worker(clock: TestClock) -> None:
    plugin = Plugin()
    plugin.works = False
    plugin.go_on.set()
    made = MadeOnce(plugin, Asking(), clock)
    for _ in range(20):
        with pytest.raises(Unreachable, match="The plugin failed") as refused:
            made()
        assert refused.value.hint == "Mend it."
    assert plugin.runs == 1
    clock.advance(5)
    plugin.works = True
    assert (made(), plugin.runs) == ("client", 2)
