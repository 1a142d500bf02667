"""The stand-in: hands out connections while the supervisor re-executes itself.

It is a fork of the supervisor and does its passes with the same scoreboard and channels, so that no
connection waits for the new interpreter to start. The supervisor ends it by closing a pipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from host.dispatch.runner import DispatchRunner, Send
from host.runtime import processes
from host.runtime.loop import READ, Loop
from host.supervisor.generation import Generation
from host.telemetry.logs import LogWriter

_PATIENCE_SECONDS = 1.0


def start(
    generation: Generation,
    channels: Mapping[int, int],
    *,
    send: Send,
    log: LogWriter,
    close: Callable[[], object],
) -> tuple[int, int]:
    """Fork a stand-in. The caller has blocked all signals that it handles.

    Args:
        generation: the one that serves.
        channels: the descriptors of its workers' control channels, by pid.
        send: sends to a worker, as in `DispatchRunner`.
        log: writes the log lines.
        close: closes what the supervisor alone uses; called in the stand-in.

    Returns:
        Its pid, and the descriptor of the pipe; closing that ends it.

    Raises:
        OSError: EAGAIN, ENOMEM, EMFILE.
    """
    theirs, ours = os.pipe()
    parent = os.getpid()

    def stand_in() -> int:
        os.close(ours)
        close()
        return _run(generation, channels, theirs, parent, send=send, log=log)

    try:
        pid = processes.fork(stand_in)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return pid, ours


def stop(pid: int, pipe: int) -> None:
    """End the stand-in between two passes, and reap it."""
    os.close(pipe)
    with suppress(ChildProcessError, ProcessLookupError):
        processes.wait(pid, _PATIENCE_SECONDS)


def _run(
    generation: Generation,
    channels: Mapping[int, int],
    pipe: int,
    parent: int,
    *,
    send: Send,
    log: LogWriter,
) -> int:
    if not processes.die_with_parent(parent):
        return 0
    log.forget()
    loop = Loop()
    log.attend(loop.call_later, loop.call_from_thread)
    assert generation.handing_out is not None  # it is the one that serves
    dispatcher, before = generation.handing_out
    runner = DispatchRunner(
        loop,
        dispatcher,
        generation.scoreboard,
        generation.streams,
        send=send,
        blind=before.blind,
        wake=before.wake,
    )

    def watch(pid: int, descriptor: int) -> None:
        def ended(_mask: int) -> None:  # what it has said before is the supervisor's to read
            loop.remove(descriptor)
            dispatcher.gone(pid)
            runner.run_all()

        loop.add(descriptor, 0, ended)

    for pid, descriptor in channels.items():
        watch(pid, descriptor)
    loop.add(pipe, READ, lambda _: loop.stop())
    loop.refresh()
    runner.start()
    runner.run_all()
    loop.run()
    log.close()
    return 0
