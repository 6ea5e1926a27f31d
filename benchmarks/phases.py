"""What the seconds of a whole run are spent on: one side of `benchmarks.run`.

The public functions that a run goes through are timed as they are called; one within another stops
the other's clock, and so does compilation by XLA, wherever it happens.
"""

import contextlib
import functools
import importlib
import json
import pathlib
import runpy
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import IO, Any

import jax

from benchmarks.machine import describe_machine, peak_memory
from benchmarks.worker import answer

PHASES = {
    'qcrd_jax.runs.assembly.assemble': 'data',
    'qcrd_jax.data.prepare.write_counts': 'data',
    'qcrd_jax.runs.loop.train': 'training',
    'qcrd_jax.runs.pretraining.pretrain': 'pretraining',
    'qcrd_jax.runs.loop.pretrain_discriminator': 'pretraining',  # of earlier checkouts
    'qcrd_jax.runs.loop.validate': 'validation',
    'qcrd_jax.runs.position.save': 'checkpoint',
    'qcrd_jax.runs.checkpoint.Checkpointer.wait': 'checkpoint',
    'qcrd_jax.runs.results.finish': 'test',
    'qcrd_jax.modes.write_report': 'report',
}
"""The phase that a function begins, by the function's name."""
_COMPILATION = '/jax/core/compile/backend_compile_duration'


class Clock:
    """Seconds by phase; only the innermost phase runs."""

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self._now, self._since = now, now()
        self._open = ['other']
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts what follows to a phase."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def move(self, seconds: float, name: str) -> None:
        """Counts seconds that have just passed to another phase than the one that is open."""
        self._settle()
        self.seconds[self._open[-1]] -= seconds
        self.seconds[name] += seconds

    def stop(self) -> dict[str, float]:
        """Returns the seconds of every phase so far."""
        self._settle()
        return dict(self.seconds)

    def _settle(self) -> None:
        now = self._now()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


def watch(clock: Clock) -> None:
    """Times the functions of `PHASES` that this checkout has from now on, and compilation.

    Raises:
      LookupError: if it has none for one of the phases.
    """
    found = {name: place for name in PHASES if (place := holder(name)) is not None}
    for missing in set(PHASES.values()) - {PHASES[name] for name in found}:
        raise LookupError(f'phase {missing}: its functions in `PHASES` do not exist')
    for name, place in found.items():
        attribute = name.rpartition('.')[2]
        setattr(place, attribute, _timed(getattr(place, attribute), clock, PHASES[name]))

    def compiled(event: str, duration_secs: float, **kwargs: Any) -> None:
        # What another thread compiles meanwhile takes no time of ours.
        if event == _COMPILATION and threading.current_thread() is threading.main_thread():
            clock.move(duration_secs, 'compilation')

    jax.monitoring.register_event_duration_secs_listener(compiled)


def holder(name: str) -> Any:
    """Returns the module or class that has the function of this name; None: there is none."""
    place, _, attribute = name.rpartition('.')
    try:
        found = importlib.import_module(place)
    except ModuleNotFoundError:
        module, _, group = place.rpartition('.')
        found = getattr(importlib.import_module(module), group, None)
    return found if hasattr(found, attribute) else None


def _timed(function: Callable[..., Any], clock: Clock, phase: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        with clock.phase(phase):
            return function(*arguments, **named)

    return timed


def serve(arguments: dict[str, Any], answers: IO[str]) -> None:
    """Runs `run.py` of this checkout, and answers with what its seconds were spent on.

    Args:
      arguments: 'flags' of its command line, 'workdir', and 'began', the time (`time.time`) when
        this process was started.
      answers: gets one line.
    """
    workdir = pathlib.Path(arguments['workdir'])
    clock = Clock()
    with clock.phase('imports'):
        importlib.import_module('qcrd_jax.modes')
    watch(clock)
    sys.argv = ['run.py', f'--workdir={workdir}', *arguments['flags']]
    try:
        runpy.run_path('run.py', run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise
    seconds = clock.stop()
    # Of the interpreter, and of JAX.
    seconds['imports'] += time.time() - arguments['began'] - sum(seconds.values())
    memory, memory_of = peak_memory()
    summary = json.loads((workdir / 'summary.json').read_text())
    answer(
        answers,
        seconds=seconds,
        summary=summary,
        machine=describe_machine(),
        peak_memory_bytes=memory,
        peak_memory_of=memory_of,
    )
