"""The API server's own create rate: the same bytes under other names, posted by threads that do nothing else.

A process of its own, as the executor's is: `python -m bench.raw_creates KUBECONFIG NAMESPACE CONNECTIONS < bodies`,
a JSON list of pods. Prints the seconds from the first post to the last answer, and the CPU seconds used.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from execplane.kube.client import Client
from execplane.kube.options import KubeOptions


def main(arguments: list[str]) -> None:
    kubeconfig, namespace, connections = arguments[0], arguments[1], int(arguments[2])
    bodies = [bytes(body) for body in msgspec.json.decode(sys.stdin.buffer.read(), type=list[msgspec.Raw])]
    client = Client(KubeOptions(kubeconfig=kubeconfig, in_cluster=False, pool_size=connections))
    with ThreadPoolExecutor(connections) as threads:
        # Each thread's connection is made, as the executor's are kept alive.
        list(threads.map(lambda _: client.request("GET", "/version"), range(connections * 2)))
        started, cpu = time.monotonic(), time.process_time()
        for _ in threads.map(lambda body: client.create_pod(namespace, body), bodies):
            pass
        took = time.monotonic() - started
    print(json.dumps({"seconds": took, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(sys.argv[1:])
