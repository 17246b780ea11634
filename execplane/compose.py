"""Wires the rooms from the configuration: the only place that knows all of them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from execplane import __version__, compose_executors, room_options
from execplane.config import Config, current, secret, signing_keys
from execplane.contract.clock import Clock, SystemClock
from execplane.contract.errors import ConfigError
from execplane.contract.executor import Executor
from execplane.contract.loops import Loop

if TYPE_CHECKING:
    from execplane.actions.pending import WhyPending
    from execplane.actions.unserved import Served
    from execplane.actions.worker import Beats, WorkerPolicy
    from execplane.api.worker.app import WorkerApp
    from execplane.api.worker.routes import WorkerApi
    from execplane.api.worker.tokens import TokenMint
    from execplane.blobs.files import FileBlobStore
    from execplane.bundles.places import BundlePlaces
    from execplane.executors.driver.workloads import Deployed
    from execplane.executors.kubernetes_options import KubernetesOptions
    from execplane.executors.kubernetes_pace import Paces
    from execplane.executors.task_policy import FailurePolicy
    from execplane.logs.files import FileLogStore
    from execplane.loops.supervisor import Report, Runner
    from execplane.loops.wake import WakeBus
    from execplane.metrics.options import MetricsOptions
    from execplane.metrics.start import Started
    from execplane.store.secrets import SecretBox


def packaged(name: str) -> Path:
    """A folder that comes with execplane: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parent
    return next((place for place in (package / name, package.parent / name) if place.is_dir()), package / name)


def setup() -> Config:
    """Read the configuration and set Django up. Raises ConfigError."""
    config = current()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execplane.settings")
    import django

    django.setup()
    return config


