"""The report's page: what the run files say, arranged for a reader."""

import pathlib
import statistics
from typing import Any

from qcrd_jax import files
from qcrd_jax.evaluation import metrics
from qcrd_jax.files import flatten
from qcrd_jax.methods.table import METHODS
from qcrd_jax.report import analyses, figures, naming, templates
from qcrd_jax.report.drawing import BLUE, GREEN, ORANGE, PURPLE
from qcrd_jax.report.formats import (
    cell,
    clip,
    first,
    millions,
    percent,
    score_colour,
    scored,
    seconds,
)
from qcrd_jax.report.groups import Grouping, grouped, table
from qcrd_jax.report.marked import ARITHMETIC
from qcrd_jax.report.predictions import predictions
from qcrd_jax.report.rationales import counted, headline, rationale_quality
from qcrd_jax.report.run_files import RunFiles, number, plain, read_run

_KIND_COLOURS = {'teacher positive': BLUE, 'teacher negative': ORANGE}
_STUDENT_COLOURS = (GREEN, PURPLE, '#a07c1c', '#4b9bb5')
_MAX_EXAMPLES, _MAX_RATIONALES = 40, 24  # per page, per example


def write_report(workdir: pathlib.Path) -> pathlib.Path:
    """Writes the report of a run, finished or not, from the files in its workdir.

    The page holds everything it shows (figures as data URIs, no network), and treats the model's
    and the teacher's output as data. Its one script filters rows that are there without it. The
    figures are also written as PNG beside it.

    Args:
      workdir: folder of the run; every file of it may be missing or torn, and the page says so.

    Returns:
      path of the page, `<workdir>/report/index.html`.

    Raises:
      InputError: if there is no such folder.
    """
    run = read_run(workdir)
    folder = pathlib.Path(workdir) / 'report'
    page = _page(run)
    drawn = [*page['training_figures'], *page['discriminator_figures'], page['score_figure']]
    for figure in filter(None, drawn):
        files.write_bytes(folder / f'{figure.name}.png', figure.png)
    files.write_text(folder / 'index.html', templates.render('page.html', page))
    return folder / 'index.html'


def _page(run: RunFiles) -> dict[str, Any]:
    groups, kind = score_groups(run), naming.answer_type(run)
    grouping = grouped(run.predictions, kind)
    colours = _KIND_COLOURS | {label: colour for label, colour, _ in groups}
    return {
        'title': naming.title(run),
        'run_name': plain(run.name),
        'facts': naming.facts(run),
        'finished': bool(run.summary),
        'headlines': _headlines(run),
        'notices': _notices(run),
        'no_discriminator': not _has_discriminator(run),
        'training_figures': figures.training_figures(run),
        'discriminator_figures': figures.discriminator_figures(run),
        'score_figure': figures.score_figure(groups),
        'score_rows': _score_rows(groups),
        'score_statements': analyses.score_statements(groups),
        'teacher': analyses.teacher_statistics(run, naming.dataset(run)),
        'rationales': rationale_quality(run, kind == ARITHMETIC),
        'case_study': analyses.case_study(run),
        'legend': [(f'{score:g}', score_colour(score)) for score in (0.0, 0.25, 0.5, 0.75, 1.0)],
        'examples': [_example(record, colours) for record in run.examples[:_MAX_EXAMPLES]],
        'hidden_examples': max(len(run.examples) - _MAX_EXAMPLES, 0),
        'groups': _groups(run, grouping),
        'predictions': predictions(run, grouping),
        'launches': naming.launches(run),
        'summary': [(plain(name), cell(value)) for name, value in flatten(run.summary).items()],
        'config': _config(run),
    }


def _has_discriminator(run: RunFiles) -> bool:
    """Whether the run's method trains with one, as one that is unknown may."""
    entry = METHODS.get(run.method)
    return entry is None or entry.discriminator


def _notices(run: RunFiles) -> list[str]:
    # What a method never writes is not missing.
    spared = () if _has_discriminator(run) else ('scores.json', 'examples.jsonl')
    missing = [name for name in run.missing if name not in spared]
    notices = [plain(notice) for notice in run.notices]
    nonfinite = [step for step, share in run.series('train', 'nonfinite') if share > 0]
    if nonfinite:
        notices.append(
            'Updates with a non-finite gradient were not applied; '
            f'the first are logged at step {nonfinite[0]:,.0f}.'
        )
    return [*notices, f'Missing: {", ".join(missing)}.'] if missing else notices


