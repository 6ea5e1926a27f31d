"""The datasets as TFDS builders, written once as ArrayRecord and read by random access.

A dataset is told from others by a fingerprint of its sources and parameters, which is the name of
its TFDS configuration: a changed source is a new dataset. TensorFlow is not imported.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from qcrd_jax import bars as progress
from qcrd_jax.data.answers import NLI_CLASSES
from qcrd_jax.data.schema import (
    AnswerType,
    Example,
    ExampleStream,
    SourceSplits,
    Splits,
    TeacherSample,
)
from qcrd_jax.data.sources import dss, mwp, official, raw_samples
from qcrd_jax.errors import InputError

ANSWER_TYPES: dict[str, AnswerType] = {
    'svamp': 'equation',
    'cqa': 'choice',
    'anli1': 'class',
    'esnli': 'class',
    'mwp': 'equation',
}
"""How the answers of a dataset are compared; `data.answer_type` says so of a 'custom' one."""

_VERSION = tfds.core.Version('2.0.0')  # raise it when parsing or generating changes
_SAMPLE_FIELDS = tuple(field.name for field in dataclasses.fields(TeacherSample))
_SHARD = 10_000  # examples; one shard at a time is in memory while a dataset is written


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
      splits: its examples, read from disk as they are asked for.
      answer_type: how its answers are compared.
      fingerprint: differs from that of any dataset with other contents.
    """

    splits: Splits
    answer_type: AnswerType
    fingerprint: str

    def with_part_of_train(self, fraction: float) -> 'Dataset':
        """Returns the dataset with a share of its training questions, at least one (Fig. 4).

        The questions are drawn by a seed of their own, and a larger share holds the smaller ones.
        """
        train = self.splits['train']
        count = max(1, round(fraction * len(train)))
        places = np.sort(np.random.default_rng(0).permutation(len(train))[:count])
        part = Part(train, places)
        return Dataset(
            {**self.splits, 'train': part}, self.answer_type, f'{self.fingerprint}/{count}'
        )


class Part(Sequence[Example]):
    """Some of the examples of a split, read as they are asked for."""

    def __init__(self, examples: Sequence[Example], places: np.ndarray):
        self._examples, self._places = examples, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return self._examples[int(self._places[place])]


@dataclasses.dataclass(eq=False)
class QuestionsConfig(tfds.core.BuilderConfig):
    """Where questions and their teacher's answers come from.

    Attributes:
      source: folder in the layout of Distilling step-by-step, or a `.jsonl` file of questions; '':
        the official download.
      teacher_samples: `.jsonl` file of raw teacher answers; '': those that `source` brings.
      release: which download, see `official.fetch`.
      answer_type: how answers are compared.
      classes: of answer type 'class'.
    """

    source: str = ''
    teacher_samples: str = ''
    release: str = 'dss'
    answer_type: AnswerType = 'equation'
    classes: tuple[str, ...] = NLI_CLASSES


@dataclasses.dataclass(eq=False)
class MwpConfig(tfds.core.BuilderConfig):
    """The settings of the synthetic word problems."""

    settings: mwp.Settings = dataclasses.field(default_factory=mwp.Settings)


