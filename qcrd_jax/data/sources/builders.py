"""The datasets as TFDS builders, written once as ArrayRecord and read by random access.

A dataset is distinguished from others by a fingerprint of its sources and parameters, which is the
name of its TFDS configuration: a changed source is a new dataset. TensorFlow is not imported.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from array_record.python.array_record_data_source import ArrayRecordDataSource

from qcrd_jax import bars
from qcrd_jax.data import caching
from qcrd_jax.data.folds import cross_validated
from qcrd_jax.data.leaks import kept_apart
from qcrd_jax.data.schema import (
    SPLITS,
    AnswerType,
    Example,
    ExampleStream,
    SourceSplits,
    Splits,
    TeacherSample,
)
from qcrd_jax.data.sources import dss, official, parquet, raw_samples
from qcrd_jax.data.sources.table import DATASETS, Generator
from qcrd_jax.data.splits import Dataset, with_test, with_validation
from qcrd_jax.errors import InputError, shown
from qcrd_jax.files import check_folder

_VERSION = tfds.core.Version('4.0.0')  # raise it when parsing or generating changes
_SAMPLE_TEXTS = ('text', 'rationale', 'answer', 'source')
_SHARD = 10_000  # examples; one shard at a time is in memory while a dataset is written


@dataclasses.dataclass(eq=False)
class _Config(tfds.core.BuilderConfig):
    """What a dataset is read from; its name is the fingerprint.

    Attributes:
      read: returns the examples by split.
    """

    read: Callable[[], SourceSplits] = dict


class _Questions(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Questions with a label and the samples of a teacher; the configuration reads them."""

    VERSION = _VERSION

    def _info(self) -> tfds.core.DatasetInfo:
        sample: dict[str, Any] = {name: tfds.features.Text() for name in _SAMPLE_TEXTS}
        sample['score'] = tfds.features.Scalar(np.float64)  # NaN: none was given
        return tfds.core.DatasetInfo(
            builder=self,
            description=DATASETS[self.name].description,
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
        config: Any = self.builder_config
        return {split: _shards(split, examples) for split, examples in config.read().items()}


def _shards(
    split: str,
    examples: Sequence[Example] | ExampleStream,
) -> list[Callable[[], Iterator[tuple[int, dict]]]]:
    """Returns what yields the records of each shard; they are called once each, in order."""
    shown = bars.shown(examples, f'reading {split}', 'questions')
    records = ((key, _record(example)) for key, example in enumerate(shown))
    number = max(1, math.ceil(len(examples) / _SHARD))
    return [functools.partial(itertools.islice, records, _SHARD)] * number


@functools.cache
def _builder_class(name: str) -> type[_Questions]:
    """Returns the builder of a dataset, which TFDS wants to be a class with the dataset's name."""
    named = {'name': name, '__module__': __name__}
    return type(f'_Questions_{name}', (_Questions,), named, skip_registration=True)


def load(data_config: Any, cache: pathlib.Path | str | None = None) -> Dataset:
    """Returns the dataset that a run's `config.data` names, preparing it if need be.

    With `data.fraction` below 1 the training split is a part of it, drawn once and for all: every
    seed and every method sees the same questions, and a larger part holds the smaller ones. With
    `data.folds` the splits are those of one fold (see `folds`), of a dataset that is prepared once.

    Args:
      data_config: the field `data` of the configuration.
      cache: folder of prepared datasets, where `data_config.cache` names none.

    Returns:
      The dataset, with the splits 'train', 'validation' and 'test'.

    Raises:
      InputError: if a source is missing or malformed, or cannot be downloaded, or if the dataset
        cannot be written.
    """
    folder = data_config.cache or cache
    if not folder:
        raise InputError('data.cache: name a folder for the prepared dataset.')
    check_folder('data.cache', folder)
    name = data_config.name
    if name not in DATASETS:
        raise InputError(f'data.name: expected one of {", ".join(DATASETS)}, got {name!r}.')
    generator = DATASETS[name].generator
    if generator:
        config = _generated(generator, data_config)
    else:
        config = _questions(data_config, pathlib.Path(folder))
    builder = _prepared(name, config, pathlib.Path(folder))
    open_split: Any = builder.as_data_source
    splits: Splits = {split: Records(open_split(split)) for split in SPLITS}
    dataset = Dataset(splits, answer_type(data_config), f'{builder.info.full_name}')
    if data_config.folds:
        dataset = cross_validated(dataset, data_config.folds, data_config.fold)
    for split in SPLITS:
        if not len(dataset.splits[split]):
            raise InputError(
                f'{data_config.source or name}: the {split} split is empty; a run trains on one '
                'split, selects on another and reports a third.'
            )
    if data_config.leaks == 'drop':
        dataset = kept_apart(dataset)
    if data_config.fraction < 1:
        dataset = dataset.with_part_of_train(data_config.fraction)
    return dataset


def _prepared(name: str, config: _Config, cache: pathlib.Path) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset that is prepared, by this process if need be.

    TFDS trusts a folder that it finds, so that none comes before its eyes that is not verified.
    """
    builder_class: Any = _builder_class(name)

    def builder_in(folder: pathlib.Path) -> tfds.core.DatasetBuilder:
        with _quiet_tfds():
            return builder_class(data_dir=str(folder), config=config, file_format='array_record')

    def make(folder: pathlib.Path) -> None:
        logging.info('preparing %s', place)
        builder = builder_in(folder / 'tfds')
        try:
            with _quiet_tfds():
                builder.download_and_prepare()
        except RuntimeError as error:  # of the writer of ArrayRecord, on a full disk for instance
            if type(error) is not RuntimeError:
                raise
            raise OSError(str(error).partition(';')[0]) from error
        for path in pathlib.Path(builder.data_path).iterdir():
            path.rename(folder / path.name)
        shutil.rmtree(folder / 'tfds')

    def read(_: pathlib.Path) -> tfds.core.DatasetBuilder:
        builder = builder_in(cache)
        _check_shards(builder)
        return builder

    key = f'{name}/{config.name}/{_VERSION}'
    place = cache / key  # where TFDS looks for it
    return caching.found_or_made(
        place, key=key, make=make, read=read, what='the dataset is prepared'
    )


def _check_shards(builder: tfds.core.DatasetBuilder) -> None:
    """Refuses a dataset whose shards do not hold as many records as it says."""
    for split in SPLITS:
        info = builder.info.splits[split]
        for path, number in zip(info.filepaths, info.shard_lengths, strict=True):
            if (found := len(ArrayRecordDataSource([str(path)]))) != number:
                raise ValueError(f'{path.name} holds {found} records, where {number} were expected')


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


def _record(example: Example) -> dict[str, Any]:
    record = dataclasses.asdict(example)
    for sample in record['samples']:
        sample['score'] = math.nan if sample['score'] is None else sample['score']
    return record


def _example(record: dict[str, Any]) -> Example:
    columns = [record['samples'][name] for name in _SAMPLE_TEXTS]
    scores = [None if math.isnan(score) else float(score) for score in record['samples']['score']]
    return Example(
        id=record['id'].decode(),
        input=record['input'].decode(),
        label=record['label'].decode(),
        samples=tuple(
            TeacherSample(*(text.decode() for text in row), score=score)
            for *row, score in zip(*columns, scores, strict=True)
        ),
        options=tuple(option.decode() for option in record['options']),
    )


def _generated(generator: Generator, data_config: Any) -> _Config:
    """What a synthetic dataset is made from."""
    settings = generator.settings(
        samples=data_config.samples, **data_config[data_config.name].to_dict()
    )
    return _Config(
        name=_digest(repr(settings).encode()),
        description=repr(settings),
        read=functools.partial(generator.generate, settings),
    )


def _questions(data_config: Any, folder: pathlib.Path) -> _Config:
    """What questions and their teacher's answers are read from: files, downloaded if need be."""
    name, samples = data_config.name, data_config.teacher_samples
    entry = DATASETS[name]
    # A file of teacher samples holds questions and labels too: it is a source by itself.
    source = data_config.source or samples
    if not source:
        if entry.download is None:
            wanted = 'a folder in the DSS layout or ' if entry.question else ''
            raise InputError(
                f'data.source: name {wanted}the .jsonl file of your questions, or a .parquet file '
                '(docs/datasets.md).'
            )
        downloads = folder / 'downloads'
        source = str(official.fetch(name, entry.download, downloads, data_config.release))
    kind = answer_type(data_config)
    classes = entry.classes if entry.answer_type else tuple(data_config.classes)
    return _Config(
        name=_digest(repr((kind, classes)).encode(), *_source_files(name, source, samples)),
        description=f'source {source}, teacher samples {samples or "of it"}',
        read=functools.partial(
            _read_questions, name, source, samples, kind, classes, pathlib.Path(folder)
        ),
    )


def read_questions(data_config: Any, scratch: pathlib.Path) -> SourceSplits:
    """Reads the questions of the files that `config.data` names, without preparing a dataset.

    Raises:
      InputError: if a source is missing or malformed.
    """
    return _questions(data_config, scratch).read()


def answer_type(data_config: Any) -> AnswerType:
    """Returns how the answers of the dataset are compared that `config.data` names."""
    return DATASETS[data_config.name].answer_type or data_config.answer_type


def _read_questions(
    name: str,
    source: str,
    samples: str,
    answer_type: AnswerType,
    classes: tuple[str, ...],
    scratch: pathlib.Path,
) -> SourceSplits:
    """Reads questions from `source`, and their teacher's answers from `samples` if that is given.

    Args:
      name: of the dataset.
      source: folder in the DSS layout, or a file of questions (see `raw_samples`).
      samples: file of raw teacher answers; '': those that `source` brings.
      answer_type: how answers are compared.
      classes: of answer type 'class'.
      scratch: folder for files that are read and forgotten.
    """

    def question_file(path: str) -> raw_samples.QuestionFile:
        file = raw_samples.QuestionFile(path, answer_type, classes, scratch)
        if not len(file):
            raise InputError(f'{path}: holds no question; expected one a line, or a row.')
        return file

    question = DATASETS[name].question
    if question is None:
        splits = with_test(question_file(source).splits())
    elif _holds_records(source, name):
        splits = question_file(source).splits()
    else:
        splits = dss.read(dss.find_dataset(source, name), name, question, answer_type)
    splits = with_validation(splits)
    if samples and samples != source:
        splits = raw_samples.join(splits, question_file(samples), answer_type)
    return splits


def _source_files(name: str, source: str, teacher_samples: str) -> list[pathlib.Path | bytes]:
    """Returns every file that the dataset is made of; each exists. A shard's name is part of it."""
    parts: list[pathlib.Path | bytes] = []
    for field, value in (('source', source), ('teacher_samples', teacher_samples)):
        path = pathlib.Path(value)
        if not value:
            continue
        if '\0' in value:
            raise InputError(f'data.{field}: expected a path, got {shown(value)}.')
        if field == 'source' and DATASETS[name].question and not _holds_records(value, name):
            parts += dss.files(dss.find_dataset(value, name), name)
        elif path.is_file():
            parts.append(path)
        elif shards := parquet.shards(path):
            parts += itertools.chain.from_iterable((os.fsencode(s.name), s) for s in shards)
        else:
            wanted = 'a folder without .parquet files' if path.is_dir() else 'no file'
            raise InputError(f'data.{field}: {value} is {wanted}; check the path.')
    return parts


def sources_digest(data_config: Any) -> str:
    """Returns a digest of the files that `config.data` names; '' if it names none.

    Raises:
      InputError: if one is missing.
    """
    source, samples = data_config.source, data_config.teacher_samples
    if DATASETS[data_config.name].generator or not (source or samples):
        return ''
    return _digest(*_source_files(data_config.name, source, samples))


def _holds_records(source: str, name: str) -> bool:
    """Returns whether a source is not in the DSS layout, but JSON lines or Parquet."""
    path = pathlib.Path(source)
    return path.suffix == '.jsonl' or bool(not dss.is_layout(path, name) and parquet.shards(path))


def _digest(*parts: bytes | pathlib.Path) -> str:
    """Returns a short digest of texts and files, each by itself, so that none runs into another."""
    digest = hashlib.sha256(str(_VERSION).encode())
    for part in parts:
        if isinstance(part, bytes):
            inner = hashlib.sha256(part)
        else:
            try:
                with open(part, 'rb') as file:
                    inner = hashlib.file_digest(file, 'sha256')
            except OSError as error:
                raise InputError(f'{part}: cannot be read ({error.strerror}).') from error
        digest.update(inner.digest())
    return digest.hexdigest()[:16]
