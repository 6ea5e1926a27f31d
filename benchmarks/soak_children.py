"""Processes of `run.py` that a soak starts, watches and interrupts."""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
CONFIG = 'benchmarks/soak_config.py'
_HANGS = 300.0  # seconds after which a process is taken for hanging
_POLL = 0.003  # seconds between looks at a workdir

# The moments of a run in their order; what a moment is, `reached` says.
MOMENTS = (
    'start',
    'data',
    'pretraining',
    'training',
    'saving',
    'validation',
    'test',
    'results',
    'report',
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
      status: as a shell gives it: 128 and the signal's number for one that a signal ended.
      out: standard output.
      err: lines of standard error without progress bars.
      seconds: it ran.
    """

    status: int
    out: str
    err: list[str]
    seconds: float

    @property
    def errors(self) -> list[str]:
        """Its `error:` lines."""
        return [line for line in self.err if line.startswith('error:')]

    @property
    def resumed(self) -> int | None:
        """The step of the training that it said it resumed from."""
        return self._number(r'resuming from step (\d+)')

    @property
    def resumed_pretraining(self) -> int | None:
        """The step of the discriminator's pretraining that it said it resumed from."""
        return self._number(r'resuming the pretraining .*step (\d+)')

    def _number(self, pattern: str) -> int | None:
        said = re.search(pattern, self.out)
        return int(said[1]) if said else None

    def faults(self) -> list[str]:
        """What is wrong with how it ended, whatever it was to do."""
        found = []
        if any('Traceback' in line for line in self.err):
            last = next((line for line in reversed(self.err) if line.strip()), '')
            found.append(f'a traceback on standard error, which ends in {last!r}')
        if self.status == -1:
            found.append('it did not end')
        signalled = self.status > 128
        if self.status and not signalled and len(self.errors) != 1:
            found.append(f'status {self.status} with {len(self.errors)} error lines, not one')
        if not self.status and self.errors:
            found.append(f'status 0 with an error line: {self.errors[0]}')
        return found


class Child:
    """A process of `run.py` that was started."""

    def __init__(self, pid: int, workdir: pathlib.Path, out: pathlib.Path, err: pathlib.Path):
        self.pid, self.workdir, self._out, self._err = pid, workdir, out, err
        self.started = time.time()
        self._start = time.monotonic()
        self._status: int | None = None
        self._ended = threading.Event()
        self._seconds = 0.0

    def end(self, status: int) -> None:
        """Notes its status; of whoever waits for it."""
        self._seconds = time.monotonic() - self._start
        self._status = status if status >= 0 else 128 - status
        self._ended.set()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._start

    def reached(self, moment: str) -> bool:
        """Whether it has come to a moment."""
        return reached(moment, self.workdir, self.started, self._err)

    def send(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def until(self, moment: str, seconds: float) -> bool:
        """Waits for a moment of the run and some seconds more; returns whether it still runs."""
        deadline = time.monotonic() + _HANGS
        while self.running and time.monotonic() < deadline:
            if self.reached(moment):
                return not self._ended.wait(seconds)
            self._ended.wait(_POLL)
        return False

    def wait(self, seconds: float = _HANGS) -> Ended:
        """Waits for its end; kills what does not end."""
        ended = self._ended.wait(seconds)
        if not ended:
            self.send(signal.SIGKILL)
            self._ended.wait()
            self._status = -1
        out, err = (
            path.read_text(encoding='utf-8', errors='replace') for path in (self._out, self._err)
        )
        lines = [line for line in re.split('[\r\n]+', err) if line and '%|' not in line]
        return Ended(self._status or 0, out, lines, self._seconds)


def reached(moment: str, workdir: pathlib.Path, started: float, err: pathlib.Path) -> bool:
    """Returns whether a run has come to a moment, as its files show it.

    Args:
      moment: one of `MOMENTS`.
      workdir: of the run.
      started: when the process was; of files that others left, nothing is concluded.
      err: where its standard error goes.
    """
    if moment == 'start':
        return True
    if moment == 'data':
        return _is_new(workdir / 'config.json', started)
    if moment == 'pretraining':
        return b'discriminator:' in err.read_bytes()
    if moment == 'training':
        return b'train:' in err.read_bytes()
    if moment == 'saving':
        folder = workdir / 'checkpoints'
        return folder.is_dir() and any('tmp' in name for name in os.listdir(folder))
    if moment == 'validation':
        return b'validation=' in err.read_bytes()
    if moment == 'test':
        return b'train: 100%' in err.read_bytes()
    names = {'results': 'predictions.jsonl', 'report': 'summary.json'}
    return _is_new(workdir / names[moment], started)


def _is_new(path: pathlib.Path, started: float) -> bool:
    with contextlib.suppress(OSError):
        return started - 1 <= path.stat().st_mtime <= time.time() + 60
    return False


class Children:
    """Starts processes of `run.py`: forked from one that has imported everything, or afresh."""

    def __init__(self, scratch: pathlib.Path):
        """Starts the process that the others are forked from.

        Args:
          scratch: folder of the compilation cache and of the processes' output.
        """
        self._scratch, self._number = scratch, 0
        self._children: dict[int, Child] = {}
        self._environment = os.environ | {
            'JAX_COMPILATION_CACHE_DIR': str(scratch / 'jax-cache'),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
            'JAX_PLATFORMS': 'cpu',
        }
        self._spawner = subprocess.Popen(
            [sys.executable, '-m', 'benchmarks.soak_spawner'],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        package = pathlib.Path(str(self._hear()['ready'])).parents[1]
        assert package == REPOSITORY, f'{package} was imported, not {REPOSITORY}'
        self._born: list[int] = []
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Ends the process that the others are forked from, and those that still run."""
        assert self._spawner.stdin is not None
        self._spawner.stdin.close()
        self._spawner.wait()

    def start(
        self,
        workdir: pathlib.Path,
        flags: Sequence[str] = (),
        *,
        largest_file: int = 0,
        afresh: bool = False,
    ) -> Child:
        """Starts `run.py`.

        Args:
          workdir: of the run.
          flags: beside those of configuration and workdir.
          largest_file: bytes of a file that the process may write at most; 0: any.
          afresh: whether a new interpreter is started, which takes longer.
        """
        self._number += 1
        output = self._scratch / 'output'
        output.mkdir(exist_ok=True)
        out, err = (output / f'{self._number}.{name}' for name in ('out', 'err'))
        err.write_bytes(b'')  # which is watched, and may be there from another soak
        flags = [f'--config={CONFIG}', f'--workdir={workdir}', *flags]
        if afresh:
            return self._start_afresh(workdir, flags, out, err)
        request = {
            'flags': flags,
            'out': str(out),
            'err': str(err),
            'largest_file': largest_file,
        }
        assert self._spawner.stdin is not None
        self._spawner.stdin.write(json.dumps(request) + '\n')
        self._spawner.stdin.flush()
        with self._news:
            self._news.wait_for(lambda: self._born)
            child = Child(self._born.pop(), workdir, out, err)
            self._children[child.pid] = child
            self._news.notify_all()
        return child

    def _start_afresh(
        self, workdir: pathlib.Path, flags: list[str], out: pathlib.Path, err: pathlib.Path
    ) -> Child:
        with open(out, 'wb') as out_file, open(err, 'wb') as err_file:
            process = subprocess.Popen(
                [sys.executable, 'run.py', *flags],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
            )
        child = Child(process.pid, workdir, out, err)
        threading.Thread(target=lambda: child.end(process.wait()), daemon=True).start()
        return child

    def _hear(self) -> dict[str, int | str]:
        assert self._spawner.stdout is not None
        return json.loads(self._spawner.stdout.readline())

    def _listen(self) -> None:
        assert self._spawner.stdout is not None
        for line in self._spawner.stdout:
            message = json.loads(line)
            with self._news:
                if 'pid' in message:
                    self._born.append(message['pid'])
                    self._news.notify_all()
                else:
                    self._news.wait_for(lambda pid=message['ended']: pid in self._children)
                    self._children.pop(message['ended']).end(message['status'])


@contextlib.contextmanager
def opened(scratch: pathlib.Path) -> Iterator[Children]:
    """Yields `Children`, and closes them."""
    children = Children(scratch)
    try:
        yield children
    finally:
        children.close()