def _headlines(run: RunFiles) -> list[dict[str, str]]:
    """The figures at the top: what they are, their value, and what to know about them."""
    validations = run.series('validation', 'accuracy')
    best = max(validations, key=lambda point: point[1], default=(None, None))
    best_step = first(run.summary.get('best_step'), best[0])
    step_time = first(run.summary.get('seconds_per_step'), _median_step_time(run))
    sampling = number(run.summary.get('negative_sampling_share'))
    auc = number(run.summary.get('discriminator_auc'))
    parameters = number(run.summary.get('parameters'))
    test = run.last('test') or _test_of_predictions(run)
    headlines = [
        (
            'Test accuracy',
            percent(first(run.summary.get('test_accuracy'), test.get('accuracy'))),
            _counts(test) or 'not measured yet',
        ),
        *filter(None, [headline(run)]),
        (
            'Validation accuracy',
            percent(first(run.summary.get('validation_accuracy'), best[1])),
            'not measured yet' if best_step is None else f'best, at step {best_step:,.0f}',
        ),
    ]
    if _has_discriminator(run):
        note = 'good over poor rationales, held out' if auc is not None else 'not measured yet'
        headlines.append(('Discriminator ROC-AUC', '–' if auc is None else f'{auc:.3f}', note))
    note = f'{percent(sampling)} of it samples negatives' if sampling else 'of training'
    padding = number(run.summary.get('padding_share'))
    if padding is not None:
        note += f'; {percent(padding)} of the tokens are padding'
    headlines.append(('Time per step', seconds(step_time), note))
    training = analyses.training_time(run)
    headlines.append(('Training time', training['value'], training['note']))
    if parameters is not None:
        headlines.append(('Student', millions(parameters), 'parameters'))
    return [dict(zip(('name', 'value', 'note'), headline, strict=True)) for headline in headlines]


def _counts(record: dict[str, Any]) -> str:
    correct, total = number(record.get('correct')), number(record.get('total'))
    if correct is None or total is None or not 0 <= correct <= total:
        return ''
    return counted(metrics.Ratio(int(correct), int(total)))


def _test_of_predictions(run: RunFiles) -> dict[str, Any]:
    right = metrics.accuracy(record.get('correct') is True for record in run.predictions)
    return {'accuracy': right.value, 'correct': right.numerator, 'total': right.denominator}


def _median_step_time(run: RunFiles) -> float | None:
    times = [value for _, value in run.series('train', 'seconds_per_step')]
    return statistics.median(times) if times else None


def score_groups(run: RunFiles) -> list[tuple[str, str, tuple[float, ...]]]:
    """(label, colour, scores) by kind: the teacher's first, then the student's by temperature."""
    teacher = [kind for kind in ('teacher_positive', 'teacher_negative') if kind in run.scores]
    student = sorted(kind for kind in run.scores if kind not in teacher)
    colours = dict(zip(student, _STUDENT_COLOURS * len(student), strict=False))
    groups = []
    for kind in (*teacher, *student):
        label = kind.replace('_', ' ')
        colour = _KIND_COLOURS.get(label) or colours[kind]
        label = label.replace('student t', 'student sample, temperature ')
        groups.append((label, colour, run.scores[kind]))
    return groups


def _score_rows(groups: list[tuple[str, str, tuple[float, ...]]]) -> list[dict[str, str]]:
    positives = next((scores for label, _, scores in groups if label == 'teacher positive'), ())
    rows = []
    for label, colour, scores in groups:
        auc = None if scores is positives else metrics.roc_auc(positives, scores)
        rows.append(
            {
                'label': label,
                'colour': colour,
                'count': f'{len(scores):,}',
                'mean': f'{statistics.fmean(scores):.2f}',
                'median': f'{statistics.median(scores):.2f}',
                'high': percent(sum(score > 0.7 for score in scores) / len(scores)),
                'auc': '–' if auc is None else f'{auc:.3f}',
            }
        )
    return rows


def _example(record: dict[str, Any], colours: dict[str, str]) -> dict[str, Any]:
    rationales = record.get('rationales')
    rationales = rationales if isinstance(rationales, list) else []
    rationales = [rationale for rationale in rationales if isinstance(rationale, dict)]
    return {
        'id': clip(record.get('id')),
        'input': clip(record.get('input')),
        'label': clip(record.get('label')),
        'rationales': [_rationale(each, colours) for each in rationales[:_MAX_RATIONALES]],
        'hidden': max(len(rationales) - _MAX_RATIONALES, 0),
    }


def _rationale(record: dict[str, Any], colours: dict[str, str]) -> dict[str, str]:
    kind, temperature = clip(record.get('kind')), number(record.get('temperature'))
    kind = kind if temperature is None else f'{kind}, temperature {temperature}'
    return {
        'kind': kind,
        'colour': colours.get(kind, PURPLE),
        'text': clip(record.get('text')) or '(empty)',
        **scored(record),
    }


def _config(run: RunFiles) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration by its top-level sections, the fields outside any section first."""
    top = {name: value for name, value in run.config.items() if not isinstance(value, dict)}
    nested = {name: value for name, value in run.config.items() if isinstance(value, dict)}
    return [
        (plain(name or 'run'), _fields(name, section))
        for name, section in ({'': top} | nested).items()
        if section
    ]


def _fields(name: str, section: dict[str, Any]) -> list[tuple[str, str]]:
    prefix = f'{name}.' if name else ''
    return [
        (plain(field), naming.configured(f'{prefix}{field}', value))
        for field, value in flatten(section).items()
    ]


def _groups(run: RunFiles, grouping: Grouping | None) -> dict[str, Any] | None:
    """The table of accuracy by group; None where there are no groups."""
    if grouping is None:
        return None
    rows = table(grouping, run.predictions)
    read = any(row['rationale_right'] for row in rows)
    return {'by': grouping.by, 'rows': rows, 'read': read}
