"""The questions that a judge is asked about: those of two runs, with the rationales of both."""

import dataclasses
import pathlib
from typing import Any, Literal

import numpy as np
from ml_collections import config_dict

from qcrd_jax import files, sums
from qcrd_jax.errors import InputError

RunName = Literal['A', 'B']


@dataclasses.dataclass(frozen=True)
class Pair:
    """One question with the rationales of both runs."""

    id: str
    input: str
    label: str
    rationale_a: str
    rationale_b: str

    @property
    def identical(self) -> bool:
        """Whether the two say the same, but for white space."""
        return self.rationale_a.split() == self.rationale_b.split()


def draw_pairs(config: config_dict.ConfigDict) -> list[Pair]:
    """Draws questions that both runs have answered, the same ones whatever order they are in.

    More questions of the same seed begin with the same ones, whose verdicts are there already.

    Raises:
      InputError: if a run has no predictions or not the field, or if the two cannot be compared.
    """
    field = config.judge.rationales
    folders = [pathlib.Path(run) for run in config.judge.runs if run]
    if len(folders) != 2 or folders[0].resolve() == folders[1].resolve():
        raise InputError(
            '--config.judge.runs: expected the workdirs of two runs, A and B, got '
            f'{tuple(config.judge.runs)!r}.'
        )
    for folder in folders:
        _check_dataset(folder, config.data.name)
    a, b = (_read_predictions(folder, field) for folder in folders)
    common = sorted(a.keys() & b.keys())
    if not common:
        raise InputError(
            f'--config.judge.runs: {folders[0]} and {folders[1]} share no question; expected '
            'predictions for the same questions, by their ids. Are the datasets the same?'
        )
    for name in common:
        for key in ('input', 'label'):
            if a[name][key] != b[name][key]:
                raise InputError(
                    f'--config.judge.runs: question {name!r} has {key} {_cut(a[name][key])} in '
                    f'{folders[0]} and {_cut(b[name][key])} in {folders[1]}; expected the same. '
                    'Give two runs on the same data.'
                )
    order = np.random.default_rng(config.judge.seed).permutation(len(common))
    drawn = [common[i] for i in order[: config.judge.questions]]
    return [
        Pair(name, a[name]['input'], a[name]['label'], a[name][field], b[name][field])
        for name in drawn
    ]


def _check_dataset(folder: pathlib.Path, name: str) -> None:
    """The judge is told the task, which is that of the configuration."""
    path = folder / 'config.json'
    if path.is_file():
        found = files.read_json(path).get('data', {}).get('name', name)
        if found != name:
            raise InputError(
                f'--config.data.name: {folder} is a run on {found!r}, got {name!r}. Use the '
                "runs' own --config."
            )


def _read_predictions(folder: pathlib.Path, field: str) -> dict[str, dict[str, Any]]:
    path = folder / 'predictions.jsonl'
    if not path.is_file():
        raise InputError(
            f'--config.judge.runs: {path} is missing; run --mode=train or --mode=evaluate there '
            'first.'
        )
    sums.check(folder, (path.name,))
    predictions: dict[str, dict[str, Any]] = {}
    for number, record in files.read_jsonl(path):
        for name in ('id', 'input', 'label', field):
            if not isinstance(record.get(name), str):
                texts = [key for key in record if key.startswith('rationale')]
                raise InputError(
                    f'{path}, line {number}: expected a text in field {name!r}, got '
                    f'{record.get(name)!r}. --config.judge.rationales names the field to compare; '
                    f'this run has {", ".join(texts) or "none"}.'
                )
        if record['id'] in predictions:
            raise InputError(
                f'{path}, line {number}: question {record["id"]!r} is there twice; expected every '
                'id once. Remove one of the lines.'
            )
        predictions[record['id']] = record
    return predictions


def _cut(text: str) -> str:
    return repr(text if len(text) <= 80 else f'{text[:77]}...')
