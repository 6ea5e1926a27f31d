"""The words and numbers of a table, and the same as Markdown and as LaTeX."""

import dataclasses
import re
from collections.abc import Callable, Sequence

from qcrd_jax.report.run_files import plain
from qcrd_jax.report.tables import Cell, Comparison, Comparisons, Table

TEST_HEADERS = (
    'method',
    'column',
    'difference',
    '95 % interval',
    'p, bootstrap',
    'p, McNemar',
    'p, Holm',
    'detectable',
    'questions',
    'seeds',
    'verdict',
)
DAGGER = '†'
_NONE = '–'
_TEX = {
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '±': r'$\pm$',
    '−': '$-$',
    '×': r'$\times$',
    '≤': r'$\leq$',
    '≥': r'$\geq$',
    'τ': r'$\tau$',
    'α': r'$\alpha$',
    'β': r'$\beta$',
    'δ': r'$\delta$',
    '–': '--',
    '…': r'\ldots{}',
    '†': r'\textsuperscript{\dag}',
    '\ufffd': '?',
} | {character: f'\\{character}' for character in '{}_%&#$'}


@dataclasses.dataclass(frozen=True)
class CellText:
    """What a cell says, without markup.

    Attributes:
      value: mean and half width, or what there is instead of it ('not run').
      seeds: how many finished; '' where none did.
      note: of the cell, where it has a value as well.
      paper: the paper's number or words; '' where it has none.
      best: whether the value is its column's best.
      differs: whether it differs from the baseline's, after Holm's correction.
      run: whether there is a value.
    """

    value: str
    seeds: str = ''
    note: str = ''
    paper: str = ''
    best: bool = False
    differs: bool = False
    run: bool = False

    @property
    def details(self) -> str:
        """What stands below the value: how many seeds, and the note."""
        return '; '.join(filter(None, (self.seeds, self.note)))


def number_text(value: float, unit: str, decimals: int | None = None) -> str:
    """A number as a reader wants it: percent to a tenth, others to three significant digits.

    Examples:
      >>> number_text(63.25, 'accuracy, %'), number_text(0.02134, 'hours')
      ('63.2', '0.0213')
      >>> number_text(12345.6, 'rationales')
      '12,346'
    """
    return f'{value:,.{_decimals(value, unit) if decimals is None else decimals}f}'


def _decimals(value: float, unit: str) -> int:
    if '%' in unit:
        return 1
    exponent = int(f'{value:e}'.rpartition('e')[2]) if value else 0
    return min(max(2 - exponent, 0), 6)


def cell_text(table: Table, cell: Cell | None, comparisons: Comparisons) -> CellText:
    """What the cell says; a dash where the table asks for nothing."""
    if cell is None:
        return CellText(_NONE)
    paper = _paper_text(cell.paper, table.unit)
    summary = cell.summary
    if summary is None:
        return CellText(plain(cell.note) or 'not run', paper=paper)
    value = number_text(summary.mean, table.unit)
    if summary.half_width is not None:
        decimals = _decimals(summary.mean, table.unit)
        value += f' ± {number_text(summary.half_width, table.unit, decimals)}'
    comparison = comparisons.of(cell.row, cell.column)
    return CellText(
        value,
        cell.seeds_text,
        plain(cell.note),
        paper,
        best=cell.row in table.best(cell.column),
        differs=comparison is not None and comparison.verdict != 'within noise',
        run=True,
    )


def _paper_text(paper: float | str | None, unit: str) -> str:
    if paper is None or isinstance(paper, str):
        return plain(paper or '')
    # A number of the paper keeps the digits it was printed with.
    printed = len(f'{paper:.4f}'.rstrip('0').partition('.')[2])
    return number_text(paper, unit, max(_decimals(paper, unit), printed) if paper < 1000 else None)


def comparison_row(comparison: Comparison) -> tuple[str, ...]:
    """The texts of a comparison, under `TEST_HEADERS`."""
    questions = f'{comparison.questions:,}'
    if comparison.folds:
        questions += f' in {comparison.folds} folds'
    if comparison.left_out:
        questions += f' ({comparison.left_out:,} not in all runs left out)'
    return (
        plain(comparison.row),
        plain(comparison.column),
        _signed(comparison.difference),
        f'{_signed(comparison.low)} to {_signed(comparison.high)}',
        *map(_p, (comparison.bootstrap_p, comparison.mcnemar_p, comparison.adjusted_p)),
        f'{comparison.detectable:.1f}',
        questions,
        str(comparison.seeds),
        comparison.verdict,
    )


