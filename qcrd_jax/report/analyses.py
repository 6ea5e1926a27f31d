"""The paper's analyses of one run: teacher statistics, score density, case study, training time.

Each stands beside what the paper says where the paper says it of the same data, student or method.
"""

import statistics
from typing import Any

from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.files import flatten
from qcrd_jax.methods.table import METHODS
from qcrd_jax.report.formats import clip, duration, first, percent
from qcrd_jax.report.marked import ARITHMETIC, marked, temperature_name
from qcrd_jax.report.run_files import RunFiles, number, plain
from qcrd_jax.runs.timing import total_seconds

_PAPER_STUDENTS = ('t5-base', 't5-small')  # of Table A7, in the order of `Entry.paper_hours`
_HIGH = 0.7  # the score that the paper's student samples "sometimes exceeded" (section 5.5)
_MAX_CASES, _MAX_RATIONALES = 40, 8  # questions of the case study, rationales of each


def teacher_statistics(run: RunFiles, dataset: str) -> dict[str, Any] | None:
    """Table A2 of the training data beside the paper's row; None where nothing was counted."""
    counts = run.counts.get('train')
    counts = counts if isinstance(counts, dict) else {}
    questions, samples = number(counts.get('questions')), number(counts.get('samples'))
    if not questions or samples is None:
        return None
    unreadable = number(counts.get('unreadable'))
    right = number(counts.get('right_per_question'))
    entry = DATASETS.get(dataset)
    paper = entry.paper_samples if entry else None
    mean, only_right, only_wrong = paper or (None, None, None)
    used = number(flatten(run.config).get('data.samples'))
    of = '' if used is None else f', of {used:.0f}'
    rows = [
        (f'right samples per question{of}', _mean(right), _mean(mean)),
        ('questions with only right samples', _share(counts, 'only_positive'), percent(only_right)),
        ('questions with only wrong samples', _share(counts, 'only_negative'), percent(only_wrong)),
        ('samples that are right', _share(counts, 'sample_accuracy'), '–'),
        ('votes that are right', _share(counts, 'vote_accuracy'), '–'),
        (
            'samples without a readable answer',
            percent(unreadable / samples if unreadable is not None and samples else None),
            '–',
        ),
    ]
    keys = ('name', 'value', 'paper')
    return {
        'questions': f'{questions:,.0f}',
        'samples': f'{samples:,.0f}',
        'in_paper': mean is not None,
        'rows': [dict(zip(keys, row, strict=True)) for row in rows],
    }


def score_statements(groups: list[tuple[str, str, tuple[float, ...]]]) -> list[dict[str, str]]:
    """What the paper reads off its Fig. 6, and the same of this run.

    Args:
      groups: (label, colour, scores) by kind of rationale.
    """
    positives = [scores for label, _, scores in groups if label == 'teacher positive']
    student = [(label, scores) for label, _, scores in groups if label.startswith('student')]
    statements = []
    if positives:
        mean = statistics.fmean(positives[0])
        statements.append(
            {
                'subject': "teacher's positives, mean score",
                'value': f'{mean:.2f}',
                'paper': 'around 0.95',
            }
        )
    statements += [
        {
            'subject': f'{label}, scored above {_HIGH}',
            'value': percent(sum(score > _HIGH for score in scores) / len(scores)),
            'paper': 'sometimes' if label.endswith(' 1.5') else '–',
        }
        for label, scores in student
    ]
    return statements


def case_study(run: RunFiles) -> dict[str, Any]:
    """Rationales of the student by temperature, with their incorrect details (Fig. 5)."""
    cases = [_case(record) for record in run.case_study[:_MAX_CASES]]
    tally: dict[str, list[bool]] = {}
    for case in cases:
        for rationale in (*case['teacher'], *case['rationales']) if case['checked'] else ():
            tally.setdefault(rationale['kind'], []).append(rationale['faulty'])
    return {
        'cases': cases,
        'hidden': max(len(run.case_study) - _MAX_CASES, 0),
        'checked': any(case['checked'] for case in cases),
        'tally': [(kind, sum(faulty), len(faulty)) for kind, faulty in tally.items()],
    }


def training_time(run: RunFiles) -> dict[str, str]:
    """The headline of the training time: value, and the paper's where it is comparable."""
    hours = first(run.summary.get('training_hours'))
    time = None if hours is None else 3600 * hours
    if time is None:
        time = total_seconds(run.series('train', 'seconds_per_step'))
    pretraining = first(
        run.summary.get('pretraining_seconds'),
        total_seconds(run.series('discriminator', 'seconds_per_step')),
    )
    notes = [] if pretraining is None else [f'and {duration(pretraining)} of the discriminator']
    paper = _paper_hours(run)
    if paper is not None:
        notes.append(f'paper: {paper:g} h (SVAMP, 10,000 steps, one A100)')
    return {'value': duration(time), 'note': '; '.join(notes) or 'of all steps'}


def _paper_hours(run: RunFiles) -> float | None:
    config = flatten(run.config)
    student = plain(run.summary.get('student') or config.get('student.pretrained'))
    student = student.rstrip('/').rpartition('/')[2]
    entry = METHODS.get(run.method)
    if entry is None or student not in _PAPER_STUDENTS:
        return None
    unweighed = entry.discriminator and config.get('discriminator.weigh') is False
    hours = entry.paper_hours_unweighed if unweighed else entry.paper_hours
    return hours[_PAPER_STUDENTS.index(student)] if hours else None


def _case(record: dict[str, Any]) -> dict[str, Any]:
    question = plain(record.get('input'))
    checked = record.get('answer_type') == ARITHMETIC
    rationales = record.get('rationales')
    rationales = rationales if isinstance(rationales, list) else []
    teacher = record.get('teacher')
    return {
        'id': clip(record.get('id')),
        'input': clip(question),
        'label': clip(record.get('label')),
        'checked': checked,
        'teacher': [marked('teacher', {'text': teacher}, question, checked)] if teacher else [],
        'rationales': [
            marked(temperature_name(each.get('temperature')), each, question, checked)
            for each in rationales[:_MAX_RATIONALES]
            if isinstance(each, dict)
        ],
    }


def _mean(value: float | None) -> str:
    return '–' if value is None else f'{value:.2f}'


def _share(counts: dict[str, Any], name: str) -> str:
    return percent(number(counts.get(name)))
