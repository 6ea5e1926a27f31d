"""What is measured: random weights, batches of random tokens, and the steps of training.

Only a few public functions of the package are used, so that the benchmarks of this checkout can
measure another one too (`benchmarks.against`); what differs is in `earlier`.
"""

import dataclasses
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import earlier, floor, lengths
from benchmarks.setting import Setting
from qcrd_jax import config as configuration
from qcrd_jax.data.encoded import Encoded
from qcrd_jax.methods import METHODS, Method, Parts, optimizers
from qcrd_jax.methods.dss import Dss, Finetune
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.methods.table import Entry
from qcrd_jax.models import Discriminator, architectures
from qcrd_jax.models.architectures import Architecture

LEARNING_RATE = 5e-5
TEMPERATURE = 1.5
_WARM_UP = 2  # calls at least; the first one compiles
_SEED = 0  # of the tokens and of the order of the batches
_LOOPS = 1000  # decoding loops whose mean length is taken
_NONE = np.zeros(0, np.int64)


class Timed(NamedTuple):
    """The calls that were timed.

    Attributes:
      seconds: of each call.
      steps: that each call took.
      compile_seconds: of the programs of the largest shape, and of every other one at its first
        call, less what that call takes later.
    """

    seconds: list[float]
    steps: list[int]
    compile_seconds: float

    @property
    def per_step(self) -> np.ndarray:
        """Seconds of every step; those of one call share its time evenly."""
        return np.repeat(np.divide(self.seconds, self.steps), self.steps)


class Subject:
    """The models, the data and the programs of one setting."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.config = architectures.named(setting.size, setting.version)
        self.student = architectures.student_of(self.config, jnp.dtype(setting.dtype))
        self.optimizer = optimizers.adamw(LEARNING_RATE)
        config, entry = _configuration(setting), METHODS[setting.method]
        self.discriminator = Discriminator(self.student.encoder) if entry.weighs(config) else None
        encoded, shape = _data(setting, entry, self.config)
        length = shape.rationale
        parts = Parts(self.student, self.optimizer, self.discriminator, self.optimizer, length)
        self.method = _without_eos(entry.build(config, parts))
        self.batches = Cycle(_stream(setting, encoded, shape, self.method), _count(setting))
        self.sampled_length = self.method.negatives.max_length if self.method.negatives else 0
        self.key = jax.random.key(0)
        self.programs = earlier.compiled(self.method)

    def initial(self) -> Progress:
        """Random weights before step 0, in buffers of their own."""
        params = jax.jit(self.student.init)(jax.random.key(1))
        discriminator = None
        if self.discriminator is not None:
            weights = jax.jit(self.discriminator.init)(jax.random.key(2))
            discriminator = DiscriminatorState.create(weights, self.optimizer)
        state = TrainState.create(params, self.optimizer, discriminator)
        return Progress(state, earlier.ring_of(self.method, params))

    def compile(self, progress: Progress) -> tuple[list[Any], float]:
        """Returns the programs that take a call's steps, and how long they took to compile."""
        start, lag = time.perf_counter(), self.setting.lag
        made = earlier.programs_of(self.programs, progress, self.batches, self.key, lag)
        return made, time.perf_counter() - start

    def take(self, progress: Progress, step: int) -> tuple[Progress, int, float]:
        """Takes a step or a chunk of steps; returns the next step and how long it took."""
        start = time.perf_counter()
        progress, after, metrics = self.programs.advance(
            progress, self.batches, self.key, step, step + self.setting.lag
        )
        jax.block_until_ready((progress, metrics))
        return progress, after, time.perf_counter() - start

    def take_steps(self, progress: Progress, compiled: float = 0.0) -> tuple[Progress, Timed]:
        """Takes every batch once to compile, then the steps that are timed.

        Args:
          progress: before step 0.
          compiled: seconds that were spent on compiling before.
        """
        step, first, calls = 0, [], []
        while step < len(self.batches) or len(first) < _WARM_UP:
            progress, after, seconds = self.take(progress, step)
            first.append((step, seconds))
            step = after
        begin = step
        while step < begin + self.setting.steps:
            before = step % len(self.batches)
            progress, after, seconds = self.take(progress, step)
            calls.append((before, seconds, after - step))
            step = after
        for place, seconds in first:
            later = [again for before, again, _ in calls if before == place]
            compiled += seconds - float(np.median(later)) if later else 0.0
        _, seconds, steps = zip(*calls, strict=True)
        return progress, Timed(list(seconds), list(steps), compiled)

    def counted(self, batch: dict[str, np.ndarray]) -> floor.Counted:
        """The real tokens of a step with this batch."""
        setting, pad_id = self.setting, self.config.pad_id
        questions = _tokens(batch['explain_ids'], pad_id)
        labels = list(_tokens(batch['label_ids'], pad_id)[:, None])
        if isinstance(self.method, Finetune):
            nothing = [_NONE] * len(questions)
            return floor.Counted(questions, labels, nothing, contrasted=0, prompts=1)
        positives = _rationales(batch, 'positive', pad_id)
        if isinstance(self.method, Dss):
            firsts = [group[:1] for group in positives]
            total = sum(map(len, firsts))
            return floor.Counted(questions, labels, firsts, contrasted=total, prompts=2)
        samples = setting.negatives
        limits = batch.get('rationale_limit', np.array([self.sampled_length]))
        longest = min(self.sampled_length, int(limits.max()))
        sampled = np.full(samples, longest)
        teachers = np.mean([len(group) for group in _rationales(batch, 'negative', pad_id)])
        every = setting.update_every if self.discriminator else 0
        return floor.Counted(
            questions,
            labels,
            [np.concatenate([group, sampled]) for group in positives],
            contrasted=sum(min(1, len(group)) + min(1, samples) for group in positives),
            prompts=2,
            samples=samples,
            sampled=longest,
            scored=(1 + min(1, samples)) if self.discriminator else 0,
            judged=float(np.mean([len(group) for group in positives]) + samples + teachers),
            update_every=every,
        )

    @property
    def trained_tokens(self) -> float:
        """Real tokens of the prompts that are encoded and of the targets that are decoded."""
        return float(np.mean([_trained(self.counted(batch)) for batch in self.batches.all]))

    def floor(self, element: int) -> list[floor.Work]:
        """The parts of a step, each the mean over the batches."""
        steps = [
            floor.parts(self.config, self.counted(batch), element) for batch in self.batches.all
        ]
        return [
            floor.Work(
                works[0].part,
                float(np.mean([work.operations for work in works])),
                float(np.mean([work.moved for work in works])),
            )
            for works in zip(*steps, strict=True)
        ]