def legend(table: Table, comparisons: Comparisons) -> str:
    """How to read the table, as one line of sentences."""
    sentences = [f'Unit: {plain(table.unit)}.']
    texts = [cell_text(table, cell, comparisons) for cell in table.cells]
    if any('±' in text.value for text in texts):
        sentences.append("± is half a 95 % interval over seeds (Student's t).")
    if any(text.best for text in texts):
        order = 'highest' if table.higher_is_better else 'lowest'
        sentences.append(f'Bold: the {order} mean of a column.')
    if any(text.differs for text in texts):
        sentences.append(
            f"{DAGGER}: differs from {plain(table.baseline)} at 5 % after Holm's correction."
        )
    return ' '.join(sentences)


def comparisons_legend(table: Table, comparisons: Comparisons) -> str:
    """How to read the tests, as one line of sentences."""
    single = any(comparison.seeds == 1 for comparison in comparisons.made)
    text = (
        f'Differences are points of accuracy, method minus {plain(table.baseline)}, on common '
        'questions and seeds. Interval and first p: bootstrap over questions and seeds. '
        'McNemar: exact, clustered by question. Holm: the larger p, adjusted for the number of '
        'comparisons; a verdict needs it below 0.05. Detectable: the smallest true difference '
        'that one such comparison finds with 80 % power.'
    )
    text += ' A verdict from one seed speaks of only those two runs.' * single
    if of_folds := [each for each in comparisons.made if each.fold_p is not None]:
        p_values = ', '.join(
            f'{plain(each.row)} ({plain(each.column)}) {_p(each.fold_p or 0.0)}'
            for each in of_folds
        )
        text += (
            ' These speak of students trained on these questions. p of each difference with the '
            "folds as units, for training on others (t-test with Nadeau and Bengio's correction, "
            f'weak with few folds, not adjusted): {p_values}.'
        )
    return text


def has_paper(table: Table, column: str) -> bool:
    """Whether the paper reports anything in this column."""
    return any(cell.paper is not None for cell in table.cells if cell.column == column)


def markdown(table: Table, comparisons: Comparisons) -> str:
    """The table as GitHub's Markdown: ours and the paper's columns side by side."""
    header = ['']
    for column in table.columns:
        header.append(escape_markdown(column))
        if has_paper(table, column):
            header.append(f'{escape_markdown(column)}, paper')
    lines = [f'### {escape_markdown(table.title)}', '']
    lines += _markdown_rows(header, _body(table, comparisons, escape_markdown, _bold_markdown))
    lines += ['', escape_markdown(table.caption), '', escape_markdown(legend(table, comparisons))]
    if table.baseline is not None:
        lines += ['', f'#### Compared with {escape_markdown(table.baseline)}', '']
        if comparisons.made:
            rows = [[*map(escape_markdown, comparison_row(each))] for each in comparisons.made]
            lines += _markdown_rows(TEST_HEADERS, rows)
            lines += ['', escape_markdown(comparisons_legend(table, comparisons))]
        else:
            lines.append('Nothing could be compared yet.')
        if comparisons.not_made:
            lines += ['', 'Not compared:', '']
            lines += [f'- {escape_markdown(sentence)}' for sentence in comparisons.not_made]
    return '\n'.join(lines) + '\n'


