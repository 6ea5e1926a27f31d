"""The figure of a table: ours with interval and single seeds, beside the paper's numbers.

Values are dots, not bars: a bar has to start at 0, and the few points by which methods differ
would be hard to see. Every row of the table has a line of its own, so no label meets another.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import axes, figure, lines, ticker

from qcrd_jax.report.drawing import BLUE, CYCLE, INK, MUTED, ORANGE, SIZE, Drawing, Figure, drawn
from qcrd_jax.report.run_files import plain
from qcrd_jax.report.table_text import number_text
from qcrd_jax.report.tables import NO_VALUE, Cell, Table

_MARKERS = 'osv^DPX*'
_LABEL = 24  # characters of a line of a row's label
_NOTHING = 'Nothing has been run yet.'
_DIAMOND: dict[str, Any] = {
    'marker': 'D',
    'markersize': 5.5,
    'markerfacecolor': 'none',
    'linestyle': 'none',
}
_BASELINE: dict[str, Any] = {'color': MUTED, 'linewidth': 0.9, 'linestyle': (0, (2, 2))}
_DOT: dict[str, Any] = {'marker': 'o', 'linestyle': 'none'}


def table_figure(table: Table) -> Figure:
    """Draws a table, also one of which little or nothing was run."""
    if not _numbers(table.cells):
        draw = _message
    else:
        draw = _draw_curve if table.kind == 'curve' else _draw_panels

    def draw_text_as_it_is(canvas: figure.Figure) -> None:
        with matplotlib.rc_context({'text.parse_math': False}):
            draw(canvas, table)

    drawing: Drawing = (table.name, _description(table), draw_text_as_it_is)
    return drawn([drawing])[0]


def _description(table: Table) -> str:
    values = [
        f'{cell.row}, {cell.column}: {number_text(cell.summary.mean, table.unit)}'
        for cell in table.cells
        if cell.summary
    ]
    return plain(f'{table.title} ({table.unit}). {"; ".join(values) or _NOTHING}')


def _message(canvas: figure.Figure, table: Table) -> None:
    canvas.set_size_inches(SIZE[0], 1.2)
    ax = canvas.subplots()
    ax.axis('off')
    ax.set_title(_wrapped(table.title, 44))
    ax.text(0, 0.75, _NOTHING, transform=ax.transAxes, color=MUTED)


def _draw_panels(canvas: figure.Figure, table: Table) -> None:
    """A panel for each column, a line for each row; a table of one row is turned on its side."""
    if len(table.rows) == 1:
        panels, names = table.rows, table.columns
        grid = [[table.cell(panels[0], name) for name in names]]
    else:
        panels, names = table.columns, table.rows
        grid = [[table.cell(name, panel) for name in names] for panel in panels]
    labels = [_wrapped(name, _LABEL) for name in names]
    across = {1: 1, 2: 2, 4: 2}.get(len(panels), 3)
    down = math.ceil(len(panels) / across)
    height = 0.14 + 0.17 * sum(1 + label.count('\n') for label in labels) + 0.1 * len(labels)
    width = 0.075 * max(len(line) for label in labels for line in label.split('\n'))
    canvas.set_size_inches(
        max(width + across * (2.5 if across > 1 else 3.6), 4.2), down * (height + 0.55) + 0.95
    )
    subplots = canvas.subplots(down, across, sharey=True, squeeze=False).ravel()
    for ax in subplots[len(panels) :]:
        ax.axis('off')
    for index, (ax, panel, cells) in enumerate(zip(subplots, panels, grid, strict=False)):
        _draw_panel(ax, table, cells)
        if index + across >= len(panels):  # nothing below it
            ax.set_xlabel(_wrapped(table.unit, 36))
        ax.set_title(_wrapped(panel, 28), fontsize=9.5)
        ax.set_yticks(range(len(labels)), labels, color=INK)
        ax.set_ylim(len(labels) - 0.4, -0.6)
    subplots[0].figure.suptitle(
        _wrapped(table.title, int(10.5 * canvas.get_figwidth())),
        x=0.01,
        ha='left',
        fontsize=10.5,
        fontweight='bold',
        color=INK,
    )
    _legend(canvas, table, _panel_handles(table), across=4 if canvas.get_figwidth() > 6 else 2)


def _draw_panel(ax: axes.Axes, table: Table, cells: Sequence[Cell | None]) -> None:
    given = [cell for cell in cells if cell]
    ax.set_xlim(*_limits(given))
    # An axis of nothing has no numbers.
    ax.xaxis.set_major_locator(ticker.MaxNLocator(4) if _numbers(given) else ticker.NullLocator())
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f'{x:,.6g}'))
    ax.tick_params(axis='y', length=0)
    baseline = next((cell for cell in cells if cell and cell.row == table.baseline), None)
    if baseline and baseline.summary and len(table.rows) > 1:
        ax.axvline(baseline.summary.mean, **_BASELINE)
    for y, cell in enumerate(cells):
        if cell is None:
            continue
        text = 'not run' if cell.planned or cell.note else ''
        text = cell.note if cell.note == NO_VALUE else text
        if cell.summary:
            mean, half_width = cell.summary
            text = number_text(mean, table.unit)
            if not cell.complete:
                text += f' ({len(cell.outcomes)}/{cell.planned})'
            ax.errorbar(mean, y, xerr=half_width, color=BLUE, fmt='o', ms=5.5, elinewidth=1.6)
            if len(cell.outcomes) > 1:
                values = [outcome.value for outcome in cell.outcomes]
                ax.plot(values, [y + 0.26] * len(values), color=BLUE, alpha=0.55, ms=2.6, **_DOT)
        if isinstance(cell.paper, float | int):
            ax.plot(cell.paper, y, color=ORANGE, markeredgewidth=1.4, zorder=4, **_DIAMOND)
        side = ax.get_yaxis_transform()  # at the right of the panel
        colour = INK if cell.summary else MUTED
        ax.text(1.03, y, text, transform=side, va='center', fontsize=8.5, color=colour)


def _panel_handles(table: Table) -> list[lines.Line2D]:
    seeds = [len(cell.outcomes) for cell in table.cells]
    handles = []
    if any(seeds):
        name = 'ours, mean and 95 % interval' if max(seeds) > 1 else 'ours, one seed'
        handles.append(lines.Line2D([], [], color=BLUE, markersize=5.5, label=name, **_DOT))
    if any(cell.outcomes and cell.row == table.baseline for cell in table.cells):
        label = _wrapped(f'mean of {table.baseline}', 30)
        handles.append(lines.Line2D([], [], label=label, **_BASELINE))
    return handles


def _draw_curve(canvas: figure.Figure, table: Table) -> None:
    across = 2 if all(len(row) < _LABEL for row in table.rows) else 1  # columns of the legend
    legend = 0.17 * (3 + len(table.rows)) / across
    canvas.set_size_inches(1.35 * SIZE[0], 1.2 * SIZE[1] + legend)
    ax = canvas.subplots()
    positions = table.positions()
    aside = 0.012 * (max(positions) - min(positions))  # so that no row's marks hide another's
    handles = []
    for index, row in enumerate(table.rows):
        style: dict[str, Any] = {
            'color': CYCLE[index % len(CYCLE)],
            'marker': _MARKERS[index % len(_MARKERS)],
        }
        shift = aside * (index - (len(table.rows) - 1) / 2)
        points = [
            (x + shift, cell)
            for x, column in sorted(zip(positions, table.columns, strict=True))
            if (cell := table.cell(row, column))
        ]
        _draw_line(ax, points, style)
        run = any(cell.outcomes for _, cell in points)
        label = _wrapped(row, 2 * _LABEL) + ('' if run else ' (not run)')
        handles.append(lines.Line2D([], [], label=label, linewidth=1.6, markersize=5, **style))
    ax.set_ylim(*_limits(table.cells))
    ax.set_xticks(positions, [_wrapped(column, 12) for column in table.columns])
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f'{y:,.6g}'))
    ax.set_title(_wrapped(table.title, 54))
    ax.set_ylabel(_wrapped(table.unit, 36))
    if any(len(cell.outcomes) > 1 for cell in table.cells):
        band: dict[str, Any] = {'color': MUTED, 'alpha': 0.25, 'linewidth': 7}
        handles.append(lines.Line2D([], [], label='95 % interval', **band))
    _legend(canvas, table, handles, across=across)


def _draw_line(ax: axes.Axes, points: list[tuple[float, Cell]], style: dict[str, Any]) -> None:
    """A row's means with band and seeds, and the paper's numbers in the same colour."""
    colour = style['color']
    run = [(x, cell, *cell.summary) for x, cell in points if cell.summary]
    xs, _, means, halves = map(np.array, zip(*run, strict=True)) if run else [np.empty(0)] * 4
    halves = np.array([math.nan if half is None else half for half in halves], float)
    ax.plot(xs, means, linewidth=1.6, markersize=5, zorder=3, **style)
    ax.fill_between(xs, means - halves, means + halves, color=colour, alpha=0.12, linewidth=0)
    ax.errorbar(xs, means, halves, color=colour, fmt='none', elinewidth=1.0, alpha=0.6)
    for x, cell in points:
        values = [outcome.value for outcome in cell.outcomes if len(cell.outcomes) > 1]
        ax.plot([x] * len(values), values, color=colour, alpha=0.55, markersize=2.6, **_DOT)
    paper = [(x, cell.paper) for x, cell in points if isinstance(cell.paper, float | int)]
    diamond: dict[str, Any] = _DIAMOND | {'linestyle': (0, (1, 2)), 'linewidth': 1.0}
    ax.plot([x for x, _ in paper], [y for _, y in paper], color=colour, **diamond)


def _legend(
    canvas: figure.Figure, table: Table, handles: list[lines.Line2D], *, across: int
) -> None:
    """What the marks are; only those that are drawn."""
    curve = table.kind == 'curve'
    if any(len(cell.outcomes) > 1 for cell in table.cells):
        dot: dict[str, Any] = {
            'color': MUTED if curve else BLUE,
            'alpha': 0.55,
            'markersize': 2.6,
            **_DOT,
        }
        handles = [*handles, lines.Line2D([], [], label='single seed', **dot)]
    if any(isinstance(cell.paper, float | int) for cell in table.cells):
        colour = MUTED if curve else ORANGE
        handles = [*handles, lines.Line2D([], [], color=colour, label='paper', **_DIAMOND)]
    canvas.legend(handles=handles, loc='outside lower center', ncols=across)


def _limits(cells: Sequence[Cell]) -> tuple[float, float]:
    """An axis that holds all values, and of wide intervals as much as leaves the values legible.

    Two seeds have an interval of 13 standard errors, which would squeeze all else.
    """
    values = np.array(_numbers(cells) or [0.0])
    span = max(np.ptp(values), 0.02 * abs(values).max(), 1e-9)
    low, high = values.min(), values.max()
    for cell in cells:
        half_width = cell.summary.half_width if cell.summary else None
        if cell.summary and half_width:
            mean = cell.summary.mean
            low, high = min(low, mean - half_width), max(high, mean + half_width)
    low, high = max(low, values.min() - span), min(high, values.max() + span)
    margin = 0.08 * max(high - low, span)
    return float(low - margin), float(high + margin)


def _numbers(cells: Sequence[Cell]) -> list[float]:
    ours = [outcome.value for cell in cells for outcome in cell.outcomes]
    return ours + [float(cell.paper) for cell in cells if isinstance(cell.paper, float | int)]


def _wrapped(text: str, width: int) -> str:
    """The text in at most three lines of so many characters."""
    text = ' '.join(plain(text).split())
    return '\n'.join(textwrap.wrap(text, width, max_lines=3, placeholder=' …')) or ' '
