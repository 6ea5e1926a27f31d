"""A run as its configuration and its data determine it; what training changes is a `Position`."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import optax
from ml_collections import config_dict

from qcrd_jax.data import batches, shapes
from qcrd_jax.data.batches import BatchStream
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.shapes import Shapes
from qcrd_jax.evaluation.answering import Answering, Batches
from qcrd_jax.evaluation.task import Task
from qcrd_jax.methods import placed, programs
from qcrd_jax.methods.method import Method
from qcrd_jax.methods.programs import Progress
from qcrd_jax.methods.state import DiscriminatorState, TrainState
from qcrd_jax.methods.table import METHODS, Entry
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.lora import LoraStudent, merge_adapters
from qcrd_jax.models.protocol import Params, Student
from qcrd_jax.placement import Placement, one_device
from qcrd_jax.runs.frozen import Frozen

_CONSUMERS = ('student', 'discriminator', 'pretrain', 'train')  # of randomness


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run, as its configuration and its data determine it; it holds nothing that is trained.

    Attributes:
      config: of the run.
      workdir: of the run.
      corpus: its data, tokenised.
      method: what a step computes; runs that only differ in their seed share it.
      schedule: learning rate of the student by step.
      discriminator: None where the method has none, or does not weigh by it.
      pretraining_optimizer: of the discriminator before training.
      discriminator_optimizer: of its online updates, which continue the pretraining.
      placement: where its arrays live.
      frozen: the weights beside which adapters are trained; None where all weights are.
    """

    config: config_dict.ConfigDict
    workdir: pathlib.Path
    corpus: Corpus
    method: Method
    schedule: optax.Schedule
    discriminator: Discriminator | None
    pretraining_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation
    placement: Placement = dataclasses.field(default_factory=one_device)
    frozen: Frozen | None = None

    @property
    def student(self) -> Student:
        """The model that answers: where adapters are trained, the one that they are merged into."""
        trained = self.method.student
        return trained.student if isinstance(trained, LoraStudent) else trained

    @property
    def entry(self) -> Entry:
        """What the table of methods says of the run's method."""
        return METHODS[self.config.method]

    def key(self, consumer: str) -> jax.Array:
        """The key of 'student', 'discriminator', 'pretrain' or 'train'."""
        base = jax.random.key(self.config.seed)
        return jax.random.fold_in(base, _CONSUMERS.index(consumer))

    def beginning(
        self, theta_0: Params, discriminator: DiscriminatorState | None = None
    ) -> Progress:
        """Returns the progress before step 0, where it lives.

        Args:
          theta_0: what is trained, before it is; copied where it is donated later.
          discriminator: pretrained; None where the run has none.
        """
        return self.placement.made(self._beginning, self.layout, theta_0, discriminator)

    def _beginning(
        self, theta_0: Params, discriminator: DiscriminatorState | None = None
    ) -> Progress:
        params = jax.tree.map(jnp.copy, theta_0)
        state = TrainState.create(params, self.method.optimizer, discriminator)
        return Progress(state, programs.ring_of(self.method, params))

    def whole(self, params: Params) -> Params:
        """Returns the parameters of the student that answers.

        Args:
          params: what is trained, at any step: all weights, or adapters, which are merged.
        """
        if self.frozen is None:
            return params
        adapters = self.placement.host(params)
        return merge_adapters(self.frozen.params, adapters, self.config.lora.alpha)

    def check_batches(self) -> None:
        """Refuses batches that do not divide over the mesh.

        Raises:
          InputError: naming the field, and sizes that do.
        """
        check, train = self.placement.check_batch, self.config.train
        check('train.batch_size', train.batch_size, train.accumulate)
        if self.discriminator is not None:
            check('discriminator.batch_size', self.config.discriminator.batch_size)

    def layout(self, progress: Progress) -> Progress:
        """Returns where the leaves of a progress live, by their shapes."""
        return placed.layout(self.placement, progress)

    @property
    def progress_shape(self) -> Progress:
        """The shapes of what training changes, nothing computed."""

        def make() -> Progress:
            discriminator = None
            if self.discriminator is not None:
                params = self.discriminator.init(jax.random.key(0))
                discriminator = DiscriminatorState.create(params, self.discriminator_optimizer)
            theta_0 = self.method.student.init(jax.random.key(0))
            return self._beginning(theta_0, discriminator)

        return jax.eval_shape(make)

    def training_batches(self) -> BatchStream:
        """The batch of every step."""
        return batches.training_batches(
            self.corpus.encoded['train'],
            self.corpus.lengths,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
            shapes=self._shapes,
            bucket=self.config.data.length_bucket,
            own=self.placement.own(self.config.train.batch_size),
        )

    @functools.cached_property
    def _shapes(self) -> Shapes:
        """The shapes of training batches; they change the time of a step and not its numbers."""
        encoded, lengths = self.corpus.encoded['train'], self.corpus.lengths
        return shapes.choose(
            encoded,
            lengths,
            batch_size=self.config.train.batch_size,
            most=self.config.train.shapes,
            bucket=self.config.data.length_bucket,
            negatives=programs.reads_negatives(self.method),
        )

    def evaluation_batches(self, split: str) -> Batches:
        """The batches of a split, each example once."""
        return batches.evaluation_batches(
            self.corpus.encoded[split],
            self.corpus.lengths,
            batch_size=self.config.evaluation.batch_size,
        )

    @functools.cached_property
    def task(self) -> Task:
        """What the student is taught, beside its weights."""
        config, lengths = self.config, self.corpus.lengths
        shortest = config.evaluation.max_length
        return Task(
            method=config.method,
            dataset=config.data.name,
            answer_type=self.corpus.answer_type,
            prefixes=tuple(config.data.prefixes),
            joint=self.entry.joint,
            explains=self.entry.rationales,
            source_length=config.data.max_source_length,
            label_length=max(lengths.label, shortest) if self.entry.joint else shortest,
            rationale_length=lengths.rationale,
        )

    @functools.cached_property
    def answering(self) -> Answering:
        """How the run's student is asked; it remembers how many questions memory holds at once."""
        return Answering(
            student=self.student,
            tokenizer=self.corpus.tokenizer,
            label_length=self.task.label_length,
            rationale_length=self.task.rationale_length,
            joint=self.task.joint,
            seed=self.config.seed,
            together=self.config.evaluation.together,
            placement=self.placement,
        )

    @functools.cached_property
    def fingerprint(self) -> dict[str, str]:
        """Of what is trained on, selected on and reported, by split."""
        return {
            split: batches.fingerprint(
                encoded,
                self.corpus.lengths,
                batch_size=self.config.train.batch_size,
                seed=self.config.seed,
            )
            for split, encoded in self.corpus.encoded.items()
        }
