"""The figures of a run's report.

Every panel is a figure of its own: a browser lays them out in as many columns as the screen has
room for, and each stays legible on a telephone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import axes, figure, ticker

from qcrd_jax.report.drawing import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SIZE,
    Drawing,
    Figure,
    drawn,
)
from qcrd_jax.report.run_files import RunFiles, number

_BINS = 25  # of the score histograms


@dataclasses.dataclass(frozen=True)
class _Panel:
    """Curves of one unit over the steps of one phase.

    Attributes:
      name: stem of the figure's file.
      title: what the panel shows.
      unit: label of the y axis.
      curves: (key of metrics.jsonl, legend) pairs; those that were not logged are left out.
      phase: `phase` of the lines of metrics.jsonl.
      percent: the values are shares, drawn from 0 to 100 %.
      colours: of the curves.
    """

    name: str
    title: str
    unit: str
    curves: Sequence[tuple[str, str]]
    phase: str = 'train'
    percent: bool = False
    colours: Sequence[str] = CYCLE


_TRAINING = (
    _Panel(
        'loss',
        'Training loss',
        'nats per token, weighted',
        (('loss', 'total'), ('prediction_loss', 'prediction'), ('contrastive_loss', 'contrastive')),
        colours=(INK, GREEN, PURPLE),
    ),
    _Panel(
        'rationale_losses',
        'Rationale losses',
        'nats per token',
        (
            ('explanation_loss', 'rationale'),
            ('positive_loss', 'positive'),
            ('negative_loss', 'negative'),
        ),
        colours=(GREEN, BLUE, ORANGE),
    ),
    _Panel(
        'training_scores',
        'Scores of the rationales trained on',
        'discriminator score',
        (('positive_score', 'positive'), ('negative_score', 'negative')),
        colours=(BLUE, ORANGE),
    ),
    _Panel(
        'negative_active',
        'Negatives that still carry gradient',
        'share of negatives (%)',
        (('negative_active', 'within the margin'),),
        percent=True,
        colours=(ORANGE,),
    ),
    _Panel(
        'negative_length',
        'Length of the sampled negatives',
        'tokens, mean',
        (('negative_length', 'negatives'),),
        colours=(ORANGE,),
    ),
    _Panel('gradient_norm', 'Gradient', 'global norm', (('gradient_norm', 'before clipping'),)),
    _Panel('learning_rate', 'Learning rate', 'per step', (('learning_rate', 'student'),)),
    _Panel('step_time', 'Time per step', 'seconds', (('seconds_per_step', 'training'),)),
    _Panel(
        'waste',
        'Work that learns nothing',
        'share (%)',
        (('padding', 'tokens that are padding'), ('device_waiting', 'time the device waits')),
        percent=True,
        colours=(ORANGE, BLUE),
    ),
)
_DISCRIMINATOR = (
    _Panel(
        'discriminator_scores',
        'Pretraining: mean scores',
        'discriminator score',
        (('positive_score', 'positives'), ('negative_score', 'negatives')),
        phase='discriminator',
        colours=(BLUE, ORANGE),
    ),
    _Panel(
        'discriminator_accuracy',
        'Pretraining: accuracy',
        'rationales classed right (%)',
        (('accuracy', 'accuracy'),),
        phase='discriminator',
        percent=True,
    ),
    _Panel(
        'discriminator_loss',
        'Pretraining: loss',
        'nats',
        (('loss', 'loss'),),
        phase='discriminator',
        colours=(INK,),
    ),
    _Panel(
        'online_discriminator_loss',
        'Online updates: loss',
        'nats',
        (('discriminator_loss', 'loss'),),
        colours=(INK,),
    ),
)


def training_figures(run: RunFiles) -> list[Figure]:
    """Accuracy, loss terms, scores, gradient norm, learning rate and speed, as far as logged."""
    panels = [*_TRAINING[:2], _other_losses(run), *_TRAINING[2:]]
    return drawn([_accuracy(run), *(_curves(run, panel) for panel in panels)])


def discriminator_figures(run: RunFiles) -> list[Figure]:
    """The discriminator's pretraining and online updates, as far as logged."""
    return drawn([_curves(run, panel) for panel in _DISCRIMINATOR])