@dataclass
class Deployment:
    """This process's parts, made when first asked for: a shell command does not pay for what a server needs."""

    config: Config
    clock: Clock = field(default_factory=SystemClock)

    @cached_property
    def process(self) -> str:
        """Names this process in leases, events and on the loops page."""
        return f"{socket.gethostname()}:{os.getpid()}"

    @cached_property
    def bus(self) -> WakeBus:
        """The wake bus, connected to the other processes and fed by the store's commits."""
        from execplane.loops.wake import DatagramTransport, ListenTransport, WakeBus
        from execplane.store.database import NOTIFY_CHANNEL, is_postgresql, set_publisher

        bus = WakeBus()
        if is_postgresql():
            url = self.config.listen_url.get_secret_value() or self.config.database_url.get_secret_value()
            bus.transport = ListenTransport(bus, url, NOTIFY_CHANNEL)
        else:
            bus.transport = DatagramTransport(bus, self.config.home / "wake")
        set_publisher(bus.publish, bus.origin)
        return bus

    @cached_property
    def identity(self) -> tuple[str, int]:
        """The deployment's id and incarnation."""
        from execplane.store.deployment import identity

        return identity(self.clock.now())

    @cached_property
    def blobs(self) -> FileBlobStore:
        from execplane.blobs.files import FileBlobOptions, FileBlobStore

        return FileBlobStore(FileBlobOptions(folder=self.config.home / "blobs"))

    @cached_property
    def bundles(self) -> BundlePlaces:
        from execplane.bundles.places import BundlePlaces

        return BundlePlaces(self.config.home / "bundles", self.blobs)

    @cached_property
    def logs(self) -> FileLogStore:
        from execplane.logs.files import FileLogStore
        from execplane.logs.options import FileLogOptions

        return FileLogStore(FileLogOptions(folder=self.config.home / "logs"))

    @cached_property
    def paces(self) -> Paces:
        """How fast each API server is asked for pods, by all executors of this process."""
        from execplane.executors.kubernetes_pace import Paces

        return Paces(self.clock)

    @cached_property
    def mint(self) -> TokenMint:
        from execplane.api.worker.tokens import TokenMint

        return TokenMint(signing_keys(self.config), life_seconds=self.config.worker.token_seconds)

    @cached_property
    def served(self) -> Served:
        """What verbs know of the executors."""
        from execplane.actions.unserved import Served
        from execplane.executors.driver.ends import FENCE_MARGIN

        seconds = self.config.worker.self_fence_seconds * FENCE_MARGIN
        return Served(
            executors=self.config.all_executors,
            self_fence=timedelta(seconds=seconds),
            clusters=tuple(self.config.clusters),
        )

    @cached_property
    def why_pending(self) -> WhyPending:
        """Answers why something does not run; talks to the cluster only when it is asked about a pod."""
        from execplane.actions.pending import PendingOptions, WhyPending

        config = self.config
        options = PendingOptions(
            executors=config.all_executors,
            parallelism=config.parallelism or None,
            slots={name: room_options.slots(config, name) for name in config.all_executors},
        )
        return WhyPending(options, self.clock, compose_executors.looks(self))

    @cached_property
    def secrets(self) -> SecretBox:
        from execplane.store.secrets import SecretBox

        keys = [key.get_secret_value() for key in self.config.fernet_keys]
        return SecretBox(keys or [secret(self.config, "fernet_key")])

    @cached_property
    def beats(self) -> Beats:
        from execplane.actions.worker import Beats

        return Beats(self.clock)

    @cached_property
    def failure_policy(self) -> FailurePolicy:
        return room_options.failure_policy(self.config)

    @cached_property
    def worker_policy(self) -> WorkerPolicy:
        from execplane.actions.worker import WorkerPolicy
        from execplane.executors.driver.holding import HoldLimits

        config = self.config
        pods = {name: config.kubernetes_of(name) for name in config.pod_executors}
        return WorkerPolicy(
            heartbeat_seconds=config.worker.heartbeat_seconds,
            self_fence_seconds=config.worker.self_fence_seconds,
            grace_seconds=config.worker.grace_seconds,
            xcom_blob_bytes=config.worker.xcom_blob_bytes,
            xcom_max_bytes=config.worker.xcom_max_bytes,
            failures=self.failure_policy,
            web_url=config.web_url,
            sources={name: (one.worker_source, one.worker_dags_folder) for name, one in pods.items()},
            env={
                "EXECPLANE_TIMETABLE_SEMANTICS": config.scheduler.timetable_semantics,
                "EXECPLANE_CATCHUP_BY_DEFAULT": str(config.scheduler.catchup_by_default),
            },
            ignore_syntax=config.parsing.ignore_syntax,
            holds=HoldLimits(
                most_seconds=config.kubernetes.hold_most_seconds,
                most_containers=config.kubernetes.hold_most_containers,
            ),
        )

    @cached_property
    def worker_api(self) -> WorkerApi:
        from execplane.api.worker.routes import WorkerApi

        return WorkerApi(
            clock=self.clock,
            policy=self.worker_policy,
            mint=self.mint,
            verify=compose_executors.verifiers(self),
            beats=self.beats,
            logs=self.logs,
            bundles=self.bundles,
            blobs=self.blobs,
            secrets=self.secrets,
            nudge=self.bus.publish,
        )

    @cached_property
    def metrics(self) -> Started:
        """From its making on, `execplane.metrics.current()` speaks to what is configured."""
        from execplane import metrics
        from execplane.metrics.start import start

        started = start(self._metrics_options(), version=__version__, clock=self.clock)
        metrics.use(started.metrics)
        return started

    def _metrics_options(self) -> MetricsOptions:
        from execplane.metrics.options import MetricsOptions

        config = self.config.metrics
        return MetricsOptions(
            prometheus=config.prometheus,
            statsd_host=config.statsd_host,
            statsd_port=config.statsd_port,
            statsd_prefix=config.statsd_prefix,
        )

    def worker_app(self) -> WorkerApp:
        """The worker API, for the web server."""
        from execplane.api.worker.app import WorkerApp

        return WorkerApp(self.worker_api.handle, clock=self.clock)

    def executor(self, name: str) -> Executor:
        """A new executor of this name, not started. Raises ConfigError for an unknown one."""
        return compose_executors.make(self, name)

    def kubernetes_options(self, executor: str = "kubernetes") -> KubernetesOptions:
        return room_options.kubernetes_options(self.config, self.identity[0], executor)

    def loops(self) -> list[Loop]:
        """Every loop of a whole deployment, but the one that reports on them."""
        loops = [self._parse_loop(), self._scheduler_loop(), self._beat_loop(), *self._driver_loops()]
        return [*loops, *self._gauge_loops(), self._retention_loop()]

    def _retention_loop(self) -> Loop:
        from execplane.loops.retention import RetentionLoop

        return RetentionLoop(flight_records=timedelta(days=self.config.kubernetes.flight_record_days))

    def _parse_loop(self) -> Loop:
        from execplane.bundles.options import BundleOptions
        from execplane.parsing.loop import ParseLoop
        from execplane.parsing.options import Limits, ParsingOptions
        from execplane.parsing.passes import NamedFolder

        config = self.config
        return ParseLoop(
            [NamedFolder(name=name, path=path) for name, path in self.dags_folders().items()],
            options=ParsingOptions(
                limits=Limits(
                    timeout_seconds=config.parsing.timeout_seconds,
                    memory_bytes=config.parsing.memory_bytes,
                    processes=config.parsing.processes,
                ),
                poll_seconds=config.parsing.interval_seconds,
                paused_at_creation=config.dags_are_paused_at_creation,
                environment={
                    "EXECPLANE_TIMETABLE_SEMANTICS": config.scheduler.timetable_semantics,
                    "EXECPLANE_CATCHUP_BY_DEFAULT": str(config.scheduler.catchup_by_default),
                    "EXECPLANE_KNOWN_EXECUTORS": " ".join(config.all_executors),
                },
            ),
            bundle_options=BundleOptions(ignore_syntax=config.parsing.ignore_syntax),
            blobs=self.blobs,
            places=self.bundles,
            clock=self.clock,
            environ=os.environ,
            secrets=self.secrets,
        )

    def dags_folders(self) -> dict[str, Path]:
        """The DAG folders by their bundle's name: the folder's own, made unique by a number."""
        folders = [*self.config.dags_folders, *([packaged("examples")] if self.config.load_examples else [])]
        named: dict[str, Path] = {}
        for folder in folders:
            name, number = folder.name or "dags", 2
            while name in named:
                name, number = f"{folder.name}-{number}", number + 1
            named[name] = folder
        return named

    def _scheduler_loop(self) -> Loop:
        from execplane.scheduler.calendar import Calendar
        from execplane.scheduler.loop import SchedulerLoop, SchedulerOptions

        config = self.config
        return SchedulerLoop(
            SchedulerOptions(
                default_executor=config.executor,
                queue_executors=config.queue_executors,
                runs_per_tick=config.scheduler.runs_per_tick,
            ),
            Calendar(most_per_tick=config.scheduler.max_active_runs_created),
            self.clock,
            actor=f"scheduler {self.process}",
        )

    def _beat_loop(self) -> Loop:
        from execplane.loops.beats import BeatLoop

        return BeatLoop(self.beats.flush)

    def _gauge_loops(self) -> list[Loop]:
        from execplane.loops.gauges import GaugeLoop

        return [GaugeLoop(self.config.all_executors)] if self._metrics_options().wanted else []

    def _driver_loops(self) -> list[Loop]:
        return [compose_executors.driver(self, name) for name in self.config.all_executors]

    def deployed(self, executor: str) -> Deployed:
        return room_options.deployed(self.config, self.identity, executor)

    def runners(self, names: Sequence[str] = ()) -> list[Runner]:
        """Runners for the named loops (all when empty; a name may be a prefix such as "driver"), and the status loop.

        Raises ConfigError for a name that no loop has.
        """
        from execplane.executors.driver.loop import DriverLoop
        from execplane.loops.leases import LeaseKeeper
        from execplane.loops.status import StatusLoop
        from execplane.loops.supervisor import Runner

        _ = self.metrics
        loops = self.loops()
        known = [loop.name for loop in loops]
        for name in names:
            if not any(one == name or one.startswith(f"{name}:") for one in known):
                raise ConfigError(f"There is no loop {name!r}.", hint=f"The loops are {', '.join(known)}.")
        if names:
            loops = [loop for loop in loops if loop.name in names or loop.name.split(":")[0] in names]
        runners: list[Runner] = []
        for loop in loops:
            lease = LeaseKeeper(name=loop.name, holder=self.process, clock=self.clock) if loop.leased else None
            if lease is not None and isinstance(loop, DriverLoop):
                loop.may_act = lease.held
            runners.append(Runner(loop=loop, clock=self.clock, bus=self.bus, lease=lease))
        reports: list[Report] = [runner.report for runner in runners]
        status = Runner(loop=StatusLoop(self.process, lambda: reports), clock=self.clock, bus=self.bus)
        return [*runners, status]
