"""How every figure looks, and drawing without any global state of matplotlib."""

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib import figure

BLUE, ORANGE, GREEN, PURPLE = '#2563a8', '#c8562b', '#2e8b67', '#7b5ea7'
INK, MUTED, GRID = '#1f2933', '#5b6774', '#e4e8ec'
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, '#a07c1c', '#4b9bb5', '#a64d79', '#6b7280')
SIZE = (4.0, 2.6)  # inches: 384 CSS pixels wide at its natural size
STYLE: dict[Any, Any] = {
    'font.family': 'sans-serif',
    'font.sans-serif': ['DejaVu Sans'],  # comes with matplotlib, so every machine draws the same
    'font.size': 9.5,
    'axes.edgecolor': '#b4bcc5',
    'axes.labelcolor': MUTED,
    'axes.titlesize': 10.5,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.titlecolor': INK,
    'axes.titlepad': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'axes.formatter.limits': (-3, 5),
    'grid.color': GRID,
    'grid.linewidth': 0.8,
    'xtick.color': MUTED,
    'ytick.color': MUTED,
    'legend.framealpha': 0.85,
    'legend.edgecolor': 'none',
    'legend.fancybox': False,
    'legend.fontsize': 8.5,
    'legend.handlelength': 1.4,
    'figure.facecolor': 'white',
    'svg.fonttype': 'path',
    'svg.hashsalt': 'qcrd',  # the same run gives the same bytes
}


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawn panel: `name` is its file's stem, `description` its text alternative."""

    name: str
    description: str
    svg: bytes
    png: bytes


Drawing = tuple[str, str, Any]  # name, description, and a function that draws on a new figure


def drawn(drawings: Sequence[Drawing | None]) -> list[Figure]:
    """Draws what there is to draw, as SVG and as PNG."""
    figures = []
    for name, description, draw in filter(None, drawings):
        with matplotlib.rc_context(STYLE):
            canvas = figure.Figure(figsize=SIZE, layout='constrained')
            draw(canvas)
            canvas.draw_without_rendering()
            canvas.set_layout_engine('none')  # laid out once, for both formats
            svg, png = io.BytesIO(), io.BytesIO()
            canvas.savefig(svg, format='svg', metadata={'Date': None})
            canvas.savefig(png, format='png', dpi=160)
        figures.append(Figure(name, description, svg.getvalue(), png.getvalue()))
    return figures
