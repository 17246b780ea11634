"""The statsd sink: Airflow's names, so that dashboards of an Airflow deployment go on working.

Callers only put a sample into a queue. A thread makes names, looks the server up (and again when it moves, or was not
there yet) and sends: neither a slow name server nor a full socket is felt by what is measured.
"""

from __future__ import annotations

import logging
import math
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import statsd

from execplane.contract.clock import Clock, SystemClock
from execplane.metrics.catalogue import AirflowName, Kind, Metric
from execplane.metrics.emitter import Labels, Sample

log = logging.getLogger(__name__)

_MOST_WAITING = 10_000
_MOST_AT_ONCE = 500
_LOOK_UP_EVERY_SECONDS = 300.0
_LOOK_UP_AGAIN_SECONDS = 10.0
_CLOSE_SECONDS = 1.0
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing to send: under `name`, without the prefix. A timer's value is in seconds."""

    kind: str
    """"counter" | "gauge" | "timer"."""
    name: str
    value: float


def lines(metric: Metric, value: float, labels: Labels) -> Iterator[Line]:
    """What a sample becomes: Airflow's names; where Airflow has none, one below `execplane.`."""
    kind = "timer" if metric.kind is Kind.HISTOGRAM else str(metric.kind)
    if not metric.airflow:
        yield Line(kind=kind, name=native_name(metric, labels), value=value)
        return
    clean = {name: _NOT_IN_NAMES.sub("_", str(given)) for name, given in labels.items()}
    for one in metric.airflow:
        if all(labels[label] == wanted for label, wanted in one.where):
            yield _line(one, kind, value, clean)


def _line(one: AirflowName, kind: str, value: float, clean: dict[str, str]) -> Line:
    name = one.name.format(**clean)
    return Line(kind="counter", name=name, value=1.0) if one.counts else Line(kind=kind, name=name, value=value)


def native_name(metric: Metric, labels: Labels) -> str:
    """`execplane_loop_errors_total{loop="scheduler"}` -> `execplane.loop_errors.scheduler`."""
    base = metric.name.removeprefix("execplane_").removesuffix("_total").removesuffix("_seconds")
    values = [_NOT_IN_NAMES.sub("_", str(labels[name])) or "none" for name in metric.labels]
    return ".".join(["execplane", base, *values])


class Statsd:
    """A `Sink`. Samples that come faster than they can be sent are dropped, and that is logged."""

    def __init__(self, host: str, port: int = 8125, prefix: str = "airflow", *, clock: Clock | None = None) -> None:
        self._address = (host, port, prefix or None)
        self._clock = clock or SystemClock()
        self._waiting: queue.Queue[tuple[Metric, float, Labels] | None] = queue.Queue(maxsize=_MOST_WAITING)
        self._client: Any = None
        self._look_up_at = 0.0
        self._gauges: dict[str, dict[tuple[str, ...], Labels]] = {}
        self._dropping = False
        self._thread = threading.Thread(target=self._run, name="statsd", daemon=True)
        self._thread.start()

    def count(self, metric: Metric, amount: float, labels: Labels) -> None:
        self._put((metric, amount, labels))

    observe = count
    set = count

    def replace(self, metric: Metric, samples: Sequence[Sample]) -> None:
        """What is gone is sent as 0: a statsd server keeps a gauge's last value for ever."""
        now = {tuple(labels.values()): labels for _, labels in samples}
        before, self._gauges[metric.name] = self._gauges.get(metric.name, {}), now
        for value, labels in samples:
            self._put((metric, value, labels))
        for key in before.keys() - now.keys():
            self._put((metric, 0.0, before[key]))

    def forget(self, metric: Metric) -> None:
        """Nothing is sent: the process that speaks of it now sends the same names."""
        self._gauges.pop(metric.name, None)

    def close(self) -> None:
        self._put(None)
        self._thread.join(_CLOSE_SECONDS)

    def _put(self, item: tuple[Metric, float, Labels] | None) -> None:
        try:
            self._waiting.put_nowait(item)
            self._dropping = False
        except queue.Full:
            if not self._dropping:
                self._dropping = True
                log.warning("samples come faster than statsd takes them; some are dropped")

    def _run(self) -> None:
        open_ = True
        while open_:
            batch = [self._waiting.get()]
            while len(batch) < _MOST_AT_ONCE and not self._waiting.empty():
                batch.append(self._waiting.get())
            open_ = None not in batch
            try:
                self._send([sample for sample in batch if sample is not None])
            except Exception:
                log.exception("samples for statsd were lost")
        if self._client is not None:
            self._client.close()

    def _send(self, batch: Sequence[tuple[Metric, float, Labels]]) -> None:
        client = self._server()
        if client is None or not batch:
            return
        with client.pipeline() as pipe:
            for sample in batch:
                for line in lines(*sample):
                    _add(pipe, line)

    def _server(self) -> Any:
        """The client; None while the server's name is not known: what is measured meanwhile is lost."""
        now = self._clock.monotonic()
        if now < self._look_up_at:
            return self._client
        host, port, prefix = self._address
        try:
            found = statsd.StatsClient(host, port, prefix)
        except OSError as error:
            if self._client is None:
                log.warning("the statsd server %s is not found: %s; it is looked up again", host, error)
            self._look_up_at = now + _LOOK_UP_AGAIN_SECONDS
            return self._client
        if self._client is not None:
            self._client.close()
        self._client, self._look_up_at = found, now + _LOOK_UP_EVERY_SECONDS
        return found


def _add(pipe: Any, line: Line) -> None:
    if not math.isfinite(line.value):
        return
    if line.kind == "timer":
        pipe.timing(line.name, line.value * 1000.0)
    elif line.kind == "gauge":
        pipe.gauge(line.name, line.value)
    else:
        pipe.incr(line.name, int(line.value) if line.value == int(line.value) else line.value)
