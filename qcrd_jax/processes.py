"""Several processes of one run: how they find each other, who writes, and how they agree.

Every process does the same, in the same order, on its own devices: what it computes is a part of
the same programs. Where they could differ (a clock, a signal, free memory, a file that one of them
reads) they ask each other here. Only the first one writes, but for checkpoints, of which each
writes its part. On one process nothing is asked.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from qcrd_jax import interruption
from qcrd_jax.errors import InputError

_TEXT = 4096  # bytes of a message that is handed on
_WATCHED = 'QCRD_WATCHED_BY'  # variable: the process that watches this one
_LOST = 'error: another process of this run ended; run the same command again to resume.'
_UNREACHED = re.compile(r'Gloo|NCCL|UNAVAILABLE|[Hh]eartbeat|[Cc]onnection (?:reset|closed)')
_PDEATHSIG = 1  # of prctl
_DEATH = re.compile(
    rb'\n?[EFW]\d{4} [\d:.]+ +\d+ (?:coordination_service|client\.h|[a-z_]*agent)[^\n]*'
)
_PROCESS = re.compile(r'(\d+)/(\d+)@(\S+:\d+)')


def initialize(process: str = '', *, heartbeat: int = 60) -> None:
    """Joins the processes of a job; before the first device is asked for.

    Args:
      process: '<number>/<count>@<host:port of the first>'; '': what the environment says (SLURM's
        srun, Open MPI, a TPU slice, or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and
        JAX_PROCESS_ID), and one process where it says nothing.
      heartbeat: seconds after which a process that is not heard of counts as dead.

    Raises:
      InputError: if that cannot be read, or they do not find each other.
    """
    given: dict[str, Any] = {}
    if process:
        parts = _PROCESS.fullmatch(process)
        if parts is None or not int(parts[1]) < int(parts[2]):
            raise InputError(
                '--process: expected <number>/<count>@<host:port of the first>, such as '
                f'0/2@localhost:1234 and 1/2@localhost:1234, got {process!r}.'
            )
        given = {'process_id': int(parts[1]), 'num_processes': int(parts[2])}
        given['coordinator_address'] = parts[3]
    elif not _several_by_environment():
        return
    elif os.environ.get('JAX_NUM_PROCESSES'):
        given = {'num_processes': int(os.environ['JAX_NUM_PROCESSES'])}
        given['process_id'] = int(os.environ.get('JAX_PROCESS_ID', '0'))
    if os.environ.get(_WATCHED) != str(os.getppid()):
        sys.exit(_watched())
    _die_with_parent()
    try:
        jax.distributed.initialize(**given, heartbeat_timeout_seconds=heartbeat)
    except (RuntimeError, ValueError) as error:
        text = ' '.join(str(error).split())
        why = f'--process: the processes did not find each other ({text}).'
        raise InputError(why) from None


def _watched() -> int:
    """Runs this command in a process of its own; returns its status.

    JAX ends a process whose fellow is dead by an abort, with pages of what every thread did. From
    its first word on they are left out, for one line.
    """
    child = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        env=os.environ | {_WATCHED: str(os.getpid())},
        stderr=subprocess.PIPE,
    )
    assert child.stderr is not None
    pump = threading.Thread(target=_hand_on, args=(child.stderr.fileno(),), daemon=True)
    pump.start()
    with interruption.polling():
        while (code := child.poll()) is None:
            if interruption.received() == signal.SIGTERM:  # a Ctrl-C reaches it by itself
                child.terminate()
                code = child.wait()
                break
            time.sleep(0.1)
    pump.join(5.0)
    if code == -signal.SIGABRT:
        print(f'\n{_LOST}', file=sys.stderr)  # after a bar, maybe
    return code if code >= 0 else 128 - code


def end_if_lost(error: Exception) -> None:
    """Ends this process with one line, if an error is that another one cannot be reached."""
    if several() and _UNREACHED.search(str(error)):
        os.write(2, f'\n{_LOST}\n'.encode())
        os._exit(1)  # JAX would wait for the others


def _hand_on(source: int) -> None:
    """Writes to our standard error what comes, up to what JAX says when a process has died."""
    quiet = False
    while data := os.read(source, 65536):
        found = None if quiet else _DEATH.search(data)
        if not quiet:
            os.write(2, data[: found.start()] if found else data)
        quiet = quiet or found is not None


def _die_with_parent() -> None:
    """Lets the system end this process where that which watches it is killed (on Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def agree_on_signals() -> None:
    """Lets all processes know of a signal that one of them got: at the same place in all."""
    if several():
        received = multihost_utils.process_allgather(np.asarray(interruption.received()))
        interruption.agree(int(np.max(received)))


def _several_by_environment() -> bool:
    """Whether something started this process as one of several."""
    counts = ('SLURM_STEP_NUM_TASKS', 'OMPI_COMM_WORLD_SIZE', 'JAX_NUM_PROCESSES')
    several = any(os.environ.get(name, '1') not in ('', '0', '1') for name in counts)
    return several or ',' in os.environ.get('TPU_WORKER_HOSTNAMES', '')


def several() -> bool:
    """Whether there are several."""
    # One process is not asked for its devices: that would start JAX, which reads its flags then.
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this one writes."""
    return not several() or jax.process_index() == 0


def agreed(value: bool) -> bool:
    """Returns what the first process says."""
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value))) if several() else value


def of_any(value: bool) -> bool:
    """Whether any process says so."""
    return bool(np.any(_all(value)))


def of_all(value: bool) -> bool:
    """Whether all processes say so."""
    return bool(np.all(_all(value)))


def _all(value: bool) -> Any:
    return multihost_utils.process_allgather(np.asarray(value)) if several() else value


def by_first(function: Callable[..., None], *given: Any) -> None:
    """Has the first process do something, while the others wait for it.

    Raises:
      InputError: in all of them, what was raised in the first.
    """
    if not several():
        function(*given)
        return
    failure = ''
    if is_first():
        try:
            function(*given)
        except InputError as error:
            failure = str(error)
    data = failure.encode()[:_TEXT].ljust(_TEXT, b'\0')
    sent = multihost_utils.broadcast_one_to_all(np.frombuffer(data, np.uint8))
    if failure := np.asarray(sent).tobytes().rstrip(b'\0').decode(errors='replace'):
        raise InputError(failure)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lets only the first process print."""
    if is_first():
        yield
        return
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def show(text: str) -> None:
    """Writes a line of an error, which all processes have alike, once."""
    if is_first():
        print(text, file=sys.stderr)
