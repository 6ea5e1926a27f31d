"""What a step takes on many devices, by its compiled programs: nothing is run, no weight exists.

    python -m benchmarks.scale --size xl --version v1.1 --devices 8 --fsdp 8
    python -m benchmarks.scale --size 7b --version qwen2.5 --devices 64 --fsdp 8 --batch 64
    python -m benchmarks.scale --size 7b --version qwen2.5 --lora 16

Devices are simulated (XLA's host platform): their number, memory and collectives are those of the
partitioner, no time is. A CPU computes some of bfloat16 in float32, so that what is between
arguments and results is an upper bound.
"""

import argparse
import dataclasses
import functools
import json
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flags, program
from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.methods import METHODS, Method, Parts, compiled, optimizers, placed, programs
from qcrd_jax.methods.programs import Fixed, Progress
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.models import Discriminator, LoraStudent, architectures, parameter_count
from qcrd_jax.models.protocol import Encoder
from qcrd_jax.placement import Placement

SHAPE = Lengths(source=64, label=16, rationale=64, positives=5, negatives=1)


@dataclasses.dataclass(frozen=True)
class Case:
    """What is compiled; the fields are the flags of the command line."""

    size: str = 'xl'
    version: str = 'v1.1'
    method: str = 'qcrd'
    discriminator: str = 'small'
    devices: int = 8
    fsdp: int = 8
    batch: int = 8
    lag: int = 5
    accumulate: int = 1
    lora: int = 0
    remat: bool = True
    together: bool = True


def measure(case: Case) -> dict[str, Any]:
    """Compiles the programs of a case; returns what they take on one device.

    Args:
      case: whose devices must be there, see `main`.
    """
    placement = Placement.of(fsdp=case.fsdp)
    method = _method(case)
    shapes = jax.eval_shape(functools.partial(_beginning, method), jax.random.key(0))
    progress = placement.living(shapes, placed.layout(placement, shapes))
    batch = _batch(case)
    batch = placement.living(batch, placement.rows(batch))
    fixed = Fixed(base=_frozen(method, placement))
    made = compiled.programs_of(method, placement)
    begun = time.perf_counter()
    found = made.all(progress, batch, jax.random.key(0), fixed, largest=SHAPE, steps=case.lag)
    seconds = time.perf_counter() - begun
    names = ('sampling', 'learning') if len(found) > 1 else ('step',)
    kept = sum(
        leaf.dtype.itemsize * int(np.prod(_part(leaf)))
        for leaf in jax.tree.leaves((progress, fixed))
    )
    return {
        'case': dataclasses.asdict(case),
        'parameters': parameter_count(shapes.state.params),
        'kept': kept,
        'compile_seconds': round(seconds, 1),
        'programs': {
            name: {
                'memory': program.memory(each),
                'collectives': program.collectives(each.as_text(), SHAPE.rationale),
            }
            for name, each in zip(names, found, strict=True)
        },
    }


def _frozen(method: Any, placement: Placement) -> Any:
    """The shapes of frozen weights where they live; None where all weights are trained."""
    if not isinstance(method.student, LoraStudent):
        return None
    whole = method.student.student
    shapes = jax.eval_shape(
        lambda key: whole.narrowed(whole.init(key), jnp.bfloat16), jax.random.key(0)
    )
    return placement.living(shapes, placement.frozen(shapes))


def _part(leaf: Any) -> tuple[int, ...]:
    """The shape of what one device holds."""
    return leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape


def _method(case: Case) -> Method:
    config = configuration.base_config()
    config.method = case.method
    config.negatives.update(lag=case.lag, together=case.together)
    config.train.accumulate = case.accumulate
    entry, architecture = METHODS[case.method], architectures.named(case.size, case.version)
    student = architectures.student_of(architecture, jnp.bfloat16)
    student = dataclasses.replace(cast(Any, student), remat=case.remat)
    discriminator = None
    if entry.weighs(config):
        discriminator = Discriminator(_encoder(case, student))
    if case.lora:
        student = LoraStudent(student, case.lora)
    optimizer = optimizers.adamw(config.optimizer.learning_rate)
    return entry.build(config, Parts(student, optimizer, discriminator, optimizer, SHAPE.rationale))


