"""The real worker API behind a real HTTP server, on the database that the run was asked for."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import uvicorn
from cryptography.fernet import Fernet
from django.db import connections

from execplane.actions.worker import Beats, WorkerPolicy
from execplane.api.worker.app import PREFIX, WorkerApp
from execplane.api.worker.routes import WorkerApi, local_verifier, pod_verifier
from execplane.api.worker.tokens import TokenMint
from execplane.blobs.files import FileBlobOptions, FileBlobStore
from execplane.bundles.places import BundlePlaces
from execplane.contract.dag import DagSpec, ExpandArg, MappedSpec, TaskSpec, XComRef
from execplane.contract.errors import Forbidden
from execplane.contract.keys import AttemptKey, TaskKey
from execplane.contract.messages import ClaimAnswer, ClaimRequest, End, Refusal, XComValue
from execplane.contract.states import Cause, TaskState
from execplane.contract.workload import Intent
from execplane.executors.driver.holding import HoldLimits
from execplane.executors.task_policy import FailurePolicy
from execplane.kube.review import PodIdentity
from execplane.logs.files import FileLogStore
from execplane.logs.options import FileLogOptions
from execplane.store.database import write
from execplane.store.deployment import identity
from execplane.store.models import Attempt, DagRun, TaskInstance
from execplane.store.secrets import SecretBox
from execplane.store.transitions import launching, runs
from tests.conftest import TestClock
from tests.integration.store.conftest import new_run, save_dag
from tests.parts.eventually import eventually

T = TypeVar("T")
NONCE = "0" * 32
UID = "boot:1:2"
MAPPED = MappedSpec(args=(ExpandArg(name="x", refs=(XComRef(task_id="extract"),)),))
SPEC = DagSpec(
    dag_id="orders",
    file="orders.py",
    tasks=(
        TaskSpec(task_id="each", operator="@task", upstream=("extract",), mapped=MAPPED),
        TaskSpec(task_id="extract", operator="BashOperator", retries=2, retry_delay_seconds=60),
        TaskSpec(
            task_id="load",
            operator="BashOperator",
            upstream=("extract",),
            xcom_refs=(XComRef(task_id="extract"),),
        ),
    ),
)


@dataclass
class Answer:
    status: int
    body: bytes
    content_type: str

    def read(self, kind: type[T]) -> T:
        assert self.status == 200, self.body
        return msgspec.json.decode(self.body, type=kind)

    @property
    def refusal(self) -> Refusal:
        assert self.content_type == "application/json"
        return msgspec.json.decode(self.body, type=Refusal)


@dataclass
class Caller:
    """HTTP calls, and a ledger to call about."""

    port: int
    api: WorkerApi
    clock: TestClock
    version: Any
    run_pk: int
    token: str = ""
    pods: dict[str, PodIdentity] = field(default_factory=dict)
    """Service-account tokens that the cluster vouches for."""

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def raw(self, method: str, path: str, body: bytes | None = None, *, token: str | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            bearer = self.token if token is None else token
            connection.request(method, PREFIX + path, body, {"Authorization": f"Bearer {bearer}"} if bearer else {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), answer.headers["content-type"])
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Answer:
        return self.raw(method, path, None if body is None else msgspec.json.encode(body), token=token)

    # The ledger

    def run(self, run_id: str, when: datetime | None = None) -> int:
        """Another run of the DAG; gives its key."""
        pk = runs.create_run(new_run("orders", self.version, run_id, when), now=self.now)
        self.add_instance("extract", run_pk=pk)
        DagRun.objects.filter(pk=pk).update(state="running", started_at=self.now)
        return pk

    def add_instance(self, task_id: str, map_index: int = -1, run_pk: int = 0) -> TaskInstance:
        return TaskInstance.objects.create(
            dagrun_id=run_pk or self.run_pk, task_id=task_id, map_index=map_index, state=TaskState.NONE
        )

    def instance(self, task_id: str = "extract", map_index: int = -1, run_pk: int = 0) -> TaskInstance:
        return TaskInstance.objects.get(dagrun_id=run_pk or self.run_pk, task_id=task_id, map_index=map_index)

    def queued(
        self, task_id: str = "extract", map_index: int = -1, executor: str = "local", run_pk: int = 0
    ) -> Attempt:
        launch = launching.NewAttempt(
            ti_id=self.instance(task_id, map_index, run_pk).pk,
            task_id=task_id,
            map_index=map_index,
            cause=Cause.FIRST,
            executor=executor,
            queue="default",
            pool="default_pool",
            slots=1,
            priority=1,
        )
        with write():
            launching.queue_attempts(run_pk or self.run_pk, [launch], actor="scheduler", now=self.now)
        return Attempt.objects.latest("pk")

    def launched(
        self, task_id: str = "extract", map_index: int = -1, executor: str = "local", run_pk: int = 0
    ) -> Attempt:
        attempt = self.queued(task_id, map_index, executor, run_pk)
        with write():
            launching.claim([attempt.pk], owner="d1", now=self.now)
        intent = Intent(
            attempt_id=attempt.pk, key=key_of(attempt), namespace="team", name=f"launch-{attempt.pk}", body=b"{}"
        )
        launching.commit_intents([intent], owner="d1", now=self.now)
        return Attempt.objects.get(pk=attempt.pk)

    # The worker's part

    def claim_request(self, attempt: Attempt, *, nonce: str = NONCE, uid: str = UID) -> ClaimRequest:
        return ClaimRequest(attempt_id=attempt.pk, key=key_of(attempt), uid=uid, nonce=nonce, hostname="here")

    def launch_token(self, attempt: Attempt) -> str:
        return self.api.mint.launch_token(attempt.pk, self.now)

    def claim(self, attempt: Attempt, *, nonce: str = NONCE, uid: str = UID) -> Answer:
        request = self.claim_request(attempt, nonce=nonce, uid=uid)
        return self.call("POST", "claim", request, token=self.launch_token(attempt))

    def running(self, task_id: str = "extract", map_index: int = -1, run_pk: int = 0) -> Attempt:
        """A claimed attempt; its token is used from now on."""
        attempt = self.launched(task_id, map_index, run_pk=run_pk)
        self.token = self.claim(attempt).read(ClaimAnswer).token
        return Attempt.objects.get(pk=attempt.pk)

    def end(self, **fields: Any) -> Answer:
        values: dict[str, Any] = {"nonce": NONCE, "outcome": "success", "ended_at": self.now}
        return self.call("POST", "end", End(**(values | fields)))


def value(data: object, key: str = "return_value", task_id: str = "extract") -> XComValue:
    return XComValue(task_id=task_id, key=key, value=msgspec.Raw(msgspec.json.encode(data)))


def key_of(attempt: Attempt) -> AttemptKey:
    task = TaskKey(dag_id=attempt.dag_id, run_id=attempt.run_id, task_id=attempt.task_id, map_index=attempt.map_index)
    return AttemptKey(task=task, attempt_no=attempt.attempt_no)


@pytest.fixture
def caller(transactional_db: None, clock: TestClock, tmp_path: Path) -> Iterator[Caller]:
    pods: dict[str, PodIdentity] = {}

    def identify(token: str) -> PodIdentity:
        if token not in pods:
            raise Forbidden("The cluster does not know the token.")
        return pods[token]

    blobs = FileBlobStore(FileBlobOptions(folder=tmp_path / "blobs"))
    mint = TokenMint(["a key of the tests"], life_seconds=3600)
    api = WorkerApi(
        clock=clock,
        policy=WorkerPolicy(
            heartbeat_seconds=10,
            self_fence_seconds=600,
            grace_seconds=30,
            xcom_blob_bytes=65536,
            xcom_max_bytes=10_000_000,
            failures=FailurePolicy(),
            web_url="http://web",
            sources={"kubernetes": ("volume", "/dags")},
            env={"EXECPLANE_TIMETABLE_SEMANTICS": "instant"},
            ignore_syntax="regexp",
            holds=HoldLimits(most_seconds=7200, most_containers=2),
        ),
        mint=mint,
        verify={"local": local_verifier(mint, clock), "kubernetes": pod_verifier(identify)},
        beats=Beats(clock),
        logs=FileLogStore(FileLogOptions(folder=tmp_path / "logs")),
        bundles=BundlePlaces(tmp_path / "bundles", blobs),
        blobs=blobs,
        secrets=SecretBox([Fernet.generate_key().decode()]),
        nudge=lambda topics: None,
    )
    identity(clock.now())
    version = save_dag(SPEC, clock.now())
    with Serving(WorkerApp(api.handle)) as port:
        one = Caller(port, api, clock, version, 0, pods=pods)
        one.run_pk = runs.create_run(new_run("orders", version, "r1", clock.now()), now=clock.now())
        one.add_instance("extract")
        one.add_instance("load")
        DagRun.objects.filter(pk=one.run_pk).update(state="running", started_at=clock.now())
        yield one


class Serving:
    """Serve the application on a free port until the block ends."""

    def __init__(self, app: WorkerApp) -> None:
        self._app = app
        options = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> int:
        self._thread.start()
        eventually(lambda: self._server.started, interval_seconds=0.005)
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def __exit__(self, *exception: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        for threads in (self._app._threads, self._app._streams):
            close_connections(threads)
        self._app.close()


def close_connections(threads: ThreadPoolExecutor) -> None:
    """Each thread has a connection of its own, and the test database cannot be dropped while they are open."""
    number = threads._max_workers
    together = threading.Barrier(number)

    def close() -> None:
        together.wait(10)
        connections.close_all()

    for done in [threads.submit(close) for _ in range(number)]:
        done.result()