def score_figure(groups: Sequence[tuple[str, str, Sequence[float]]]) -> Figure | None:
    """The distribution of the discriminator's scores by kind of rationale (QCRD Fig. 6).

    Args:
      groups: (label, colour, scores in [0, 1]) for every kind, none of them empty.

    Returns:
      one histogram above the other on a shared score axis; None where there is no group. Every
      row has its own height, as a peak of 90 % would flatten the others.
    """
    return next(iter(drawn([_score_histograms(groups)] if groups else [])), None)


def _curves(run: RunFiles, panel: _Panel) -> Drawing | None:
    logged = [
        (legend, colour, points)
        for (key, legend), colour in zip(panel.curves, _cycled(panel.colours), strict=False)
        if (points := run.series(panel.phase, key))
    ]
    if not logged:
        return None

    margin = _margin(run) if panel.name == 'rationale_losses' else None

    def draw(canvas: figure.Figure) -> None:
        ax = canvas.subplots()
        for legend, colour, points in logged:
            _line(ax, points, colour, legend, 100.0 if panel.percent else 1.0)
        if margin is not None:
            line = {'color': ORANGE, 'linestyle': (0, (4, 3)), 'linewidth': 1.1}
            ax.axhline(margin, label=f'margin ({margin:g})', **line)
        values = np.array([value for _, _, points in logged for _, value in points])
        if panel.percent:
            ax.set_ylim(-3, 103)
        elif panel.unit == 'discriminator score':
            ax.set_ylim(-0.03, 1.03)
        elif values.min() > 0 and values.max() > 100 * values.min():
            ax.set_yscale('log')
        elif values.min() >= 0:
            ax.set_ylim(bottom=0)
        _label(ax, panel.title, panel.unit, legend=len(logged) > 1)

    ends = '; '.join(f'{legend} {points[-1][1]:.3g}' for legend, _, points in logged)
    return panel.name, f'{panel.title} ({panel.unit}) over the steps. Last: {ends}.', draw


def _margin(run: RunFiles) -> float | None:
    loss = run.config.get('loss')
    pushed = bool(run.series('train', 'negative_loss'))
    return number(loss.get('margin')) if pushed and isinstance(loss, dict) else None


def _other_losses(run: RunFiles) -> _Panel:
    """Loss terms that a method logs and no panel above knows."""
    known = {key for panel in (*_TRAINING, *_DISCRIMINATOR) for key, _ in panel.curves}
    keys = dict.fromkeys(key for record in run.metrics for key in record)
    others = [key for key in keys if key.endswith('_loss') and key not in known]
    curves = [(key, key.removesuffix('_loss').replace('_', ' ')) for key in others]
    return _Panel('other_losses', 'Other loss terms', 'nats', curves)


def _accuracy(run: RunFiles) -> Drawing | None:
    points = run.series('validation', 'accuracy')
    if not points:
        return None
    best = max(points, key=lambda point: point[1])
    # A later step with the same accuracy is not the one that was kept.
    validations = (record for record in run.metrics if record.get('phase') == 'validation')
    kept = [record.get('step') for record in validations if record.get('best') is True]
    best = next((point for point in points if kept and point[0] == kept[-1]), best)
    test = run.series('test', 'accuracy')

    def draw(canvas: figure.Figure) -> None:
        ax = canvas.subplots()
        steps, values = np.array(points).T
        ax.plot(steps, 100 * values, color=BLUE, marker='o', markersize=3.5, label='validation')
        star = {'marker': '*', 'markersize': 12, 'linestyle': 'none', 'markeredgecolor': 'white'}
        ax.plot(best[0], 100 * best[1], color=ORANGE, label=f'best (step {best[0]:,.0f})', **star)
        if test:
            ax.axhline(100 * test[-1][1], color=GREEN, linestyle='--', linewidth=1.3, label='test')
        top = max(value for _, value in (*points, *test))
        ax.set_ylim(0, min(100.0, max(10.0, 118 * top)) + 2)
        _label(ax, 'Accuracy', 'answers right by value (%)', legend=True)

    tested = f' Test: {test[-1][1]:.1%}.' if test else ''
    description = f'Validation accuracy over the steps. Best: {best[1]:.1%} at step {best[0]:.0f}.'
    return 'accuracy', description + tested, draw