class _Questions(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Questions with a label and the samples of a teacher; subclasses say where from."""

    VERSION = _VERSION

    def _info(self) -> tfds.core.DatasetInfo:
        sample = {name: tfds.features.Text() for name in _SAMPLE_FIELDS}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__class__.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    'id': tfds.features.Text(),
                    'input': tfds.features.Text(),
                    'label': tfds.features.Text(),
                    'samples': tfds.features.Sequence(sample),
                    'options': tfds.features.Sequence(tfds.features.Text()),
                }
            ),
            disable_shuffling=True,  # the order of the source is the order of the dataset
        )

    def _shard_iterators_per_split(
        self, dl_manager: Any
    ) -> dict[str, list[Callable[[], Iterator[tuple[int, dict]]]]]:
        return {split: _shards(split, examples) for split, examples in self._read().items()}

    def _read(self) -> SourceSplits:
        config = self.builder_config
        source = config.source or _fetch(self.name, config.release, self._data_dir_root)
        return _read_questions(self.name, source, config)


def _shards(
    split: str,
    examples: Sequence[Example] | ExampleStream,
) -> list[Callable[[], Iterator[tuple[int, dict]]]]:
    """Returns what yields the records of each shard; they are called once each, in order."""
    shown = progress.shown(examples, f'reading {split}', 'questions')
    records = ((key, dataclasses.asdict(example)) for key, example in enumerate(shown))
    number = max(1, math.ceil(len(examples) / _SHARD))
    return [functools.partial(itertools.islice, records, _SHARD)] * number


class Svamp(_Questions):
    """SVAMP (Patel et al., 2021): arithmetic word problems; answers are equations."""

    BUILDER_CONFIGS = [QuestionsConfig(name='official')]  # noqa: RUF012


class Cqa(_Questions):
    """CommonsenseQA 1.11 (Talmor et al., 2018): questions with five choices."""

    BUILDER_CONFIGS = [QuestionsConfig(name='official', answer_type='choice')]  # noqa: RUF012


class Anli1(_Questions):
    """Round 1 of Adversarial NLI (Nie et al., 2019)."""

    BUILDER_CONFIGS = [QuestionsConfig(name='official', answer_type='class')]  # noqa: RUF012


class Esnli(_Questions):
    """e-SNLI (Camburu et al., 2018): SNLI as it was explained."""

    BUILDER_CONFIGS = [QuestionsConfig(name='official', answer_type='class')]  # noqa: RUF012


class Custom(_Questions):
    """Questions of one's own, from JSON lines (docs/datasets.md)."""


class Mwp(_Questions):
    """Synthetic word problems in the manner of SVAMP, with the answers of a noisy teacher."""

    BUILDER_CONFIGS = [MwpConfig(name='default', description='The default settings.')]  # noqa: RUF012

    def _read(self) -> SourceSplits:
        return mwp.generate(self.builder_config.settings)


_BUILDERS = {'svamp': Svamp, 'cqa': Cqa, 'anli1': Anli1, 'esnli': Esnli, 'custom': Custom}


def load(data_config: Any, cache: pathlib.Path | str | None = None) -> Dataset:
    """Returns the dataset that a run's `config.data` names, preparing it if need be.

    Args:
      data_config: the field `data` of the configuration.
      cache: folder of prepared datasets, where `data_config.cache` names none.

    Returns:
      The dataset, with the splits 'train', 'validation' and 'test'.

    Raises:
      InputError: if a source is missing or malformed, or cannot be downloaded.
    """
    folder = data_config.cache or cache
    if not folder:
        raise InputError('data.cache: name a folder for the prepared dataset.')
    name = data_config.name
    if name == 'mwp':
        builder = _mwp_builder(data_config, folder)
    elif name in _BUILDERS:
        builder = _questions_builder(data_config, folder)
    else:
        names = ', '.join([*_BUILDERS, 'mwp'])
        raise InputError(f'data.name: expected one of {names}, got {name!r}.')
    answer_type = ANSWER_TYPES.get(name, data_config.answer_type)
    return Dataset(read(builder), answer_type, f'{builder.info.full_name}')


def read(builder: tfds.core.DatasetBuilder) -> Splits:
    """Prepares the builder's dataset, if it is not yet, and reads it back."""
    if not pathlib.Path(builder.data_path).is_dir():
        logging.info('preparing %s', builder.data_path)
        with _quiet_tfds():
            builder.download_and_prepare()
    return {
        split: Records(builder.as_data_source(split)) for split in ('train', 'validation', 'test')
    }


class Records(Sequence[Example]):
    """The examples of a split, read from disk as they are asked for."""

    def __init__(self, source: Sequence[dict[str, Any]]):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return tuple(self[i] for i in range(*place.indices(len(self))))
        if not -len(self) <= place < len(self):
            raise IndexError(f'example {place} of {len(self)}')
        return _example(self._source[int(place) % len(self)])


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Silences TFDS's banners, bars and warnings of custom configurations; errors still show."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()


def _example(record: dict[str, Any]) -> Example:
    columns = [record['samples'][name] for name in _SAMPLE_FIELDS]
    return Example(
        id=record['id'].decode(),
        input=record['input'].decode(),
        label=record['label'].decode(),
        samples=tuple(
            TeacherSample(*(text.decode() for text in row)) for row in zip(*columns, strict=True)
        ),
        options=tuple(option.decode() for option in record['options']),
    )


def _mwp_builder(data_config: Any, folder: pathlib.Path | str) -> Mwp:
    settings = mwp.Settings(samples=data_config.samples, **data_config.mwp.to_dict())
    config = MwpConfig(
        name=_digest(repr(settings).encode()), description=repr(settings), settings=settings
    )
    with _quiet_tfds():
        return Mwp(data_dir=str(folder), config=config, file_format='array_record')


def _questions_builder(data_config: Any, folder: pathlib.Path | str) -> _Questions:
    name, samples = data_config.name, data_config.teacher_samples
    # A file of teacher samples holds questions and labels too: alone it is a source.
    source = data_config.source or samples
    if not source and name == 'custom':
        raise InputError('data.source: name the .jsonl file of your questions (docs/datasets.md).')
    source = source or _fetch(name, data_config.release, folder)
    answer_type = ANSWER_TYPES.get(name, data_config.answer_type)
    classes = tuple(data_config.classes) if name == 'custom' else NLI_CLASSES
    config = QuestionsConfig(
        name=_digest(repr((answer_type, classes)).encode(), *_source_files(name, source, samples)),
        description=f'source {source}, teacher samples {samples or "of it"}',
        source=source,
        teacher_samples=samples,
        answer_type=answer_type,
        classes=classes,
    )
    with _quiet_tfds():
        return _BUILDERS[name](data_dir=str(folder), config=config, file_format='array_record')


def _read_questions(name: str, source: str, config: QuestionsConfig) -> SourceSplits:
    answer_type, samples = config.answer_type, config.teacher_samples
    if _is_jsonl(source) or name == 'custom':
        file = raw_samples.QuestionFile(source, answer_type, config.classes)
        splits = raw_samples.with_test(file.splits()) if name == 'custom' else file.splits()
    else:
        splits = dss.read(dss.find_dataset(source, name), name, answer_type)
    splits = dss.with_validation(splits)
    if samples and samples != source:
        answers = raw_samples.QuestionFile(samples, answer_type, config.classes)
        splits = raw_samples.join(splits, answers, answer_type)
    return splits


def _fetch(name: str, release: str, folder: pathlib.Path | str) -> str:
    return str(official.fetch(name, pathlib.Path(folder) / 'downloads', release))


def _source_files(name: str, source: str, teacher_samples: str) -> list[pathlib.Path]:
    """Returns every file that the dataset is made of; each exists."""
    paths = []
    for field, value in (('source', source), ('teacher_samples', teacher_samples)):
        if not value:
            continue
        if field == 'source' and not _is_jsonl(value) and name != 'custom':
            paths += dss.files(dss.find_dataset(value, name), name)
        elif pathlib.Path(value).is_file():
            paths.append(pathlib.Path(value))
        else:
            raise InputError(f'data.{field}: {value} is no file; check the path.')
    return paths


def sources_digest(data_config: Any) -> str:
    """Returns a digest of the files that `config.data` names; '' if it names none.

    Raises:
      InputError: if one is missing.
    """
    if data_config.name == 'mwp' or not (data_config.source or data_config.teacher_samples):
        return ''
    source, samples = data_config.source, data_config.teacher_samples
    return _digest(*_source_files(data_config.name, source, samples))


def _is_jsonl(source: str) -> bool:
    return pathlib.Path(source).suffix == '.jsonl'


def _digest(*parts: bytes | pathlib.Path) -> str:
    """Returns a short digest of texts and files, each apart, so that none runs into another."""
    digest = hashlib.sha256(str(_VERSION).encode())
    for part in parts:
        if isinstance(part, bytes):
            inner = hashlib.sha256(part)
        else:
            with open(part, 'rb') as file:
                inner = hashlib.file_digest(file, 'sha256')
        digest.update(inner.digest())
    return digest.hexdigest()[:16]
