"""The process in which the operators' `pod_mutation_hook`s run: exec'ed, with nothing of the driver's in it.

Whatever a hook does, it does to this process: it is replaced. It watches the time limit itself, because only from
inside can be told in which line a hook hangs; the driver kills it a moment later if that does not work either. It ends
when its driver does.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import socket
import sys
from collections.abc import Callable

import msgspec

from execplane.contract.errors import ConfigError, InvalidInput
from execplane.contract.process import Frames, frame
from execplane.kube.mutation_messages import HookStart, Loaded, Mutate, Mutated, NotLoaded, OutOfMemory, Refused, Reply

_READ_BYTES = 1 << 20
_ANY_POD = {
    "metadata": {"name": "any", "labels": {}},
    "spec": {"volumes": [{"name": "any", "emptyDir": {}}], "containers": [{"name": "base", "env": [{"name": "A"}]}]},
}


def main() -> None:
    control, trace = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    start = msgspec.json.decode(sys.argv[3], type=HookStart)
    # What a hook starts does not hold our ends open.
    control.set_inheritable(False)
    os.set_inheritable(trace, False)
    # A hook's prints belong beside the driver's own log, never into what the driver's standard output is read for.
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    faulthandler.enable(trace)
    _limit_memory(start.memory_bytes)
    sys.path[:] = start.path
    serve(control, trace, start)
    # Threads that a hook left behind are not waited for.
    os._exit(0)


def serve(control: socket.socket, trace: int, start: HookStart) -> None:
    """Load the hooks, then answer until the driver closes its end."""

    def send(reply: Reply) -> None:
        control.sendall(frame(reply))

    # Here: after the limits are set, and before the operators' time counts.
    from execplane.kube import mutation

    faulthandler.dump_traceback_later(start.start_seconds, exit=True, file=trace)
    try:
        hooks = mutation.find_hooks()
        # The model's first use takes as long as a thousand others: not in the first pod's time.
        mutation.run_hooks([], _ANY_POD)
    except ConfigError as error:
        send(NotLoaded(sentence=error.message, hint=error.hint))
        return
    faulthandler.cancel_dump_traceback_later()
    send(Loaded(names=tuple(hook.name for hook in hooks), files=tuple(hook.file for hook in hooks if hook.file)))
    frames, decode = Frames(), msgspec.msgpack.Decoder(Mutate).decode
    while hooks and (data := _received(control)):
        for body in frames.feed(data):
            faulthandler.dump_traceback_later(start.limit_seconds, exit=True, file=trace)
            answer = _answer(lambda body=body: mutation.run_hooks(hooks, decode(body).pod), mutation.place_of)  # type: ignore[misc]
            faulthandler.cancel_dump_traceback_later()
            control.sendall(answer)


def _answer(
    run: Callable[[], tuple[dict[str, object], dict[str, object]]], place_of: Callable[[BaseException], str]
) -> bytes:
    try:
        before, after = run()
        return frame(Mutated(before=before, after=after))
    except InvalidInput as error:
        return frame(Refused(sentence=error.message, hint=error.hint))
    except MemoryError as error:
        return frame(OutOfMemory(place=place_of(error)))
    except Exception as error:
        # The hook put something into the pod that cannot be written down.
        said = f"What the mutation hook made of the pod is no pod: {type(error).__name__}: {error}."
        return frame(Refused(sentence=said, hint="Mend the hook; no pod is made without it."))


def _received(control: socket.socket) -> bytes:
    try:
        return control.recv(_READ_BYTES)
    except OSError:
        return b""


def _limit_memory(memory_bytes: int) -> None:
    if memory_bytes:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))


if __name__ == "__main__":
    main()