def _line(ax: axes.Axes, points: Any, colour: str, legend: str, scale: float) -> None:
    steps, values = np.array(points).T
    values = scale * values
    width = len(values) // 20
    if width < 3:
        marker = 'o' if len(values) < 30 else ''
        ax.plot(steps, values, color=colour, label=legend, linewidth=1.6, marker=marker, ms=2.5)
        return
    # Every logged value stays visible behind its running mean, which the eye can follow.
    mean = running_mean(values, width)
    ax.plot(steps, values, color=colour, alpha=0.22, linewidth=0.9)
    ax.plot(steps, mean, color=colour, label=legend, linewidth=1.7)


def running_mean(values: Float[np.ndarray, ' N'], width: int) -> Float[np.ndarray, ' N']:
    """The mean over `width` values around each; fewer towards the ends, as many on both sides.

    A window that is cut off on only one side would bend the ends of a steep curve.
    """
    index = np.arange(len(values))
    half = np.minimum(np.minimum(index, index[::-1]), width // 2)
    # No differences of cumulative sums: after one huge value they would have lost the small ones.
    return np.array([values[i - h : i + h + 1].mean() for i, h in zip(index, half, strict=True)])


def _label(ax: axes.Axes, title: str, unit: str, *, legend: bool) -> None:
    ax.set_title(title)
    ax.set_xlabel('optimiser step')
    ax.set_ylabel(unit)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,.0f}'))
    if legend:
        ax.legend(loc='best')


def _cycled(colours: Sequence[str]) -> list[str]:
    return [*colours, *(colour for colour in CYCLE if colour not in colours)] * 8


def _score_histograms(groups: Sequence[tuple[str, str, Sequence[float]]]) -> Drawing:
    def draw(canvas: figure.Figure) -> None:
        canvas.set_size_inches(1.2 * SIZE[0], 0.55 + 0.82 * len(groups))
        rows = canvas.subplots(len(groups), sharex=True, squeeze=False)[:, 0]
        edges = np.linspace(0, 1, _BINS + 1)
        for ax, (label, colour, scores) in zip(rows, groups, strict=True):
            shares = 100 * np.histogram(scores, edges)[0] / len(scores)
            ax.stairs(shares, edges, fill=True, color=colour, alpha=0.35)
            ax.stairs(shares, edges, color=colour, linewidth=1.3)
            ax.axvline(np.median(scores), color=colour, linewidth=1.2, linestyle=(0, (3, 2)))
            ax.set_title(f'{label}  (n = {len(scores):,})', fontsize=9, color=colour, pad=3)
            ax.set_ylim(0, 1.08 * shares.max())
            ax.yaxis.set_major_locator(ticker.MaxNLocator(2, integer=True))
            ax.yaxis.set_major_formatter(ticker.PercentFormatter(decimals=0))
            ax.set_xlim(-0.01, 1.01)
        rows[-1].set_xlabel('discriminator score (dashed: median)')
        canvas.supylabel('share of rationales per bin', fontsize=9.5, color=MUTED)

    medians = '; '.join(f'{label} {np.median(scores):.2f}' for label, _, scores in groups)
    return 'score_density', f'Histograms of the scores by kind. Medians: {medians}.', draw