def latex(table: Table, comparisons: Comparisons) -> str:
    r"""The table for `\input`, with the packages booktabs, and textcomp in old LaTeX."""
    groups, rules, names, position = [''], [], [''], 2
    for column in table.columns:
        span = 1 + has_paper(table, column)
        groups.append(rf'\multicolumn{{{span}}}{{c}}{{{escape_latex(column)}}}')
        rules.append(rf'\cmidrule(lr){{{position}-{position + span - 1}}}')
        names += ['ours', 'paper'][:span]
        position += span
    body = _body(table, comparisons, escape_latex, _bold_latex)
    caption = ' '.join([table.title.rstrip('.') + '.', table.caption, legend(table, comparisons)])
    head = [_tex_row(groups), ' '.join(rules), _tex_row(names)]
    environments = [_tex_table(table.name, 'l' + 'r' * (position - 2), head, body, caption)]
    if comparisons.made:
        rows = [[*map(escape_latex, comparison_row(each))] for each in comparisons.made]
        head = [_tex_row([*map(escape_latex, TEST_HEADERS)])]
        caption = ' '.join(
            [
                f'{table.title.rstrip(".")}, compared with {table.baseline}.',
                comparisons_legend(table, comparisons),
                *(f'Not compared: {sentence}' for sentence in comparisons.not_made),
            ]
        )
        alignment = 'll' + 'r' * (len(TEST_HEADERS) - 3) + 'l'
        environments.append(_tex_table(f'{table.name}-tests', alignment, head, rows, caption))
    comment = '% Needs \\usepackage{booktabs}, graphicx; other scripts than Latin need LuaLaTeX.'
    return '\n'.join([comment, *environments])


def escape_markdown(text: str) -> str:
    r"""Text that GitHub's Markdown, its mathematics and its tables show as it is.

    Examples:
      >>> print(escape_markdown('a_b | <c> $d$ 5 %'))
      a\_b \| &lt;c&gt; \$d\$ 5 %
    """
    text = re.sub(r'([\\`*_{}\[\]#|$~])', r'\\\1', _line(text).replace('&', '&amp;'))
    return text.replace('<', '&lt;').replace('>', '&gt;')


def escape_latex(text: str) -> str:
    r"""Text that LaTeX sets as it is, outside of its mathematics.

    Examples:
      >>> print(escape_latex('50 % of a_b & $c ± 1'))
      50 \% of a\_b \& \$c $\pm$ 1
    """
    return ''.join(_TEX.get(character, character) for character in _line(text))


def _body(
    table: Table,
    comparisons: Comparisons,
    escape: Callable[[str], str],
    bold: Callable[[str], str],
) -> list[list[str]]:
    rows = []
    for row in table.rows:
        texts = [escape(row)]
        for column in table.columns:
            text = cell_text(table, table.cell(row, column), comparisons)
            value = bold(escape(text.value)) if text.best else escape(text.value)
            value += escape(DAGGER) if text.differs else ''
            texts.append(f'{value} ({escape(text.details)})' if text.details else value)
            if has_paper(table, column):
                texts.append(escape(text.paper or _NONE))
        rows.append(texts)
    return rows


def _markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ['---'] + ['---:'] * (len(header) - 1)
    return [f'| {" | ".join(cells)} |' for cells in (header, rule, *rows)]


def _tex_table(
    label: str, alignment: str, head: list[str], rows: list[list[str]], caption: str
) -> str:
    return '\n'.join(
        [
            r'\begin{table}[t]',
            r'  \centering',
            r'  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%',
            rf'  \begin{{tabular}}{{{alignment}}}',
            r'    \toprule',
            *(f'    {line}' for line in head),
            r'    \midrule',
            *(f'    {_tex_row(row)}' for row in rows),
            r'    \bottomrule',
            r'  \end{tabular}}',
            rf'  \caption{{{escape_latex(caption)}}}',
            rf'  \label{{tab:{re.sub(r"[^A-Za-z0-9-]", "-", label)}}}',
            r'\end{table}',
            '',
        ]
    )


def _tex_row(cells: Sequence[str]) -> str:
    # A row that starts with a bracket would be read as the option of the \\ before it.
    return ' & '.join(f'{{}}{cell}' if cell.startswith(('[', '*')) else cell for cell in cells) + (
        r' \\'
    )


def _bold_markdown(text: str) -> str:
    return f'**{text}**'


def _bold_latex(text: str) -> str:
    return rf'\textbf{{{text}}}'


def _line(text: str) -> str:
    return re.sub(r'\s+', ' ', plain(text)).strip()


def _signed(points: float) -> str:
    return f'{points:+.1f}'.replace('-', '−') if round(points, 1) else '0.0'


def _p(p_value: float) -> str:
    return '<0.001' if p_value < 0.001 else f'{p_value:.3f}'
