"""The page of two runs: their scores, their difference on the same questions, and where it is."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from qcrd_jax import files
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import significance
from qcrd_jax.evaluation.metrics import accuracy
from qcrd_jax.files import flatten
from qcrd_jax.report import naming, templates
from qcrd_jax.report.formats import clip, interval, percent
from qcrd_jax.report.groups import Grouping, grouped
from qcrd_jax.report.predictions import MAX_ROWS, filter_of, group_filters, verdict
from qcrd_jax.report.run_files import RunFiles, plain, read_run
from qcrd_jax.runs import workdir as workdirs

NAME = 'comparison.html'

_MEASURES = (('labels', 'correct'), ('greedy rationales', 'rationale_correct'))
_LEVEL = 0.05
_MAX_FIELDS = 200  # of the configuration
_MAX_NAMED = 3  # ids in a message

Record = dict[str, Any]


class Pair(NamedTuple):
    """A question as two runs answered it."""

    first: Record
    second: Record


def write_comparison(
    workdir: pathlib.Path, other: pathlib.Path, output: pathlib.Path | None = None
) -> pathlib.Path:
    """Writes one page that compares two runs of the same test questions.

    It shows the scores of both, the difference of their right labels and of their right greedy
    rationales with a bootstrap interval, its p-value and McNemar's (`evaluation.significance`;
    two runs are one seed each, so both speak of these two students on other questions, not of
    their methods), the fields in which the configurations differ, and the questions of which only
    one run has the label or the rationale right, filterable. Nothing is written into `other`.

    Args:
      workdir: of the first run, A; differences are A minus B.
      other: of the second run, B.
      output: the page; None: `<workdir>/report/comparison.html`.

    Returns:
      path of the page.

    Raises:
      InputError: if a folder is missing or holds no predictions, if an id stands twice in them, or
        if the two are of different test questions: other ids, questions or gold labels.
    """
    workdir, other = pathlib.Path(workdir), pathlib.Path(other)
    runs = read_run(workdir), read_run(other)
    pairs = paired(*runs, names=(str(workdir), str(other)))
    output = pathlib.Path(output) if output else workdir / 'report' / NAME
    page = {
        'runs': [
            _run(letter, run, path)
            for letter, run, path in zip('AB', runs, (workdir, other), strict=True)
        ],
        'score_rows': _scores(runs),
        'tests': [row for name, field in _MEASURES if (row := _test(name, field, pairs))],
        'settings': _settings(runs),
        **_differing(pairs, grouped([pair.first for pair in pairs], naming.answer_type(runs[0]))),
    }
    files.write_text(output, templates.render('comparison.html', page))
    return output


def paired(first: RunFiles, second: RunFiles, names: Sequence[str] = ('A', 'B')) -> list[Pair]:
    """The test questions of two runs, in the order of the first.

    Args:
      first: a run.
      second: another.
      names: of the two, for messages.

    Raises:
      InputError: see `write_comparison`.
    """
    ours, theirs = (_by_id(run, name) for run, name in zip((first, second), names, strict=True))
    if difference := _difference(ours, theirs, names):
        raise InputError(
            f'{names[0]} and {names[1]} answered different test questions and cannot be compared: '
            f'{difference}. Compare runs of the same test split.'
        )
    return [Pair(record, theirs[name]) for name, record in ours.items()]


def _difference(
    ours: Mapping[str, Record], theirs: Mapping[str, Record], names: Sequence[str]
) -> str:
    """How the questions of two runs differ; '' where they do not."""
    missing = [
        f'only in {name}: {len(ids)} ({", ".join(sorted(ids)[:_MAX_NAMED])}'
        f'{", ..." if len(ids) > _MAX_NAMED else ""})'
        for name, ids in (
            (names[0], ours.keys() - theirs.keys()),
            (names[1], theirs.keys() - ours.keys()),
        )
        if ids
    ]
    if missing:
        return f'{len(ours.keys() & theirs.keys())} in common; {"; ".join(missing)}'
    for name, record in ours.items():
        for field in ('input', 'label'):
            texts = [clip(each.get(field))[:80] for each in (record, theirs[name])]
            if record.get(field) != theirs[name].get(field):
                return f'the {field} of {name} is {texts[0]!r} there and {texts[1]!r} here'
    return ''


def _by_id(run: RunFiles, name: str) -> dict[str, Record]:
    if not run.predictions:
        raise InputError(
            f'{name}: has no predictions of its test questions (predictions.jsonl); run it to its '
            'end, or --mode=evaluate in it.'
        )
    found: dict[str, Record] = {}
    for record in run.predictions:
        if (key := plain(record.get('id'))) in found:
            raise InputError(
                f'{name}: predictions.jsonl has the id {key[:80]!r} twice; a question is compared '
                'by its id. Write the predictions anew by --mode=evaluate.'
            )
        found[key] = record
    return found


def _run(letter: str, run: RunFiles, path: pathlib.Path) -> dict[str, Any]:
    """How the page calls a run; seeds of two settings have folders of the same name."""
    parts = path.resolve().parts[-2:]
    return {
        'letter': letter,
        'title': naming.title(run),
        'folder': plain('/'.join(part for part in parts if part != '/')),
        'facts': naming.facts(run),
        'finished': bool(run.summary),
    }


def _scores(runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """A row of both runs for each measure: share, counts and Wilson's interval."""
    rows = []
    for name, field in _MEASURES:
        ratios = [
            accuracy(
                record.get(field) is True
                for record in run.predictions
                if field == 'correct' or isinstance(record.get(field), bool)
            )
            for run in runs
        ]
        if any(ratio.denominator for ratio in ratios):
            rows.append(
                {
                    'name': f'right {name}',
                    'cells': [
                        {
                            'value': percent(ratio.value),
                            'counts': f'{ratio.numerator:,} of {ratio.denominator:,}'
                            if ratio.denominator
                            else '',
                            'interval': interval(ratio),
                        }
                        for ratio in ratios
                    ],
                }
            )
    return rows


