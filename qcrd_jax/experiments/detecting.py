"""What differences from the baseline a grid could detect, said before anything is run.

Finished runs of the workdir are taken for what they show of accuracy, discordance and luck. Where
there are none the paper's number, or a half, stands for the accuracy, and the rest is assumed
(`power.Assumption`); every line says which.
"""

from typing import NamedTuple

from qcrd_jax import grid
from qcrd_jax.data.sources import sizes
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import power
from qcrd_jax.evaluation.power import Assumption, Design
from qcrd_jax.experiments.plan import Plan
from qcrd_jax.methods.table import METHODS
from qcrd_jax.report.tables import Cell, Table, common_answers


class Comparison(NamedTuple):
    """What is planned to compare a row with the baseline, in one column.

    Attributes:
      design: what is run.
      assumption: what is taken to hold of the runs.
      source: where that is from, in words.
    """

    design: Design
    assumption: Assumption
    source: str


def text(plan: Plan, table: Table) -> str:
    """Returns a line for all comparisons of a column that are alike; '' where there are none.

    With `reproduce.detect` it also says how many seeds, or questions, that difference takes.

    Args:
      plan: of the grid.
      table: what there is of it, see `tabling`.
    """
    pairs = _pairs(plan, table)
    if not pairs:
        return ''
    lines: dict[tuple[str, str], list[str]] = {}  # rows by column and what is said of them
    for cell, baseline in pairs:
        try:
            said = _said(_planned(plan, cell, baseline), len(pairs), plan.settings.detect / 100)
        except InputError as error:
            said = f'not known: {error}'
        lines.setdefault((cell.column, said), []).append(cell.row)
    correction = f', after Holm for {len(pairs)} comparisons' if len(pairs) > 1 else ''
    head = (
        f'could detect, as differences from {plan.settings.baseline}, with {100 * power.POWER:g} % '
        f'power at {100 * power.LEVEL:g} % (two-sided{correction}):'
    )
    said_of = (f'  {column}, {"; ".join(rows)}: {said}' for (column, said), rows in lines.items())
    return '\n'.join([head, *said_of])


def _pairs(plan: Plan, table: Table) -> list[tuple[Cell, Cell]]:
    """The cells that will be compared with their baseline: asked for, or there already."""
    tested = {cell.place for cell in plan.visible if _has_verdicts(plan, cell)}
    asked = {cell.place for cell in plan.asked}
    there = {
        (cell.row, cell.column): cell
        for cell in table.cells
        if (cell.row, cell.column) in tested and (cell.outcomes or (cell.row, cell.column) in asked)
    }
    return [
        (cell, there[table.baseline or '', column])
        for (row, column), cell in there.items()
        if row != table.baseline and (table.baseline or '', column) in there
    ]


def _has_verdicts(plan: Plan, cell: grid.Cell) -> bool:
    """Whether a cell's runs have a verdict on every question: on rationales, if they write any."""
    if cell.measure not in grid.VERDICTS:
        return False
    rationales = cell.measure in grid.RATIONALE_MEASURES
    return not rationales or METHODS[plan.configs[cell.place].method].rationales


def _planned(plan: Plan, cell: Cell, baseline: Cell) -> Comparison:
    data = plan.configs[cell.row, cell.column].data
    done = [each for each in (baseline, cell) if each.outcomes]
    if done and done[0].outcomes[0].correct:
        questions = len(done[0].outcomes[0].correct)
    else:
        questions = sizes.test_size(data, plan.workdir / 'data')
    design = Design(questions, len(plan.settings.seeds), max(data.folds, 1))
    if len(done) == 2:
        answers = common_answers(cell, baseline)
        if not isinstance(answers, str):
            shown = power.measured(answers.first, answers.second, answers.folds)
            lasting = 'all' if len(answers.first) > 1 else 'spread between runs assumed, the rest'
            return Comparison(design, shown, f'{lasting} from finished runs')
    assumed = ', the rest assumed'
    for each in done:
        right = sum(outcome.value for outcome in each.outcomes) / len(each.outcomes) / 100
        return Comparison(design, Assumption.of_accuracy(right), f'right from {each.row}{assumed}')
    for each in (baseline, cell):
        if isinstance(each.paper, int | float):
            source = f'right as the paper has {each.row}{assumed}'
            return Comparison(design, Assumption.of_accuracy(each.paper / 100), source)
    return Comparison(design, Assumption.of_accuracy(0.5), 'all assumed')


def _said(planned: Comparison, comparisons: int, wished: float) -> str:
    design, assumption, source = planned
    points = 100 * power.planned(design, assumption, comparisons=comparisons)
    folds = f' in {design.folds} folds' if design.folds > 1 else ''
    said = (
        f'{points:.1f} points ({design.questions:,} questions{folds}, {design.seeds} '
        f'{"seed" if design.seeds == 1 else "seeds"}; {100 * assumption.right:.0f} % right, '
        f'{100 * assumption.discordance:.0f} % discordant, {100 * assumption.lasting:.0f} % '
        f'with any number of seeds, '
        f'{100 * assumption.luck:.1f} points between runs: {source})'
    )
    if not wished:
        return said
    seeds = power.seeds_needed(wished, design, assumption, comparisons=comparisons)
    questions = power.questions_needed(wished, design, assumption, comparisons=comparisons)
    needed = [
        f'{number:,} {of}' for number, of in ((seeds, 'seeds'), (questions, 'questions')) if number
    ]
    return (
        f'{said}; {100 * wished:g} points take {" or ".join(needed) or "more seeds and questions"}'
    )