def _encoder(case: Case, student: Any) -> Encoder:
    """A T5 encoder that reads the student's ids."""
    ids = {name: getattr(student, name) for name in ('vocab_size', 'pad_id', 'eos_id')}
    architecture = dataclasses.replace(architectures.named(case.discriminator, 'v1.0'), **ids)
    encoder = architectures.student_of(architecture, jnp.bfloat16).encoder
    return dataclasses.replace(cast(Any, encoder), remat=case.remat)


def _beginning(method: Any, key: jax.Array) -> Progress:
    params, discriminator = method.student.init(key), None
    if getattr(method, 'discriminator', None) is not None:
        discriminator = DiscriminatorState.create(
            method.discriminator.init(key), method.discriminator_optimizer
        )
    state = TrainState.create(params, method.optimizer, discriminator)
    return Progress(state, programs.ring_of(method, params))


def _batch(case: Case) -> dict[str, np.ndarray]:
    """Zeros in the shapes of a batch."""
    b, s = case.batch, SHAPE
    return {
        **{f'{name}_ids': np.zeros((b, s.source), np.int32)
           for name in ('predict', 'explain', 'question')},
        'label_ids': np.zeros((b, s.label), np.int32),
        'positive_ids': np.zeros((b, s.positives, s.rationale), np.int32),
        'positive_mask': np.ones((b, s.positives), bool),
        'negative_ids': np.zeros((b, s.negatives, s.rationale), np.int32),
        'negative_mask': np.ones((b, s.negatives), bool),
        'rationale_limit': np.full(b, s.rationale, np.int32),
        'example_mask': np.ones(b, bool),
        'example_index': np.zeros(b, np.int32),
    }  # fmt: skip


def row(found: dict[str, Any]) -> str:
    """A row of the table of docs/scale.md."""
    case = Case(**found['case'])
    made = found['programs'].items()
    memory = ', '.join(f'{name} {each["memory"]["total"] / 1e9:.1f}' for name, each in made)
    talk = []
    for name, each in made:
        listed = ', '.join(
            f'{value["count"]} {kind} ({value["bytes"] / 1e9:.2f} GB)'
            for kind, value in sorted(each['collectives'].items())
        )
        talk.append(f'{name}: {listed or "none"}')
    return (
        f'| {case.version} {case.size}, {_named(case)} | {case.devices // case.fsdp} x {case.fsdp} '
        f'| {case.batch} | {case.lag} | {found["kept"] / 1e9:.1f} | {memory} '
        f'| {found["compile_seconds"]:.0f} | {"; ".join(talk)} |'
    )


def _named(case: Case) -> str:
    return f'{case.method}, LoRA of rank {case.lora}' if case.lora else case.method


def main(argv: Sequence[str] | None = None) -> None:
    """Compiles what the command line asks for, prints it and writes it."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.scale', description=(__doc__ or '').splitlines()[0]
    )
    for field in dataclasses.fields(Case):
        kind = str
        if isinstance(field.default, int):
            kind = flags.at_least(min(field.default, 1))
        if isinstance(field.default, bool):
            parser.add_argument(f'--no-{field.name}', dest=field.name, action='store_false')
        else:
            parser.add_argument(f'--{field.name}', type=kind, default=field.default)
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE', help='write the result here')
    arguments = vars(parser.parse_args(argv))
    path, case = arguments.pop('json'), Case(**arguments)
    # Before the first device is asked for.
    os.environ['JAX_PLATFORMS'] = 'cpu'
    count = f'--xla_force_host_platform_device_count={case.devices}'
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {count}'.strip()
    found = measure(case)
    print(row(found))
    if path is not None:
        files.write_json(path, found)
    else:
        print(json.dumps(found))


if __name__ == '__main__':
    main()
