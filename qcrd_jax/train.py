"""The loop: it wires data, student, discriminator, steps, checkpoints and records together."""

import dataclasses
import functools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from absl import logging
from ml_collections import config_dict

from qcrd_jax import assembly, pretraining, step_metrics, stepping
from qcrd_jax import workdir as workdirs
from qcrd_jax.assembly import Corpus
from qcrd_jax.checkpoint import Checkpointer
from qcrd_jax.data import augment, batches
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import prediction
from qcrd_jax.judging import DiscriminatorState
from qcrd_jax.metrics_log import MetricsLog
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params, Student
from qcrd_jax.pretraining import Separation
from qcrd_jax.ring import Ring
from qcrd_jax.stepping import Progress, Stepper
from qcrd_jax.steps import (
    TrainState,
    make_dss_step,
    make_finetune_step,
    make_qcrd_chunk,
    make_qcrd_step,
)


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


class Trainer:
    """One run. Built from a configuration; `train` goes on from the latest checkpoint."""

    def __init__(self, config: config_dict.ConfigDict, workdir: pathlib.Path):
        self.config, self.workdir = config, workdir
        dataset = assembly.read_dataset(config, workdir)
        self.corpus = assembly.build_corpus(config, dataset, workdir)
        for truncation in self.corpus.truncations:
            logging.warning('%s', truncation)
        self._warn_of_missing_rationales()
        self.student, self._theta_0 = assembly.build_student(config, self.corpus.tokenizer)
        judge = assembly.build_discriminator(
            config, self.corpus.tokenizer, self.student, self._theta_0
        )
        self.discriminator, self._judge_0 = judge if judge else (None, None)
        self.optimizer, self.schedule = assembly.build_optimizer(config)
        self._pretraining_optimizer, self._judge_optimizer = (
            assembly.build_discriminator_optimizers(config)
        )
        self.negatives = assembly.negative_sampling(config, self.corpus.lengths)
        self.lag = assembly.generator_lag(config)

    def _warn_of_missing_rationales(self) -> None:
        counts = self.corpus.encoded['train'].counts()
        if self.config.method != 'finetune' and counts['without_positive'] * 2 > counts['examples']:
            logging.warning(
                '%d of %d training questions have no positive rationale and train on their label '
                'alone; look at the data by --mode=prepare.',
                counts['without_positive'], counts['examples'],
            )  # fmt: skip

    def train(self) -> Trained:
        """Pretrains the discriminator, trains the student, selects on validation."""
        with Checkpointer(workdirs.checkpoints(self.workdir)) as checkpointer:
            restored = self.restore(checkpointer)
            step = restored[0] if restored else None
            with MetricsLog(self.workdir, resume_step=step) as log:
                if restored:
                    step, progress, best, separation = restored
                    print(f'going on from step {step}', flush=True)
                else:
                    step, progress, best, separation = self._start(log)
                    self._save(checkpointer, step, progress, best, separation)
                progress, best = self._loop(log, checkpointer, step, progress, best, separation)
        return self._trained(progress, best, separation)

    def restore(
        self, checkpointer: Checkpointer
    ) -> tuple[int, Progress, Best, Separation | None] | None:
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
        return (
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
        _, progress, best, separation = restored
        return self._trained(progress, best, separation, timed=False)

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

    def _start(self, log: MetricsLog) -> tuple[int, Progress, Best, Separation | None]:
        judge, separation = None, None
        if self.discriminator is not None:
            judge, separation = self._pretrain_discriminator(log)
        best = Best(jax.device_get(self._theta_0), 0, -1.0)
        return 0, self._initial(self._theta_0, judge), best, separation

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

    def _loop(
        self,
        log: MetricsLog,
        checkpointer: Checkpointer,
        step: int,
        progress: Progress,
        best: Best,
        separation: Separation | None,
    ) -> tuple[Progress, Best]:
        settings = self.config.train
        stepper = self._stepper()
        events = (settings.log_every, settings.evaluate_every, settings.checkpoint_every)
        bar = tqdm.tqdm(
            total=settings.steps, initial=step, desc='train', unit='step', mininterval=1.0
        )
        saved = time.monotonic()
        with bar:
            while step < settings.steps:
                stop = min(settings.steps, *(step - step % every + every for every in events))
                progress = self._window(log, stepper, progress, step, stop, bar)
                step = stop
                if step % settings.evaluate_every == 0 or step == settings.steps:
                    best = self._validate(log, step, progress, best)
                    bar.set_postfix(validation=f'{best.accuracy:.3f} best')
                minutes = (time.monotonic() - saved) / 60
                due = step % settings.checkpoint_every == 0
                if (due and minutes >= settings.checkpoint_minutes) or step == settings.steps:
                    self._save(checkpointer, step, progress, best, separation)
                    saved = time.monotonic()
        return progress, best

    def _window(
        self,
        log: MetricsLog,
        stepper: Stepper,
        progress: Progress,
        step: int,
        stop: int,
        bar: tqdm.tqdm,
    ) -> Progress:
        """Takes the steps up to `stop` and logs their means."""
        start, first, window = time.perf_counter(), step, []
        while step < stop:
            before = step
            progress, step, metrics = stepper.advance(progress, step, stop)
            window.append(metrics)
            bar.update(step - before)
        window = jax.device_get(window)
        seconds = (time.perf_counter() - start) / (stop - first)
        values = step_metrics.mean(window)
        values |= {
            'nonfinite': sum(float(np.sum(metrics['nonfinite'][0])) for metrics in window),
            'learning_rate': float(self.schedule(stop - 1)),
            'seconds_per_step': seconds,
        }
        log.write('train', stop, values)
        if values['nonfinite'] and self.config.train.on_nonfinite == 'stop':
            flags = np.concatenate([np.atleast_1d(metrics['nonfinite'][0]) for metrics in window])
            bad = first + int(np.argmax(flags > 0))
            raise InputError(
                f'step {bad}: the gradient is not finite. The last checkpoint is before it; lower '
                '--config.optimizer.learning_rate, or pass over such steps by '
                '--config.train.on_nonfinite=skip, in another --workdir.'
            )
        return progress

    def _validate(self, log: MetricsLog, step: int, progress: Progress, best: Best) -> Best:
        _, ratio = self.predict('validation', progress.state.params)
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
        return Best(jax.device_get(progress.state.params), step, ratio.value)

    def predict(self, split: str, params: Params) -> tuple[list[str], Any]:
        """Greedy labels of a split, each example once, and how many are right."""
        texts = prediction.generate_texts(
            self.student,
            params,
            self.corpus.tokenizer,
            self.evaluation_batches(split),
            'predict_ids',
            max_length=self.config.evaluation.max_length,
        )
        examples = self.corpus.examples[split]
        _, ratio = prediction.answer_accuracy(texts, examples, self.corpus.answer_type)
        return texts, ratio

    def evaluation_batches(self, split: str) -> prediction.Batches:
        """The batches of a split, each example once."""
        return batches.evaluation_batches(
            self.corpus.encoded[split],
            self.corpus.lengths,
            batch_size=self.config.evaluation.batch_size,
        )

    def _stepper(self) -> Stepper:
        config, arguments = self.config, (self.student, self.optimizer)
        chunk = None
        if config.method == 'finetune':
            step = make_finetune_step(*arguments)
        elif config.method == 'dss':
            step = make_dss_step(*arguments, alpha=config.loss.alpha_pred)
        else:
            arguments += (self.discriminator, self._judge_optimizer, assembly.contrast(config))
            step = make_qcrd_step(*arguments, self.negatives)
            if self.lag and config.negatives.together:
                chunk = make_qcrd_chunk(*arguments, self.negatives)
        return Stepper(
            step,
            chunk,
            self._training_batches(),
            assembly.key_of(config, 'train'),
            lag=self.lag,
            fixed_generator=assembly.fixed_generator(config, self.student, self._theta_0),
        )

    def _training_batches(self) -> stepping.BatchStream:
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

    def _save(
        self,
        checkpointer: Checkpointer,
        step: int,
        progress: Progress,
        best: Best,
        separation: Separation | None,
    ) -> None:
        metadata = {
            'fingerprint': self._fingerprint,
            'best_step': best.step,
            'best_accuracy': best.accuracy,
            'separation': separation._asdict() if separation else None,
        }
        checkpointer.save(step, {'progress': progress, 'best': best.params}, metadata)

    def _trained(
        self, progress: Progress, best: Best, separation: Separation | None, *, timed: bool = True
    ) -> Trained:
        seconds = None
        if timed and self.negatives is not None:
            together = self.lag if self.config.negatives.together else 1
            generators = progress.ring.slots[:together] if progress.ring else [self._theta_0]
            stream = self._training_batches()
            seconds = stepping.sampling_seconds(
                self.student,
                generators,
                [stream[t] for t in range(len(generators))],
                assembly.key_of(self.config, 'train'),
                self.negatives,
            )
        return Trained(
            self.corpus, self.student, self.discriminator, progress, best, separation, seconds
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
