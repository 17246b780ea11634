"""What can break, and in which order a seed has it break."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg

from tests.chaos.fleet import Fleet
from tests.parts.kubernetes.cluster import KubectlError

Fault = Callable[[Fleet, random.Random], None]
_STOPPED_SECONDS = 13.0
"""Longer than a lease lives."""


def kill_a_runner(fleet: Fleet, chance: random.Random) -> None:
    """kill -9 of a process that schedules and drives, or stands by; it comes back as a new one."""
    _kill(fleet, chance.choice(["runner-0", "runner-1"]))


def kill_the_web_server(fleet: Fleet, chance: random.Random) -> None:
    """The worker API is away until the next one listens."""
    _kill(fleet, "web")


def _kill(fleet: Fleet, name: str) -> None:
    process = fleet.processes[name]
    process.kill()
    process.wait()
    fleet.start(name)


def stop_a_runner(fleet: Fleet, chance: random.Random) -> None:
    """SIGSTOP for longer than its leases live: another takes over, and it wakes in the middle of what it did."""
    process = fleet.processes[chance.choice(["runner-0", "runner-1"])]
    process.send_signal(signal.SIGSTOP)

    def wake() -> None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)

    threading.Timer(_STOPPED_SECONDS, wake).start()


def restart_the_api_server(fleet: Fleet, chance: random.Random) -> None:
    fleet.cluster.restart_apiserver()


def replace_the_node(fleet: Fleet, chance: random.Random) -> None:
    """A spot node is taken away with all its pods, in the middle of whatever they do; another joins."""
    fleet.cluster.replace_node()


def lose_answers_to_creates(fleet: Fleet, chance: random.Random) -> None:
    """The pods are made, and nobody hears of it."""
    fleet.proxy.next(r"^POST /api/v1/namespaces/[^/]+/pods", "lose_answer", times=chance.randint(2, 6))


def lose_creates(fleet: Fleet, chance: random.Random) -> None:
    fleet.proxy.next(r"^POST /api/v1/namespaces/[^/]+/pods", "lose_request", times=chance.randint(2, 6))


def lose_answers_to_deletes(fleet: Fleet, chance: random.Random) -> None:
    fleet.proxy.next(r"^DELETE ", "lose_answer", times=chance.randint(2, 6))


def cut_all_connections(fleet: Fleet, chance: random.Random) -> None:
    """Watches, creates and deletes under way, in the middle of whatever they say."""
    fleet.proxy.cut()


def cut_the_database(fleet: Fleet, chance: random.Random) -> None:
    with psycopg.connect(fleet.database_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def delete_pods(fleet: Fleet, chance: random.Random) -> None:
    """By hand, with their grace period, wherever they stand."""
    _delete(fleet, chance, "--grace-period=2")


def delete_pods_by_force(fleet: Fleet, chance: random.Random) -> None:
    """The objects are gone at once, and what ran in them is not."""
    _delete(fleet, chance, "--grace-period=0", "--force")


def _delete(fleet: Fleet, chance: random.Random, *how: str) -> None:
    names = sorted(pod["metadata"]["name"] for pod in fleet.pods())
    for name in chance.sample(names, min(3, len(names))):
        with suppress(KubectlError):  # it ended by itself meanwhile
            fleet.cluster.kubectl("delete", "pod", name, f"--namespace={fleet.namespace}", "--wait=false", *how)


FAULTS: tuple[Fault, ...] = (
    kill_a_runner,
    kill_a_runner,
    kill_the_web_server,
    stop_a_runner,
    restart_the_api_server,
    replace_the_node,
    lose_answers_to_creates,
    lose_answers_to_creates,
    lose_creates,
    lose_answers_to_deletes,
    cut_all_connections,
    cut_all_connections,
    cut_the_database,
    cut_the_database,
    delete_pods,
    delete_pods_by_force,
)


def schedule(seed: int, tasks: int) -> list[tuple[int, Fault]]:
    """(after so many finished tasks, the fault), in order: the same for the same seed, all within the storm."""
    chance = random.Random(seed)
    faults = list(FAULTS)
    chance.shuffle(faults)
    moments = sorted(chance.randint(3, int(tasks * 0.85)) for _ in faults)
    return list(zip(moments, faults, strict=True))
