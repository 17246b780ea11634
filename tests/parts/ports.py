"""Free TCP ports for servers that cannot choose one themselves."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """That many different ports that nobody listens on now; all held at once while choosing."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
