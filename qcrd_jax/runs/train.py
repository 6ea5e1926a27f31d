"""One run: it wires data, student, discriminator, steps and checkpoints together.

`loop.train` trains it, alone or beside other seeds of the same configuration.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from ml_collections import config_dict

from qcrd_jax.runs import (assembly, pretraining)
from qcrd_jax.methods import (seeds, stepping, steps)
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.assembly import Corpus
from qcrd_jax.runs.checkpoint import Checkpointer
from qcrd_jax.data import (augment, batches, targets)
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import answering as prediction
from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.methods.discriminator import DiscriminatorState
from qcrd_jax.runs.log import MetricsLog
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import (Params, Student)
from qcrd_jax.runs.pretraining import Separation
from qcrd_jax.ring import Ring
from qcrd_jax.methods.stepping import Progress
from qcrd_jax.methods.steps import TrainState


@dataclasses.dataclass(frozen=True)
class Best:
    """The parameters that validation chose, and where they were."""

    params: Params
    step: int
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run that has reached its last step."""

    corpus: Corpus
    student: Student
    discriminator: Discriminator | None
    progress: Progress
    best: Best
    separation: Separation | None
    sampling_seconds: float | None  # per step, of the negatives alone


@dataclasses.dataclass(frozen=True)
class Position:
    """How far a run has come: all of it that training changes."""

    step: int
    progress: Progress
    best: Best
    separation: Separation | None


