"""A table of many runs: what was run, beside what the paper reports, and what may be said of it."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from qcrd_jax.evaluation import power, significance
from qcrd_jax.grid import KINDS, position

_LEVEL = 0.05  # of the adjusted p-value that a verdict needs
_RESAMPLES = 10_000  # of the bootstrap, in a table of at most a hundred comparisons
NO_VALUE = '–'
"""The note of a cell whose runs are done and have no such value, as no rationales were learned."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One finished run.

    Attributes:
      seed: of the run.
      value: in the table's unit (an accuracy: percent).
      correct: by id of the test question, whether it was answered right; None where the measure
        has no questions.
      folds: by id of the question, the fold whose run answered it; None without cross-validation.
    """

    seed: int
    value: float
    correct: Mapping[str, bool] | None = None
    folds: Mapping[str, int] | None = None

    def __post_init__(self):
        if not math.isfinite(self.value):
            raise ValueError(f'expected a finite value of seed {self.seed}, got {self.value}.')


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting: a row's method in a column's data, over its seeds.

    Attributes:
      row: of the table.
      column: of the table.
      paper: what the paper reports here; None: nothing.
      planned: how many runs (seeds) the grid asks for; 0 with an outcome: a figure of the data,
        for which nothing is run and which no method can be best at.
      outcomes: the finished ones; may be empty.
      note: said in the cell, for instance 'not run' or 'needs an LLM judge'.
    """

    row: str
    column: str
    paper: float | str | None
    planned: int
    outcomes: tuple[Outcome, ...]
    note: str = ''

    def __post_init__(self):
        seeds = [outcome.seed for outcome in self.outcomes]
        if len(set(seeds)) < len(seeds):
            raise ValueError(f'expected one outcome a seed in {self.where}, got seeds {seeds}.')
        if self.planned < 0:
            raise ValueError(f'expected planned >= 0 in {self.where}, got {self.planned}.')

    @property
    def where(self) -> str:
        """Row and column, for messages."""
        return f'"{self.row}", "{self.column}"'

    @property
    def summary(self) -> significance.MeanInterval | None:
        """Mean over the seeds and half width of its 95 % interval; None where nothing was run."""
        values = [outcome.value for outcome in self.outcomes]
        return significance.mean_interval(values) if values else None

    @property
    def complete(self) -> bool:
        """Whether every planned run is finished."""
        return len(self.outcomes) >= max(self.planned, 1)

    @property
    def seeds_text(self) -> str:
        """How many seeds finished, as `5 seeds`, `2 of 5 seeds` or ''."""
        done = len(self.outcomes)
        if not done or not self.planned:
            return ''
        if done < self.planned:
            return f'{done} of {self.planned} seeds{self._folds_text}'
        return ('1 seed' if done == 1 else f'{done} seeds') + self._folds_text

    @property
    def _folds_text(self) -> str:
        folds = self.outcomes[0].folds
        return f', {len(set(folds.values()))} folds' if folds else ''


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the paper, or one of our own.

    Attributes:
      name: stem of the files, for instance 'table1'.
      title: 'Table 1: ...'.
      caption: what it is, and the setting that was run, as plain text.
      unit: 'accuracy, %', 'hours', 'rationales', ...
      rows: in order.
      columns: in order; numbers, maybe with a percent sign, if the kind is 'curve'.
      cells: at most one for each row and column; a missing one is not asked for.
      baseline: the row that the others are compared with, on common questions and seeds.
      kind: 'table', or 'curve': columns are on the x axis of the figure.
      higher_is_better: whether the best value is the highest.
    """

    name: str
    title: str
    caption: str
    unit: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    baseline: str | None = None
    kind: str = 'table'
    higher_is_better: bool = True

    def __post_init__(self):
        if not self.name or set(self.name) & set('/\\') or self.name.startswith('.'):
            raise ValueError(f'expected the stem of a file as name, got {self.name!r}.')
        if self.kind not in KINDS:
            raise ValueError(f'{self.name}: expected kind in {KINDS}, got {self.kind!r}.')
        for what, names in (('rows', self.rows), ('columns', self.columns)):
            if not names or len(set(names)) < len(names):
                raise ValueError(f'{self.name}: expected different {what}, got {names}.')
        places = [(cell.row, cell.column) for cell in self.cells]
        for place in places:
            if place[0] not in self.rows or place[1] not in self.columns or places.count(place) > 1:
                raise ValueError(f'{self.name}: expected one cell a row and column, got {place}.')
        if self.baseline is not None and self.baseline not in self.rows:
            raise ValueError(f'{self.name}: expected a row as baseline, got {self.baseline!r}.')
        if self.kind == 'curve':
            self.positions()

    def cell(self, row: str, column: str) -> Cell | None:
        """The cell, or None where there is none."""
        found = (cell for cell in self.cells if (cell.row, cell.column) == (row, column))
        return next(found, None)

    def positions(self) -> list[float]:
        """The columns as numbers on the x axis.

        Raises:
          ValueError: if one is none.
        """
        found = [place for place in map(position, self.columns) if place is not None]
        if len(found) < len(self.columns):
            raise ValueError(
                f'{self.name}: expected numbers as columns of a curve, got {self.columns}.'
            )
        return found

    def best(self, column: str) -> tuple[str, ...]:
        """The rows with the best mean in a column; none where fewer than two were run."""
        cells = [cell for cell in self.cells if cell.column == column]
        means = {cell.row: cell.summary.mean for cell in cells if cell.summary and cell.planned}
        if len(means) < 2:
            return ()
        best = (max if self.higher_is_better else min)(means.values())
        return tuple(row for row, mean in means.items() if mean == best)

    def missing(self) -> list[str]:
        """Sentences on the cells that did not finish; empty where all did."""
        sentences = []
        for cell in self.cells:
            if cell.complete or cell.note == NO_VALUE or not (cell.planned or cell.note):
                continue
            state = cell.seeds_text or 'not run'
            note = f' ({cell.note})' if cell.note and cell.note != state else ''
            sentences.append(f'{cell.row}, {cell.column}: {state}{note}')
        return sentences


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A row against the baseline in one column, on the questions and seeds that both have.

    Attributes:
      row: the method.
      baseline: the method that it is compared with.
      column: of the table.
      seeds: how many seeds both have.
      questions: how many questions all those runs answered.
      left_out: questions that only some of them answered.
      difference: of the mean accuracies on these, in points, row minus baseline.
      low: lower end of the bootstrap's 95 % interval.
      high: upper end.
      bootstrap_p: two-sided, over questions and seeds.
      mcnemar_p: exact, clustered by question.
      adjusted_p: the larger of the two, as a difference should pass both, after Holm's correction
        over all comparisons of the table.
      detectable: the smallest true difference found with 80 % power before that correction.
      folds: of a cross-validation; 0 without one.
      fold_p: two-sided, with the folds as units (`significance.fold_interval`), for students that
        are trained on other questions; no part of `adjusted_p`. None without folds.
    """

    row: str
    baseline: str
    column: str
    seeds: int
    questions: int
    left_out: int
    difference: float
    low: float
    high: float
    bootstrap_p: float
    mcnemar_p: float
    adjusted_p: float
    detectable: float
    folds: int = 0
    fold_p: float | None = None

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `within noise`; more right answers are better."""
        if self.adjusted_p >= _LEVEL:
            return 'within noise'
        return 'better' if self.difference > 0 else 'worse'


@dataclasses.dataclass(frozen=True)
class Comparisons:
    """All comparisons of a table.

    Attributes:
      made: those that could be made, in the table's order.
      not_made: sentences on those that could not although both rows have runs.
    """

    made: tuple[Comparison, ...] = ()
    not_made: tuple[str, ...] = ()

    def of(self, row: str, column: str) -> Comparison | None:
        """The comparison of a cell, or None where there is none."""
        found = (each for each in self.made if (each.row, each.column) == (row, column))
        return next(found, None)


def pooled(outcomes: Sequence[Outcome]) -> Outcome:
    """What a seed has come to over all folds of a cross-validation.

    Its accuracy is that on all questions, each of which is in one fold; another measure is the
    mean over the folds.

    Args:
      outcomes: of the same seed, one for each fold, in order.

    Raises:
      ValueError: if a question is in two folds.
    """
    given = [outcome.correct for outcome in outcomes]
    correct = {name: right for each in given for name, right in (each or {}).items()}
    sizes = [len(each or ()) for each in given]
    if len(correct) < sum(sizes):
        raise ValueError('expected every question in one fold, got some in several.')
    # Where there are no questions the folds weigh the same.
    value = np.average([outcome.value for outcome in outcomes], weights=sizes if correct else None)
    folds = {name: fold for fold, each in enumerate(given) for name in each or ()}
    return Outcome(outcomes[0].seed, float(value), correct or None, folds or None)


def compare(table: Table) -> Comparisons:
    """Compares every row with the baseline, in every column where both have runs."""
    pairs, not_made = [], []
    for row in table.rows:
        for column in table.columns:
            cell, baseline = table.cell(row, column), table.cell(table.baseline or '', column)
            if not (cell and baseline and cell.outcomes and baseline.outcomes) or cell is baseline:
                continue
            answers = common_answers(cell, baseline)
            if isinstance(answers, str):
                not_made.append(answers)
            else:
                pairs.append((cell, baseline, answers))
    # The smallest p of a bootstrap is 2 / resamples; times the comparisons it must leave a verdict.
    resamples = max(_RESAMPLES, 100 * len(pairs))
    made = [_compare(cell, baseline, answers, resamples) for cell, baseline, answers in pairs]
    adjusted = significance.holm([comparison.adjusted_p for comparison in made])
    made = [
        dataclasses.replace(comparison, adjusted_p=p)
        for comparison, p in zip(made, adjusted, strict=True)
    ]
    return Comparisons(tuple(made), tuple(not_made))


def _compare(cell: Cell, baseline: Cell, answers: 'CommonAnswers', resamples: int) -> Comparison:
    """The comparison, not yet adjusted."""
    first, second, fold = answers.first, answers.second, answers.folds
    bootstrap = significance.paired_bootstrap(first, second, folds=fold, resamples=resamples)
    mcnemar_p = significance.mcnemar(first, second)
    # The first of the two only knows the questions, the second also what the seeds add.
    detectable = max(
        power.detectable_difference(
            first.shape[1], power.discordance(first, second), seeds=len(first)
        ),
        power.detectable_by_interval(bootstrap.low, bootstrap.high),
    )
    return Comparison(
        row=cell.row,
        baseline=baseline.row,
        column=cell.column,
        seeds=len(first),
        questions=first.shape[1],
        left_out=answers.left_out,
        difference=100 * bootstrap.difference,
        low=100 * bootstrap.low,
        high=100 * bootstrap.high,
        bootstrap_p=bootstrap.p_value,
        mcnemar_p=mcnemar_p,
        adjusted_p=max(bootstrap.p_value, mcnemar_p),
        detectable=100 * min(detectable, 1.0),
        folds=0 if fold is None else len(set(fold.tolist())),
        fold_p=None if fold is None else _fold_p(first, second, fold),
    )


def _fold_p(first: np.ndarray, second: np.ndarray, fold: np.ndarray) -> float | None:
    numbers = np.unique(fold)
    if len(numbers) < 2:
        return None
    differences = [first[:, fold == k].mean() - second[:, fold == k].mean() for k in numbers]
    return significance.fold_interval(np.array(differences)).p_value


class CommonAnswers(NamedTuple):
    """Two cells on the questions and seeds that both have.

    Attributes:
      first: whether the first cell's run with a seed answers a question right.
      second: the same of the second cell.
      folds: of each question; None without cross-validation.
      left_out: questions that only some of the runs answered.
    """

    first: Bool[np.ndarray, 'seeds questions']
    second: Bool[np.ndarray, 'seeds questions']
    folds: Int[np.ndarray, ' questions'] | None
    left_out: int


def common_answers(cell: Cell, baseline: Cell) -> CommonAnswers | str:
    """The answers of two cells, or a sentence on why they cannot be compared."""
    ours = {each.seed: each.correct for each in cell.outcomes if each.correct is not None}
    theirs = {each.seed: each.correct for each in baseline.outcomes if each.correct is not None}
    where = f'{cell.row} with {baseline.row}, {cell.column}'
    if not ours or not theirs:
        return f'{where}: no answers by question.'
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return f'{where}: no seed in common.'
    runs = [answers[seed] for answers in (ours, theirs) for seed in seeds]
    common = sorted(set.intersection(*(set(run) for run in runs)))
    if not common:
        return f'{where}: no question in common.'
    first, second = (_answers(answers, seeds, common) for answers in (ours, theirs))
    of_cells = [each.outcomes[0].folds for each in (cell, baseline)]
    if of_cells[0] != of_cells[1]:
        return f'{where}: other folds.'
    folds = of_cells[0]
    fold = np.array([folds[each] for each in common]) if folds else None
    return CommonAnswers(first, second, fold, len(set().union(*runs)) - len(common))


def _answers(
    runs: Mapping[int, Mapping[str, bool]], seeds: Iterable[int], questions: list[str]
) -> Bool[np.ndarray, 'seeds questions']:
    return np.array([[bool(runs[seed][each]) for each in questions] for seed in seeds])
