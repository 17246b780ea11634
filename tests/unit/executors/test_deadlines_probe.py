"""The probe of the worker API: nobody waits for it, and an old answer is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from execplane.executors.driver.deadlines_probe import ApiProbe
from tests.conftest import TestClock
from tests.parts.eventually import eventually
from tests.parts.ports import free_ports


class Answering(BaseHTTPRequestHandler):
    """As the worker API does when it is asked for nothing."""

    status = 404

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/worker/v1/" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Overloaded(Answering):
    status = 503


@pytest.fixture(params=[Answering, Overloaded])
def server(request: pytest.FixtureRequest) -> Iterator[HTTPServer]:
    one = HTTPServer(("127.0.0.1", 0), request.param)
    thread = threading.Thread(target=one.serve_forever)
    thread.start()
    yield one
    one.shutdown()
    thread.join()
    one.server_close()


def test_the_first_answer_is_not_waited_for_and_an_old_one_is_forgotten(server: HTTPServer, clock: TestClock) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    well = server.RequestHandlerClass is Answering
    probe = ApiProbe(f"{url}/", clock)

    assert probe() is None
    said = eventually(lambda: [probe()] if probe() is not None else None)

    assert said == ["" if well else f"The worker API at {url}/worker/v1/ answers with status 503."]
    eventually(lambda: not probe._asking)
    clock.advance(61)
    assert probe() is None


def test_an_api_that_is_down_is_named_with_its_address(clock: TestClock) -> None:
    (port,) = free_ports(1)
    probe = ApiProbe(f"http://127.0.0.1:{port}", clock)
    said = eventually(probe)
    assert said == f"The worker API at http://127.0.0.1:{port}/worker/v1/ does not answer: Connection refused."


def test_a_thread_that_cannot_be_had_once_is_asked_for_again(clock: TestClock, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    probe = ApiProbe(f"http://127.0.0.1:{port}", clock)

    def fails(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", fails)
        assert probe() is None

    assert "does not answer" in str(eventually(probe))
