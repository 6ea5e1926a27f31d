"""Seconds that labels and rationales of questions take, as evaluation decodes them and plainly.

    python -m benchmarks.evaluation --size small --questions 200 --json evaluation.json

Plainly is: questions in their own order, in batches of 32, all prompts padded to the longest of
all, each batch decoded until its last row has its end (`sampling.sample`).

Weights and tokens are random, but lengths are real: prompts are as long as those of the table
(`benchmarks.lengths`), and a student that is told how long its answer is to be ends each one where
that of the table ends. Both ways alternate, in one process; the first round compiles. Beside the
seconds of the clock stand those of all processors together, which other programs on the machine
disturb less; they mean nothing where an accelerator works.
"""

import argparse
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import describe_machine, peak_memory
from qcrd_jax import files, sampling
from qcrd_jax.evaluation.answering import Answering
from qcrd_jax.models import architectures

TABLE = pathlib.Path(__file__).parent / 'lengths' / 'svamp.json'
LABEL_LENGTH = 64  # tokens of a label at most, the default of `evaluation.max_length`
PLAIN_BATCH = 32
_FIRST = 100  # the first token of a prompt says how long its answer is to be, counted from here


class EndingContext(NamedTuple):
    """What a student made of its questions, and how long the answers are to be."""

    context: Any
    lengths: jax.Array


class EndingCache(NamedTuple):
    """A student's cache, how long the answers are to be, and how many tokens were fed."""

    cache: Any
    lengths: jax.Array
    position: jax.Array


@dataclasses.dataclass(frozen=True)
class EndingStudent:
    """A student whose answers end where their prompts say."""

    student: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.student, name)

    @property
    def cache_axes(self) -> EndingCache:
        """Those of the student."""
        return EndingCache(self.student.cache_axes, 0, None)  # pyright: ignore[reportArgumentType]

    def encode(self, params: Any, tokens: jax.Array, mask: jax.Array) -> EndingContext:
        """Encodes the questions, and reads how long the answers are to be."""
        return EndingContext(self.student.encode(params, tokens, mask), tokens[:, 0] - _FIRST)

    def start_decoding(
        self, params: Any, context: EndingContext, num_rationales: int, max_length: int
    ) -> EndingCache:
        """The cache before the first token."""
        inner = self.student.start_decoding(params, context.context, num_rationales, max_length)
        return EndingCache(inner, context.lengths, jnp.int32(0))

    def decode_step(
        self, params: Any, cache: EndingCache, token: jax.Array
    ) -> tuple[jax.Array, EndingCache]:
        """A step of the student, whose EOS is now or never likely."""
        logits, inner = self.student.decode_step(params, cache.cache, token)
        last = (cache.position + 1 >= cache.lengths)[:, None]
        logits = logits.at[:, :, self.student.eos_id].set(jnp.where(last, jnp.inf, -jnp.inf))
        return logits, EndingCache(inner, cache.lengths, cache.position + 1)

    def lengthen(self, params: Any, cache: EndingCache, max_length: int) -> EndingCache:
        """The student's cache with longer buffers."""
        return cache._replace(cache=self.student.lengthen(params, cache.cache, max_length))


class Ids:
    """A tokenizer that leaves ids as they are."""

    def batch_decode(self, ids: np.ndarray, **_: Any) -> list[np.ndarray]:
        """Returns the rows."""
        return list(ids)


class Lengths(NamedTuple):
    """Tokens per question, EOS counted."""

    predict: np.ndarray
    explain: np.ndarray
    label: np.ndarray
    rationale: np.ndarray


def read_lengths(count: int) -> Lengths:
    """Returns the lengths of the first questions of the table that have a rationale."""
    table = json.loads(TABLE.read_text())
    rows = [dict(zip(table['columns'], row, strict=True)) for row in table['rows']]
    rows = [row | {'rationale': row['positives'][0]} for row in rows if row['positives']]
    return Lengths(*(np.array([row[name] for row in rows[:count]]) for name in Lengths._fields))


