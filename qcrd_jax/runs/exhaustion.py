"""Memory that ran out, explained in one line: what was computed, and the fields to lower."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar, cast

import jax.numpy as jnp
from ml_collections import config_dict

from qcrd_jax import files
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.errors import InputError, OutOfMemory, asked_for, is_exhaustion
from qcrd_jax.methods.table import METHODS
from qcrd_jax.models.base import compute_dtype

Phase = Literal['training', 'pretraining', 'evaluation', 'loading']

_SEQUENCES = ('data.max_source_length', 'data.max_rationale_length')
_PHASES: dict[str, tuple[str, tuple[str, ...]]] = {
    'training': (
        'training',
        (
            'train.batch_size',
            *_SEQUENCES,
            'data.samples',
            'negatives.count',
            'negatives.lag',
            'negatives.interval',
        ),
    ),
    'pretraining': (
        'pretraining the discriminator',
        ('discriminator.batch_size', *_SEQUENCES, 'data.samples'),
    ),
    # One question did not fit; beside it there is what training keeps.
    'evaluation': (
        'evaluating, one question at a time',
        ('evaluation.max_length', *_SEQUENCES, 'negatives.lag', 'negatives.interval'),
    ),
    'loading': ('loading', ('data.fraction', 'data.samples')),
}
_MEASURED = {  # what the data takes of a cap, where it is known
    'data.max_source_length': 'source',
    'data.max_rationale_length': 'rationale',
}

_Function = TypeVar('_Function', bound=Callable[..., Any])


@contextlib.contextmanager
def explained(
    config: config_dict.ConfigDict, phase: Phase, lengths: Lengths | None = None
) -> Iterator[None]:
    """Turns memory that runs out within into an `OutOfMemory`; what explains itself passes.

    Args:
      config: of the run.
      phase: what is done within.
      lengths: the shape of the run's batches, where it is known.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the runtimes have no class for it
        if not is_exhaustion(error):
            raise
        asked = asked_for(error)
        why = f' ({asked} asked for at once)' if asked else ''
        raise out_of_memory(config, phase, why, lengths) from error


def explains(phase: Phase) -> Callable[[_Function], _Function]:
    """`explained` for a function whose first argument is a `Run`, or several of one setting."""

    def wrap(function: _Function) -> _Function:
        @functools.wraps(function)
        def wrapped(runs: Any, *args: Any, **kwargs: Any) -> Any:
            run = runs[0] if isinstance(runs, Sequence) else runs
            with explained(run.config, phase, run.corpus.lengths):
                return function(runs, *args, **kwargs)

        return cast(_Function, wrapped)

    return wrap


def out_of_memory(
    config: config_dict.ConfigDict, phase: Phase, why: str, lengths: Lengths | None = None
) -> OutOfMemory:
    """Returns the error that names the fields to lower, with what they are now.

    Args:
      config: of the run.
      phase: what did not fit.
      why: how much it takes, to follow 'memory ran out'; '' where nobody knows.
      lengths: as `explained` has them.
    """
    what, names = _PHASES[phase]
    values = files.flatten(config.to_dict())
    shown = []
    for name in names:
        if not _matters(config, name, values[name]):
            continue
        measured = getattr(lengths, _MEASURED[name]) if lengths and name in _MEASURED else None
        needed = '' if measured is None else f'; the data takes {measured}'
        shown.append(f'--config.{name} ({values[name]}{needed})')
    ways = [f'lower {", ".join(shown)}'] if shown else []
    ways += [f'set --config.{way}' for way in _sparing(config, phase)]
    student = 'student.pretrained' if values['student.pretrained'] else 'student.size'
    ways.append(f'take a smaller student, --config.{student} ({values[student]})')
    return OutOfMemory(f'{what}: memory ran out{why}; {"; or ".join(ways)}.')


def _sparing(config: config_dict.ConfigDict, phase: Phase) -> list[str]:
    """Settings that take less memory: for more time, or with a narrower ring."""
    train, ways = config.train, []
    if phase == 'training':
        larger = range(train.accumulate + 1, train.batch_size + 1)
        ways += [f'train.accumulate={n}' for n in larger if train.batch_size % n == 0][:1]
    if phase in ('training', 'pretraining') and train.remat == 'none':
        ways.append('train.remat=layers')
    if phase == 'training' and 'negatives.ring_dtype' in METHODS[config.method].reads(config):
        ring = config.negatives.ring_dtype
        ring = compute_dtype(config.student.compute_dtype if ring == 'auto' else ring)
        if ring == jnp.float32:
            ways.append('negatives.ring_dtype=bfloat16')
    return ways


def _matters(config: config_dict.ConfigDict, name: str, value: int | float) -> bool:
    """Whether a lower field takes less memory: the method reads it, and it can be lower."""
    entry = METHODS[config.method]
    if value <= 1 and name != 'data.fraction':
        return False
    if name.startswith('negatives.'):
        return name in entry.reads(config)
    if name == 'data.max_rationale_length':
        return entry.rationales
    if name == 'data.samples':
        return entry.positives is None
    return True