class Cycle:
    """The first batches of a run, made beforehand, over and over."""

    def __init__(self, stream: Any, count: int):
        self._stream = stream
        self._fitted: dict[int, dict[str, np.ndarray]] = {}
        self.all = [stream[step] for step in range(count)]

    def __len__(self) -> int:
        return len(self.all)

    @property
    def largest(self) -> Any:
        """The shape that all batches fit into."""
        return self._stream.largest

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        return self.all[step % len(self.all)]

    def fitted(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step in a shape of its own; made once."""
        place = step % len(self.all)
        if place not in self._fitted:
            self._fitted[place] = self._stream.fitted(place)
        return self._fitted[place]


def _data(setting: Setting, entry: Entry, config: Architecture) -> tuple[Encoded, Any]:
    """Random tokens of the setting's lengths, and the shape that holds them."""
    data = configuration.base_config().data
    caps = {kind: data[f'max_{kind}_length'] for kind in ('source', 'label', 'rationale')}
    if setting.lengths == 'full':
        s, t = setting.source_length, setting.rationale_length
        row = (s, s, s, setting.label_length, [t] * setting.positives, [t])
        rows: list[lengths.Row] = [row] * (setting.batch * setting.lag)
        caps = dict.fromkeys(caps, s + t + setting.label_length)
    else:
        rows = lengths.of_table(setting.lengths)
    if entry.positives == 'first':
        rows = [(*row[:4], [*row[4], *row[5]][:1], []) for row in rows]
    if entry.joint:  # the label's target begins with the rationale, whose EOS it has
        rows = [(*row[:3], row[3] + sum(row[4]), *row[4:]) for row in rows]
    encoded = lengths.encoded(rows, config, _SEED)
    return encoded, earlier.measure_lengths(encoded, caps, _bucket(setting))


def _stream(setting: Setting, encoded: Encoded, shape: Any, method: Method) -> Any:
    return earlier.training_batches(
        encoded,
        shape,
        method,
        batch_size=setting.batch,
        seed=_SEED,
        bucket=_bucket(setting),
    )


def _bucket(setting: Setting) -> int:
    full = setting.lengths == 'full'
    return 1 if full else configuration.base_config().data.length_bucket


def _count(setting: Setting) -> int:
    """How many batches there are: a chunk of them, or as many as are timed if they differ."""
    full = setting.lengths == 'full'
    return setting.lag if full else setting.steps + -setting.steps % setting.lag


def _sampled_length(setting: Setting) -> int:
    """Tokens that a decoding loop samples: it ends with the longest of those that it decodes.

    Where lengths are real, those of the samples are taken to be those of the teacher's rationales.
    """
    if setting.lengths == 'full':
        return setting.rationale_length
    together = setting.lag if setting.together else 1
    draws = max(setting.batch * setting.negatives * together, 1)
    rationales = [length for row in lengths.of_table(setting.lengths) for length in row[4] + row[5]]
    rng = np.random.default_rng(_SEED)
    return round(float(np.mean(rng.choice(rationales, (_LOOPS, draws)).max(axis=1))))


def _configuration(setting: Setting) -> Any:
    """The configuration of a run with this setting, as far as a method reads it."""
    config = configuration.base_config()
    config.method = setting.method
    config.discriminator.weigh = setting.discriminator
    config.discriminator.update_every = setting.update_every
    config.negatives.update(
        count=setting.negatives,
        lag=setting.lag,
        together=setting.together,
        temperature=TEMPERATURE,
        max_length=_sampled_length(setting),
    )
    return config


def _without_eos(method: Any) -> Method:
    """The method with sampling that always decodes its full length."""
    if method.negatives is None:
        return method
    negatives = dataclasses.replace(method.negatives, stop_at_eos=False)
    return dataclasses.replace(method, negatives=negatives)


def _tokens(ids: np.ndarray, pad_id: int) -> np.ndarray:
    return np.sum(ids != pad_id, axis=-1)


def _rationales(batch: dict[str, np.ndarray], kind: str, pad_id: int) -> list[np.ndarray]:
    """The lengths of a question's rationales, for every question."""
    tokens = _tokens(batch[f'{kind}_ids'], pad_id)
    return [row[mask] for row, mask in zip(tokens, batch[f'{kind}_mask'], strict=True)]


def _trained(counted: floor.Counted) -> int:
    targets = sum(int(lengths.sum()) for lengths in (*counted.labels, *counted.rationales))
    return counted.prompts * int(counted.questions.sum()) + targets