def make_batches(lengths: Lengths, config: architectures.Architecture) -> list[dict]:
    """Returns evaluation batches of random tokens, as `data.batches.evaluation_batches` makes them.

    The first token of a prompt says how long the label, or the rationale, is to be.
    """
    rng = np.random.default_rng(0)
    count, longest = len(lengths.label), _rounded(max(*lengths.predict, *lengths.explain))

    def prompts(sizes: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        ids = rng.integers(_FIRST, config.vocab_size, (count, longest), dtype=np.int32)
        ids[:, 0] = _FIRST + outputs
        ids[np.arange(count), sizes - 1] = config.eos_id
        return np.where(np.arange(longest) < sizes[:, None], ids, config.pad_id).astype(np.int32)

    predict = prompts(lengths.predict, lengths.label)
    explain = prompts(lengths.explain, lengths.rationale)
    batches = []
    for start in range(0, count, PLAIN_BATCH):
        places = np.arange(start, start + PLAIN_BATCH)
        index = np.minimum(places, count - 1).astype(np.int32)
        ids = {'predict_ids': predict[index], 'explain_ids': explain[index]}
        batches.append(ids | {'example_mask': places < count, 'example_index': index})
    return batches


class Measurement:
    """A student, its questions, and the two ways to ask it."""

    def __init__(self, size: str, version: str, dtype: str, questions: int, together: int):
        config = architectures.named(size, version)
        self.student: Any = EndingStudent(architectures.student_of(config, jnp.dtype(dtype)))
        self.params = jax.jit(self.student.init)(jax.random.key(0))
        self.lengths = read_lengths(questions)
        self.batches = make_batches(self.lengths, config)
        self.rationale_length = _rounded(max(self.lengths.rationale))
        self.answering = Answering(
            self.student, Ids(), LABEL_LENGTH, self.rationale_length, together=together
        )
        self._plain = jax.jit(self._decoded_plainly, static_argnames=('max_length', 'temperature'))

    def plain(self, prompt: str, length: int, temperature: float) -> np.ndarray:
        """Decodes batch by batch."""
        decoded = []
        for batch in self.batches:
            ids = self._plain(
                self.params,
                batch[prompt],
                batch['example_index'],
                max_length=length,
                temperature=temperature,
            )
            decoded.append(np.asarray(ids)[batch['example_mask']])
        return np.concatenate(decoded)

    def product(self, prompt: str, length: int, temperature: float) -> np.ndarray:
        """Decodes as evaluation does."""
        if prompt == 'predict_ids':
            return np.stack(self.answering.labels(self.params, self.batches))
        written = self.answering.rationales(self.params, self.batches, temperature)
        return np.stack([each.text for each in written])

    def compared(self, prompt: str, length: int, temperature: float) -> dict[str, Any]:
        """Decodes in both ways; returns seconds and what share of the sequences is the same."""
        plain, expected = timed(self.plain, prompt, length, temperature)
        product, ids = timed(self.product, prompt, length, temperature)
        same = float(np.mean(np.all(ids == expected, axis=1)))
        return {'plain_seconds': plain, 'evaluation_seconds': product, 'same': same}

    def tasks(self) -> dict[str, tuple[str, int, float]]:
        """What is asked: prompt, tokens at most, temperature."""
        return {
            'labels': ('predict_ids', LABEL_LENGTH, 0.0),
            'rationales': ('explain_ids', self.rationale_length, 0.0),
            'drawn': ('explain_ids', self.rationale_length, 0.7),
        }

    def _decoded_plainly(self, params, prompts, rows, *, max_length, temperature):
        context = self.student.encode(params, prompts, prompts != self.student.pad_id)
        keys = sampling.sequence_keys(jax.random.key(0), rows, 1)
        return sampling.sample(
            self.student, params, context, keys, max_length=max_length, temperature=temperature
        ).ids[:, 0]


def timed(
    function: Callable[..., np.ndarray], *arguments: Any
) -> tuple[tuple[float, float], np.ndarray]:
    """Returns seconds of the clock and of the processors, and the result."""
    start, worked = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return (time.perf_counter() - start, time.process_time() - worked), result


def _rounded(length: int) -> int:
    return int(-(-length // 8) * 8)


def main(argv: Sequence[str] | None = None) -> None:
    """Measures what the command line says."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.evaluation', description=(__doc__ or '').splitlines()[0]
    )
    parser.add_argument('--size', default='small')
    parser.add_argument('--version', default='v1.0')
    parser.add_argument('--dtype', default='float32')
    parser.add_argument('--questions', type=int, default=200)
    parser.add_argument('--together', type=int, default=128)
    parser.add_argument('--rounds', type=int, default=3, help='timed ones, after a first')
    parser.add_argument('--drawn', action='store_true', help='rationales drawn at 0.7 as well')
    parser.add_argument('--json', type=pathlib.Path, default=None, help='file for the figures')
    flags = parser.parse_args(argv)
    measurement = Measurement(
        flags.size, flags.version, flags.dtype, flags.questions, flags.together
    )
    tasks = measurement.tasks()
    if not flags.drawn:
        del tasks['drawn']
    calls: list[dict[str, Any]] = []
    for number in range(flags.rounds + 1):
        for name, task in tasks.items():
            calls.append({'round': number, 'task': name} | measurement.compared(*task))
            print(_line(calls[-1]), flush=True)
    result = {
        'setting': vars(flags) | {'json': str(flags.json)},
        'machine': describe_machine(),
        'first_round': _ratios([call for call in calls if call['round'] == 0]),
        'later_rounds': _ratios([call for call in calls if call['round'] > 0]),
        'peak_memory': peak_memory(),
        'calls': calls,
    }
    for name in ('first_round', 'later_rounds'):
        print(f'{name.replace("_", " ")}, evaluation by plain: {result[name]}')
    if flags.json:
        files.write_json(flags.json, result)


def _line(call: dict[str, Any]) -> str:
    when = 'compiling' if call['round'] == 0 else f'round {call["round"]}'
    plain, product = call['plain_seconds'], call['evaluation_seconds']
    return (
        f'{call["task"]}, {when}: plain {plain[0]:.2f} s ({plain[1]:.2f} of processors), '
        f'evaluation {product[0]:.2f} s ({product[1]:.2f}); same sequences: {call["same"]:.1%}'
    )


def _ratios(calls: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds as evaluation decodes by those plainly, of all tasks; medians over the rounds."""
    rounds = sorted({call['round'] for call in calls})
    ratios = {}
    for column, name in enumerate(('seconds', 'processor_seconds')):
        found = []
        for number in rounds:
            own = [call for call in calls if call['round'] == number]
            plain = sum(call['plain_seconds'][column] for call in own)
            found.append(sum(call['evaluation_seconds'][column] for call in own) / plain)
        ratios[name] = round(float(np.median(found)), 3) if found else float('nan')
    return ratios


if __name__ == '__main__':
    main()
