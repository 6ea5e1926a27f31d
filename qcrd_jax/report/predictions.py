"""The test predictions on a page: a row for each question, and what they can be filtered by."""

import statistics
from collections.abc import Iterable
from typing import Any

from qcrd_jax.report.formats import clip, scored
from qcrd_jax.report.groups import Grouping
from qcrd_jax.report.run_files import RunFiles, number

MAX_ROWS = 10_000
_VERDICTS = (('right', 'right'), ('wrong', 'wrong'))


def predictions(run: RunFiles, grouping: Grouping | None) -> dict[str, Any]:
    """The section on test predictions: all of them, their counts, and the filters.

    Args:
      run: its files.
      grouping: of its test questions; None where they have no groups.
    """
    wrong = [record for record in run.predictions if record.get('correct') is not True]
    right = [record for record in run.predictions if record.get('correct') is True]
    means = [_mean_score(records) for records in (right, wrong)]
    rows = [
        _row(record) | {'group': str(grouping.places[place]) if grouping else ''}
        for place, record in enumerate(run.predictions[:MAX_ROWS])
    ]
    return {
        'total': len(run.predictions),
        'wrong': f'{len(wrong):,}',
        'right': f'{len(right):,}',
        'scores': '' if None in means else f'{means[0]:.2f} when right, {means[1]:.2f} when wrong',
        'rows': rows,
        'hidden': max(len(run.predictions) - MAX_ROWS, 0),
        'written': any(row['rationale'] for row in rows),
        'filters': [
            filter_of('answer', 'answers', _VERDICTS),
            *(
                [filter_of('rationale', 'rationales', _VERDICTS)]
                if any(row['verdict'] for row in rows)
                else []
            ),
            *group_filters(grouping),
        ],
    }


def filter_of(field: str, name: str, choices: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A filter by a field of the rows.

    Args:
      field: of the rows, `data-<field>`.
      name: what is chosen from, in plural.
      choices: (value of the field, text).
    """
    return {'field': field, 'name': name, 'choices': list(choices)}


def group_filters(grouping: Grouping | None) -> list[dict[str, Any]]:
    """The filter by group, where there are several."""
    if grouping is None or len(grouping.names) < 2:
        return []
    names = [(str(place), clip(name)) for place, name in enumerate(grouping.names)]
    plural = 'classes' if grouping.by == 'class' else f'{grouping.by}s'
    return [filter_of('group', plural, names)]


def verdict(value: Any) -> str:
    """`right` or `wrong` of what may be a verdict; '' where it is none."""
    return '' if not isinstance(value, bool) else 'right' if value else 'wrong'


def _row(record: dict[str, Any]) -> dict[str, str]:
    fields = ('id', 'input', 'label', 'prediction', 'rationale')
    return (
        {field: clip(record.get(field)) for field in fields}
        | {
            'answer': 'right' if record.get('correct') is True else 'wrong',
            'verdict': verdict(record.get('rationale_correct')),
            'arrives': clip(record.get('rationale_answer')),
        }
        | scored(record)
    )


def _mean_score(records: list[dict[str, Any]]) -> float | None:
    scores = [number(record.get('score')) for record in records]
    scores = [score for score in scores if score is not None]
    return statistics.fmean(scores) if scores else None
