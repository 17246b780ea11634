"""A network that is slow but wide: every byte from the server comes so much later, and none waits for another.

A process of its own: `python -m bench.delay HOST PORT SECONDS` prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_seconds: float) -> None:
    """Pass on what comes, in order, each piece `delay_seconds` after it came."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=10_000)

    async def send() -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(due - clock(), 0.0))
            if not piece:
                return
            writer.write(piece)
            await writer.drain()

    sending = asyncio.create_task(send())
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            await pieces.put((clock() + delay_seconds, piece))
    await pieces.put((clock(), b""))
    with contextlib.suppress(ConnectionError):
        await sending
    writer.close()


async def serve(host: str, port: int, delay_seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(_carry(reader, far_writer, 0.0), _carry(far_reader, writer, delay_seconds))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