def _test(name: str, field: str, pairs: Sequence[Pair]) -> dict[str, str] | None:
    """The paired difference A minus B of one measure; None where it is not known of both runs."""
    known = [
        pair
        for pair in pairs
        if field == 'correct' or all(isinstance(record.get(field), bool) for record in pair)
    ]
    if not known:
        return None
    first, second = (
        np.array([[pair[place].get(field) is True for pair in known]]) for place in (0, 1)
    )
    bootstrap = significance.paired_bootstrap(first, second)
    mcnemar = significance.mcnemar(first, second)
    p_value = max(bootstrap.p_value, mcnemar)
    better = 'A is better' if bootstrap.difference > 0 else 'B is better'
    return {
        'name': f'right {name}',
        'questions': f'{len(known):,}',
        'both': f'{int((first & second).sum()):,}',
        'first': f'{int((first & ~second).sum()):,}',
        'second': f'{int((~first & second).sum()):,}',
        'neither': f'{int((~first & ~second).sum()):,}',
        'difference': f'{100 * bootstrap.difference:+.1f}'.replace('-', '−'),
        'interval': f'{100 * bootstrap.low:+.1f} to {100 * bootstrap.high:+.1f}'.replace('-', '−'),
        'bootstrap_p': _p(bootstrap.p_value),
        'mcnemar_p': _p(mcnemar),
        'verdict': better if p_value < _LEVEL else 'within noise',
    }


def _p(value: float) -> str:
    return '< 0.001' if value < 0.001 else f'{value:.3f}'


def _settings(runs: Sequence[RunFiles]) -> list[tuple[str, str, str]]:
    """Fields of the configuration, and of what ran it, in which they differ."""
    first, second = (flatten(run.config) for run in runs)
    rows = [
        (
            plain(name),
            naming.configured(name, first.get(name)),
            naming.configured(name, second.get(name)),
        )
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name) and name.partition('.')[0] not in workdirs.APART
    ]
    ours, theirs = (_last_launch(run) for run in runs)
    rows += [
        (name, ours.get(name, '–'), theirs.get(name, '–'))
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name)
    ]
    return rows[:_MAX_FIELDS]


def _last_launch(run: RunFiles) -> Mapping[str, str]:
    launches = naming.launches(run)
    return dict(launches[-1]['rows']) if launches else {}


def _differing(pairs: Sequence[Pair], grouping: Grouping | None) -> dict[str, Any]:
    """The questions of which only one run has the label or the rationale right, and filters."""
    rows = [
        _row(pair, str(grouping.places[place]) if grouping else '')
        for place, pair in enumerate(pairs)
    ]
    rows = [row for row in rows if row['answer'] or row['verdict']]
    one = (('A', 'only A right'), ('B', 'only B right'))
    return {
        'questions': f'{len(pairs):,}',
        'differing': len(rows),
        'rows': rows[:MAX_ROWS],
        'filters_of': [
            filter_of('answer', 'labels', one),
            *(
                [filter_of('rationale', 'rationales', one)]
                if any(row['verdict'] for row in rows)
                else []
            ),
            *group_filters(grouping),
        ],
    }


def _row(pair: Pair, group: str) -> dict[str, Any]:
    first, second = pair
    verdicts = [verdict(record.get('rationale_correct')) for record in pair]
    return {
        'id': clip(first.get('id')),
        'input': clip(first.get('input')),
        'label': clip(first.get('label')),
        'group': group,
        'answer': _only(*('right' if r.get('correct') is True else 'wrong' for r in pair)),
        'verdict': _only(*verdicts) if all(verdicts) else '',
        'sides': [
            {
                'letter': letter,
                'prediction': clip(record.get('prediction')),
                'answer': 'right' if record.get('correct') is True else 'wrong',
                'rationale': clip(record.get('rationale')),
                'verdict': each,
            }
            for letter, record, each in zip('AB', (first, second), verdicts, strict=True)
        ],
    }


def _only(first: str, second: str) -> str:
    """Which of the two is the only right one; '' where they are alike."""
    return '' if first == second else 'A' if first == 'right' else 'B'