class Trainer:
    """One run, built from a configuration."""

    def __init__(
        self,
        config: config_dict.ConfigDict,
        workdir: pathlib.Path,
        *,
        twin: 'Trainer | None' = None,
    ):
        """Reads the data and builds the models.

        Args:
          config: of the run.
          workdir: of the run.
          twin: a run of the same configuration but for the seed, whose data and programs are used.
        """
        self.config, self.workdir = config, workdir
        self.corpus = twin.corpus if twin else self._read()
        if twin and config.student.pretrained:
            self.student, self._theta_0 = twin.student, twin._theta_0
        else:
            self.student, self._theta_0 = assembly.build_student(config, self.corpus.tokenizer)
        judge = assembly.build_discriminator(
            config, self.corpus.tokenizer, self.student, self._theta_0
        )
        self.discriminator, self._judge_0 = judge if judge else (None, None)
        if twin:
            self.optimizer, self.schedule = twin.optimizer, twin.schedule
            self._pretraining_optimizer = twin._pretraining_optimizer
            self._judge_optimizer = twin._judge_optimizer
        else:
            self.optimizer, self.schedule = assembly.build_optimizer(config)
            self._pretraining_optimizer, self._judge_optimizer = (
                assembly.build_discriminator_optimizers(config)
            )
        self.negatives = assembly.negative_sampling(config, self.corpus.lengths)
        self.lag = assembly.generator_lag(config)

    def _read(self) -> Corpus:
        dataset = assembly.read_dataset(self.config, self.workdir)
        corpus = assembly.build_corpus(self.config, dataset, self.workdir)
        for truncation in corpus.truncations:
            logging.warning('%s', truncation)
        self._warn_of_missing_rationales(corpus)
        return corpus

    def _warn_of_missing_rationales(self, corpus: Corpus) -> None:
        counts = corpus.encoded['train'].counts()
        if self.config.method != 'finetune' and counts['without_positive'] * 2 > counts['examples']:
            logging.warning(
                '%d of %d training questions have no positive rationale and train on their label '
                'alone; look at the data by --mode=prepare.',
                counts['without_positive'], counts['examples'],
            )  # fmt: skip

    def restore(self, checkpointer: Checkpointer) -> Position | None:
        """The latest whole checkpoint, or None where there is none."""
        like = jax.eval_shape(self._unpretrained)
        restored = checkpointer.restore({'progress': like, 'best': self._theta_0})
        if restored is None:
            return None
        metadata = restored.metadata
        changed = [
            split
            for split, fingerprint in self._fingerprint.items()
            if metadata['fingerprint'].get(split) != fingerprint
        ]
        if changed:
            raise InputError(
                f'{self.workdir}: the data ({", ".join(changed)}) has changed since the checkpoint '
                f'of step {restored.step} was written; bring the old data back, or use another '
                '--workdir.'
            )
        arrays = jax.tree.map(jnp.array, restored.state)
        best = Best(arrays['best'], metadata['best_step'], metadata['best_accuracy'])
        separation = metadata['separation']
        return Position(
            restored.step,
            arrays['progress'],
            best,
            Separation(**separation) if separation else None,
        )

    def trained(self) -> Trained:
        """The run as its latest checkpoint has it, without training.

        Raises:
          InputError: if there is no checkpoint.
        """
        with Checkpointer(workdirs.checkpoints(self.workdir)) as checkpointer:
            restored = self.restore(checkpointer)
        if restored is None:
            raise InputError(
                f'--workdir: {self.workdir} has no checkpoint; run --mode=train there first.'
            )
        return self.finished(restored, timed=False)

    def _initial(self, theta_0: Params, judge: DiscriminatorState | None) -> Progress:
        """What training starts from: theta_0 in copies, for its buffers are going to be donated."""
        params = jax.tree.map(jnp.copy, theta_0)
        state = TrainState.create(params, self.optimizer, judge)
        return Progress(state, Ring.create(params, self.lag) if self.lag else None)

    def _unpretrained(self) -> Progress:
        """The shape of all progress."""
        judge = None
        if self.discriminator is not None:
            opt_state = self._judge_optimizer.init(self._judge_0)
            judge = DiscriminatorState(self._judge_0, opt_state, jnp.int32(0))
        return self._initial(self._theta_0, judge)

    def start(self, log: MetricsLog) -> Position:
        """Pretrains the discriminator, if there is one; the run is then before step 0."""
        judge, separation = None, None
        if self.discriminator is not None:
            judge, separation = self._pretrain_discriminator(log)
        best = Best(jax.device_get(self._theta_0), 0, -1.0)
        return Position(0, self._initial(self._theta_0, judge), best, separation)

    def _pretrain_discriminator(self, log: MetricsLog) -> tuple[DiscriminatorState, Separation]:
        config, corpus = self.config, self.corpus
        data = pretraining.judge_data(
            corpus.examples['train'],
            corpus.encoded['train'],
            corpus.lengths,
            corpus.tokenizer,
            answer_type=corpus.answer_type,
            positives=config.data.positives,
            samples=config.data.samples,
            corrupt=config.data.augment,
            tagger=augment.load_tagger(config.data.tagger),
            holdout=config.discriminator.holdout,
            at_most=assembly.judged_questions(config),
            seed=config.seed,
        )
        judge = pretraining.pretrain(
            self.discriminator,
            jax.tree.map(jnp.copy, self._judge_0),
            self._pretraining_optimizer,
            data,
            steps=config.discriminator.pretrain_steps,
            batch_size=config.discriminator.batch_size,
            kind=config.loss.discriminator,
            key=assembly.key_of(config, 'pretrain'),
            seed=config.seed,
            log=functools.partial(self._log_pretraining, log),
        )
        separation = pretraining.measure(
            self.discriminator, judge.params, data, batch_size=config.evaluation.batch_size
        )
        print(_describe(separation), flush=True)
        return judge, separation

    def _log_pretraining(self, log: MetricsLog, step: int, values: dict[str, Any]) -> None:
        log.write('discriminator', step, values)
        if values['nonfinite'] and self.config.train.on_nonfinite == 'stop':
            raise InputError(
                f'discriminator, before step {step}: the gradient is not finite; lower '
                '--config.discriminator.learning_rate, or pass over such steps by '
                '--config.train.on_nonfinite=skip.'
            )

    def validate(self, log: MetricsLog, step: int, params: Params, best: Best) -> Best:
        """Measures the student on the validation split, and keeps it if it is better."""
        _, ratio = self.predict('validation', params)
        better = ratio.value > best.accuracy
        log.write(
            'validation',
            step,
            {
                'accuracy': ratio.value,
                'correct': ratio.numerator,
                'total': ratio.denominator,
                'best': better,
            },
        )
        if not better:
            return best
        return Best(jax.device_get(params), step, ratio.value)

    def predict(self, split: str, params: Params) -> tuple[list[str], Ratio]:
        """Greedy labels of a split, each example once, and how many are right."""
        texts = self.answers(self.evaluation_batches(split), params)
        examples = self.corpus.examples[split]
        _, ratio = prediction.answer_accuracy(texts, examples, self.corpus.answer_type)
        return texts, ratio

    def answers(self, asked: prediction.Batches, params: Params) -> list[str]:
        """The greedy label of every question."""
        if self._joint:
            return [targets.split(text)[1] for text in self._write(asked, params, 0.0)]
        return prediction.generate_texts(
            self.student,
            params,
            self.corpus.tokenizer,
            asked,
            'predict_ids',
            max_length=self.config.evaluation.max_length,
        )

    def rationales(
        self, asked: prediction.Batches, params: Params, temperature: float = 0.0
    ) -> list[str]:
        """A rationale for every question; greedy at temperature 0."""
        texts = self._write(asked, params, temperature)
        return [targets.split(text)[0] for text in texts] if self._joint else texts

    @property
    def _joint(self) -> bool:
        """Whether the student writes rationale and label in one."""
        return self.config.method == 'single_task'

    def _write(self, asked: prediction.Batches, params: Params, temperature: float) -> list[str]:
        """What the student reasons, with its answer where it has one task."""
        lengths, shortest = self.corpus.lengths, self.config.evaluation.max_length
        return prediction.generate_texts(
            self.student,
            params,
            self.corpus.tokenizer,
            asked,
            'predict_ids' if self._joint else 'explain_ids',
            max_length=max(lengths.label, shortest) if self._joint else lengths.rationale,
            temperature=temperature,
            seed=self.config.seed,
        )

    def evaluation_batches(self, split: str) -> prediction.Batches:
        """The batches of a split, each example once."""
        return batches.evaluation_batches(
            self.corpus.encoded[split],
            self.corpus.lengths,
            batch_size=self.config.evaluation.batch_size,
        )

    def programs(self, *, together: bool) -> tuple[steps.Step, Callable[..., Any] | None]:
        """The method's step, and its chunk where negatives are sampled for several steps at once.

        Args:
          together: those for several seeds, of `qcrd_jax.seeds`.
        """
        config, arguments = self.config, (self.student, self.optimizer)
        shared = assembly.shared_information(config)
        if assembly.contrastive(config):
            arguments += (self.discriminator, self._judge_optimizer, assembly.contrast(config))
            arguments += (self.negatives, shared)
            module = seeds if together else steps
            several = self.lag and config.negatives.together
            return (
                module.make_qcrd_step(*arguments),
                module.make_qcrd_chunk(*arguments) if several else None,
            )
        if config.method in ('dss', 'mi'):
            step = steps.make_dss_step(*arguments, alpha=config.loss.alpha_pred, shared=shared)
        else:
            step = steps.make_finetune_step(*arguments)
        return seeds.over_seeds(step) if together else step, None

    def kept_bytes(self) -> int:
        """What the run keeps in memory from step to step: students, moments, ring."""
        leaves = jax.tree.leaves(jax.eval_shape(self._unpretrained))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    def fixed_generator(self) -> Params | None:
        """What negatives are sampled from in place of a ring, if anything is."""
        return assembly.fixed_generator(self.config, self.student, self._theta_0)

    def training_batches(self) -> stepping.BatchStream:
        """The batch of every step."""
        return batches.training_batches(
            self.corpus.encoded['train'],
            self.corpus.lengths,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
        )

    @functools.cached_property
    def _fingerprint(self) -> dict[str, str]:
        """Of what is trained on, selected on and reported."""
        return {
            split: batches.fingerprint(
                encoded,
                self.corpus.lengths,
                batch_size=self.config.train.batch_size,
                seed=self.config.seed,
            )
            for split, encoded in self.corpus.encoded.items()
        }

    def save(self, checkpointer: Checkpointer, position: Position) -> None:
        """Starts saving a checkpoint."""
        best, separation = position.best, position.separation
        metadata = {
            'fingerprint': self._fingerprint,
            'best_step': best.step,
            'best_accuracy': best.accuracy,
            'separation': separation._asdict() if separation else None,
        }
        state = {'progress': position.progress, 'best': best.params}
        checkpointer.save(position.step, state, metadata)

    def finished(self, position: Position, *, timed: bool = True) -> Trained:
        """The run at its last step.

        Args:
          position: of the last step.
          timed: whether the sampling of negatives is timed by itself.
        """
        progress, seconds = position.progress, None
        if timed and self.negatives is not None:
            together = self.lag if self.config.negatives.together else 1
            generators = progress.ring.slots[:together] if progress.ring else [self._theta_0]
            stream = self.training_batches()
            seconds = stepping.sampling_seconds(
                self.student,
                generators,
                [stream[t] for t in range(len(generators))],
                assembly.key_of(self.config, 'train'),
                self.negatives,
            )
        return Trained(
            self.corpus,
            self.student,
            self.discriminator,
            progress,
            position.best,
            position.separation,
            seconds,
        )


def _describe(separation: Separation) -> str:
    """What the run prints of the discriminator's pretraining."""

    def show(value: float | None) -> str:
        return 'none held out' if value is None else f'{value:.3f}'

    return (
        'discriminator on held-out questions: '
        f'ROC-AUC {show(separation.auc)} '
        f"(against the teacher's own negatives alone {show(separation.auc_teacher)}), "
        f'mean score of positives {show(separation.positive_score)}, '
        f'of negatives {show(separation.negative_score)}'
    )
