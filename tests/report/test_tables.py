"""Tables against numbers by hand, and their files read back by parsers of their own."""

import csv
import html
import re

import numpy as np
import pytest
from matplotlib.text import Text

from qcrd_jax.report import table_text
from qcrd_jax.report.table_figure import table_figure
from qcrd_jax.report.table_files import write_table
from qcrd_jax.report.tables import Cell, Outcome, Table, compare

HOSTILE = (
    'a_b % & c | d',
    '$x^2$ \\input{/etc/passwd} {',
    '<script>alert(1)</script> ~#*`[x](y)`',
    '[0] "quoted", \u202e\x00 two\nlines',
    '*starred* \\\\',
)


def outcomes(*values):
    return tuple(Outcome(seed, float(value)) for seed, value in enumerate(values))


def answered(seed, right, wrong=(), prefix=''):
    """A run that answered the questions of the first numbers right, and of the others wrong."""
    correct = {f'{prefix}q{i}': True for i in right} | {f'{prefix}q{i}': False for i in wrong}
    return Outcome(seed, 100 * len(right) / len(correct), correct)


def table(cells, rows=('DSS', 'QCRD'), columns=('SVAMP', 'CQA'), **changes):
    settings = {
        'name': 'table1',
        'title': 'Table 1: results',
        'caption': 'Small models, 100 steps.',
        'unit': 'accuracy, %',
    } | changes
    return Table(rows=rows, columns=columns, cells=tuple(cells), **settings)


def compared(ours, theirs, **changes):
    """A table of one column, whose second row is compared with the first."""
    cells = [
        Cell('DSS', 'SVAMP', None, len(theirs), tuple(theirs)),
        Cell('QCRD', 'SVAMP', None, len(ours), tuple(ours)),
    ]
    return table(cells, columns=('SVAMP',), baseline='DSS', **changes)


def example():
    """60, 62, 64: mean 62, sd 2, half width 4.303 * 2 / sqrt(3) = 4.97."""
    return table(
        [
            Cell('DSS', 'SVAMP', 65.5, 3, outcomes(60, 62, 64)),
            Cell('QCRD', 'SVAMP', 69.25, 5, outcomes(63, 65)),
            Cell('DSS', 'CQA', 63.23, 3, outcomes(61)),
            Cell('QCRD', 'CQA', '64 ± 1', 3, ()),
        ]
    )


def markdown_rows(text):
    """Cells of all the table rows of a Markdown file, with entities and escapes undone."""
    rows = [line for line in text.splitlines() if line.startswith('|')]
    cells = [re.split(r'(?<!\\)\|', line)[1:-1] for line in rows]
    undo = lambda cell: html.unescape(re.sub(r'\\(.)', r'\1', cell.strip()))  # noqa: E731
    return [[undo(cell) for cell in row] for row in cells]


def check_latex(text):
    """Braces, environments, mathematics and columns all close, and every special is escaped."""
    body = '\n'.join(line for line in text.splitlines() if not line.startswith('%'))
    body = body.replace('{!}{%\n', '{!}{\n')  # the one comment that joins lines
    tokens = re.sub(r'\\[\\{}%&#$_]', lambda match: {r'\\': '\n'}.get(match[0], 'x'), body)
    assert tokens.count('$') % 2 == 0
    outside = re.sub(r'\$\\?[a-z-]+\$', 'x', tokens)
    assert not set('$%#^~<>|"') - {'"', '>'} & set(outside.replace(r'\ifdim\width>', ''))
    assert '_' not in outside and '\x00' not in outside
    depth = 0
    for character in outside:
        depth += (character == '{') - (character == '}')
        assert depth >= 0
    assert depth == 0
    opened = []
    for kind, name in re.findall(r'\\(begin|end)\{(\w+)\}', outside):
        assert kind == 'begin' or opened.pop() == name
        if kind == 'begin':
            opened.append(name)
    assert not opened
    known = set(
        'begin end centering resizebox ifdim width linewidth else fi toprule midrule'.split()
    )
    known |= set('bottomrule cmidrule multicolumn caption label textbf textsuperscript dag'.split())
    known |= set('textbackslash textasciitilde textasciicircum textless textgreater'.split())
    known |= set('textbar ldots input'.split())
    assert set(re.findall(r'\\([A-Za-z]+)', outside)) <= known - {'input'}
    for alignment, rows in re.findall(
        r'\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}', tokens, re.DOTALL
    ):
        for row in re.split(r'\n', rows):
            if '&' in row:
                spans = [int(span) for span in re.findall(r'\\multicolumn\{(\d)\}', row)]
                assert row.count('&') + 1 + sum(spans) - len(spans) == len(alignment)


def read_csv(path):
    with open(path, encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_markdown_says_ours_beside_the_paper(tmp_path):
    write_table(tmp_path, example())
    rows = markdown_rows((tmp_path / 'table1.md').read_text())
    assert rows == [
        ['', 'SVAMP', 'SVAMP, paper', 'CQA', 'CQA, paper'],
        ['---', '---:', '---:', '---:', '---:'],
        ['DSS', '62.0 ± 5.0 (3 seeds)', '65.5', '61.0 (1 of 3 seeds)', '63.23'],
        # 63, 65: mean 64, half width 12.706 * sqrt(2) / sqrt(2) = 12.7.
        ['QCRD', '**64.0 ± 12.7** (2 of 5 seeds)', '69.25', 'not run', '64 ± 1'],
    ]


def test_latex_says_the_same(tmp_path):
    write_table(tmp_path, example())
    content = (tmp_path / 'table1.tex').read_text()
    check_latex(content)
    assert r'DSS & 62.0 $\pm$ 5.0 (3 seeds) & 65.5 & 61.0 (1 of 3 seeds) & 63.23 \\' in content
    assert r'\textbf{64.0 $\pm$ 12.7} (2 of 5 seeds) & 69.25 & not run & 64 $\pm$ 1 \\' in content
    assert r'& \multicolumn{2}{c}{SVAMP} & \multicolumn{2}{c}{CQA} \\' in content


def test_csv_read_back_is_the_table_unrounded(tmp_path):
    values = (60.123456789012345, 1 / 3)
    cells = [
        Cell(HOSTILE[0], 'SVAMP', 65.5, 3, outcomes(*values), HOSTILE[3]),
        Cell('QCRD', 'CQA', '64 ± 1', 2, ()),
    ]
    write_table(tmp_path, table(cells, rows=(HOSTILE[0], 'QCRD')))
    first, second = read_csv(tmp_path / 'table1.csv')
    assert (first['row'], first['column'], first['note']) == (HOSTILE[0], 'SVAMP', HOSTILE[3])
    assert (first['seeds'], first['planned'], first['paper']) == ('2', '3', '65.5')
    assert float(first['mean']) == np.mean(values)
    assert float(first['half_width_95']) == pytest.approx(12.7062 * abs(np.diff(values))[0] / 2)
    assert (second['mean'], second['half_width_95'], second['paper']) == ('', '', '64 ± 1')
    runs = read_csv(tmp_path / 'table1_runs.csv')
    assert [(int(run['seed']), float(run['value'])) for run in runs] == [*enumerate(values)]
    assert runs[0]['row'] == HOSTILE[0] and runs[0]['questions'] == ''


def test_every_file_is_written_and_named(tmp_path):
    paths = write_table(tmp_path / 'new', example())
    suffixes = {path.name.removeprefix('table1') for path in paths}
    assert suffixes == {'.md', '.tex', '.csv', '_runs.csv', '_tests.csv', '.svg', '.png'}
    assert sorted(paths) == sorted((tmp_path / 'new').iterdir())  # and nothing temporary is left
    assert (tmp_path / 'new' / 'table1.png').read_bytes().startswith(b'\x89PNG')


def test_comparison_by_hand():
    # Eight questions that only QCRD answers right, one that only DSS does, of twenty.
    ours = answered(0, range(0, 15), range(15, 20))
    theirs = answered(0, [*range(8, 15), 19], [*range(0, 8), *range(15, 19)])
    (comparison,) = compare(compared([ours], [theirs])).made
    assert comparison.difference == pytest.approx(100 * (15 - 8) / 20)
    assert comparison.mcnemar_p == pytest.approx(2 * 10 / 2**9)
    assert comparison.low < comparison.difference < comparison.high
    assert comparison.adjusted_p == max(comparison.mcnemar_p, comparison.bootstrap_p)
    assert (comparison.questions, comparison.left_out, comparison.seeds) == (20, 0, 1)
    assert comparison.verdict == 'better'
    (swapped,) = compare(compared([theirs], [ours])).made
    assert (swapped.difference, swapped.verdict) == (-comparison.difference, 'worse')


def test_three_of_two_hundred_questions_are_within_noise(tmp_path):
    # SVAMP's size: a gain of 1.5 points, 40 questions answered differently.
    left = answered(0, [*range(0, 100), *range(100, 121)], range(121, 200))
    right = answered(0, [*range(0, 100), *range(121, 139)], [*range(100, 121), *range(139, 200)])
    written = compared([left], [right])
    write_table(tmp_path, written)
    (row,) = markdown_rows((tmp_path / 'table1.md').read_text())[-1:]
    assert row[:3] == ['QCRD', 'SVAMP', '+1.5']
    assert row[-3:] == ['200', '1', 'within noise']
    (comparison,) = compare(written).made
    # The interval is that of a normal: 1.96 sqrt(39 / 200 / 200) = 6.1 points to either side.
    assert (comparison.low, comparison.high) == pytest.approx((-4.6, 7.6), abs=0.5)
    assert 8.0 < comparison.detectable < 9.5
    (test,) = read_csv(tmp_path / 'table1_tests.csv')
    assert (test['row'], test['baseline'], test['verdict']) == ('QCRD', 'DSS', 'within noise')
    assert float(test['difference']) == comparison.difference
    assert float(test['adjusted_p']) == comparison.adjusted_p


def test_only_common_questions_and_seeds_are_compared_and_that_is_said(tmp_path):
    ours = [answered(0, range(0, 18), [18]), answered(1, range(0, 20)), answered(2, range(20))]
    theirs = [answered(1, range(0, 10), range(10, 20)), answered(0, range(10), range(10, 20))]
    written = compared(ours, theirs)
    (comparison,) = compare(written).made
    assert (comparison.seeds, comparison.questions, comparison.left_out) == (2, 19, 1)
    # On q0 .. q18: 18 and 19 right against 10 and 10.
    assert comparison.difference == pytest.approx(100 * (18.5 - 10) / 19)
    write_table(tmp_path, written)
    content = (tmp_path / 'table1.md').read_text()
    assert '19 (1 not in all runs left out)' in content


@pytest.mark.parametrize(
    ('ours', 'reason'),
    [
        ([Outcome(0, 50.0)], 'no answers by question'),
        ([answered(7, range(10))], 'no seed in common'),
        ([answered(0, range(10), prefix='other')], 'no question in common'),
    ],
)
def test_what_cannot_be_compared_is_named(tmp_path, ours, reason):
    written = compared(ours, [answered(0, range(5), range(5, 10))])
    comparisons = compare(written)
    assert comparisons.made == ()
    assert comparisons.not_made == (f'QCRD with DSS, SVAMP: {reason}.',)
    write_table(tmp_path, written)
    assert reason in (tmp_path / 'table1.md').read_text()


def test_holm_counts_all_comparisons_of_the_table():
    def run(right):
        return (answered(0, range(right), range(right, 40)),)

    rows = ('DSS', 'A', 'B', 'C')
    cells = [
        Cell(row, 'SVAMP', None, 1, run(right))
        for row, right in zip(rows, (20, 26, 27, 20), strict=True)
    ]
    result = compare(table(cells, rows=rows, columns=('SVAMP',), baseline='DSS'))
    raw = [max(each.bootstrap_p, each.mcnemar_p) for each in result.made]
    # Six and seven wins, no loss: 2 / 2^6 and 2 / 2^7; three comparisons.
    assert raw == pytest.approx([2 / 64, 2 / 128, 1.0])
    assert [each.adjusted_p for each in result.made] == pytest.approx([4 / 64, 6 / 128, 1.0])
    assert [each.verdict for each in result.made] == ['within noise', 'better', 'within noise']


def test_a_table_of_many_comparisons_leaves_every_verdict_possible():
    rows = ('DSS', *(f'setting {number}' for number in range(300)))
    poor, good = (answered(0, range(right), range(right, 100)) for right in (10, 90))
    cells = [Cell(row, 'SVAMP', None, 1, (poor if row == 'DSS' else good,)) for row in rows]
    made = compare(table(cells, rows=rows, columns=('SVAMP',), baseline='DSS')).made
    assert len(made) == 300
    assert {comparison.verdict for comparison in made} == {'better'}


def test_dagger_marks_what_differs_from_the_baseline(tmp_path):
    ours, theirs = answered(0, range(30)), answered(0, range(10), range(10, 30))
    write_table(tmp_path, compared([ours], [theirs]))
    assert '**100.0**† (1 seed)' in (tmp_path / 'table1.md').read_text()
    assert r'\textbf{100.0}\textsuperscript{\dag} (1 seed)' in (tmp_path / 'table1.tex').read_text()


def test_best_is_the_lowest_where_lower_is_better():
    cells = [Cell('DSS', 'T5', 4.0, 1, outcomes(4)), Cell('QCRD', 'T5', 13.0, 1, outcomes(13))]
    hours = table(cells, columns=('T5',), unit='hours', higher_is_better=False)
    assert hours.best('T5') == ('DSS',)
    only_one = table(cells[:1], columns=('T5',), unit='hours')
    assert only_one.best('T5') == ()


@pytest.mark.parametrize(
    ('value', 'unit', 'text'),
    [
        (62.0, 'accuracy, %', '62.0'),
        (0.01234, 'hours', '0.0123'),
        (13.0, 'hours', '13.0'),
        (12345.6, 'rationales', '12,346'),
        (0.0, 'hours', '0.00'),
    ],
)
def test_numbers_are_rounded_for_reading(value, unit, text):
    assert table_text.number_text(value, unit) == text


def test_nothing_run_is_said_everywhere(tmp_path):
    cells = [
        Cell('DSS', 'SVAMP', None, 5, ()),
        Cell('QCRD', 'SVAMP', None, 5, (), 'needs an LLM judge'),
    ]
    empty = table(cells, baseline='DSS')
    write_table(tmp_path, empty)
    rows = markdown_rows((tmp_path / 'table1.md').read_text())
    assert rows[2:] == [['DSS', 'not run', '–'], ['QCRD', 'needs an LLM judge', '–']]
    assert 'Nothing could be compared yet.' in (tmp_path / 'table1.md').read_text()
    check_latex((tmp_path / 'table1.tex').read_text())
    assert len(read_csv(tmp_path / 'table1.csv')) == 2
    assert read_csv(tmp_path / 'table1_runs.csv') == read_csv(tmp_path / 'table1_tests.csv') == []
    assert 'Nothing has been run yet.' in table_figure(empty).description
    assert empty.missing() == [
        'DSS, SVAMP: not run',
        'QCRD, SVAMP: not run (needs an LLM judge)',
    ]


def test_cells_that_did_not_finish_are_listed():
    assert example().missing() == [
        'QCRD, SVAMP: 2 of 5 seeds',
        'DSS, CQA: 1 of 3 seeds',
        'QCRD, CQA: not run',
    ]


@pytest.mark.filterwarnings('ignore:Glyph')  # U+FFFD is in no font
def test_hostile_names_are_shown_as_they_are(tmp_path):
    cells = [
        Cell(name, column, name, 1, (answered(0, range(9)),), name)
        for name in HOSTILE
        for column in HOSTILE[:2]
    ]
    hostile = table(
        cells,
        rows=HOSTILE,
        columns=HOSTILE[:2],
        baseline=HOSTILE[0],
        title=HOSTILE[2],
        caption=' '.join(HOSTILE),
        unit=HOSTILE[1],
    )
    write_table(tmp_path, hostile)
    content = (tmp_path / 'table1.md').read_text()
    assert '<script' not in content and '\u202e' not in content
    rows = markdown_rows(content)
    shown = [' '.join(re.sub('[\u202e\x00]', '\ufffd', name).split()) for name in HOSTILE]
    assert [row[0] for row in rows[2:7]] == shown
    assert [row[2] for row in rows[2:7]] == shown
    assert {len(row) for row in rows[:7]} == {5}
    check_latex((tmp_path / 'table1.tex').read_text())
    assert '<script>' not in table_figure(hostile).svg.decode()
    assert [cell['row'] for cell in read_csv(tmp_path / 'table1.csv')][::2] == [*HOSTILE]


def test_escapes_of_latex_by_hand():
    escaped = table_text.escape_latex('\\ { } _ % & # $ ~ ^ < > | ±')
    assert escaped == (
        r'\textbackslash{} \{ \} \_ \% \& \# \$ \textasciitilde{} \textasciicircum{} '
        r'\textless{} \textgreater{} \textbar{} $\pm$'
    )


def drawn_texts(monkeypatch, of):
    """The texts that are on a table's PNG, with their boxes in pixels, and the picture's box."""
    seen, draw = {}, Text.draw

    def spy(self, renderer):
        draw(self, renderer)
        page = self.get_figure(root=True)
        if page.dpi == 160 and self.get_visible() and self.get_text().strip():
            seen[id(self)] = self.get_text(), self.get_window_extent(renderer), page.bbox.frozen()

    monkeypatch.setattr(Text, 'draw', spy)
    table_figure(of)
    *_, (_, _, page) = seen.values()
    return [each[:2] for each in seen.values()], page


def grid(rows, columns, seeds=3, **changes):
    rng = np.random.default_rng(0)
    names = tuple(f'method {i} with a name of some length' for i in range(rows))
    columns = tuple(columns)
    cells = [
        Cell(name, column, 60.0 + i, seeds, outcomes(*rng.normal(60 + i, 2, seeds)))
        for i, name in enumerate(names)
        for column in columns
        if i % 4 != 3
    ]
    return table(cells, rows=names, columns=columns, **changes)


@pytest.mark.parametrize(
    'of',
    [
        grid(1, ['SVAMP']),
        grid(
            12,
            ['SVAMP', 'CQA', 'ANLI1', 'ESNLI', 'MWP'],
            baseline='method 0 with a name of some length',
        ),
        grid(1, ['Min-Max', 'Max-Min', 'Sampling', 'Weighted mean']),
        grid(3, ['SVAMP', 'CQA', 'ANLI1'], seeds=1),
        grid(12, ['10 %', '25 %', '50 %', '100 %'], kind='curve'),
    ],
    ids=lambda of: f'{len(of.rows)}x{len(of.columns)} {of.kind}',
)
def test_no_label_of_a_figure_meets_another_or_is_cut(monkeypatch, of):
    texts, page = drawn_texts(monkeypatch, of)
    assert len(texts) > len(of.rows)
    for i, (name, box) in enumerate(texts):
        assert box.x0 > -3 and box.x1 < page.x1 + 3, name
        assert box.y0 > -3 and box.y1 < page.y1 + 3, name
        for other, second in texts[:i]:
            width = min(box.x1, second.x1) - max(box.x0, second.x0)
            height = min(box.y1, second.y1) - max(box.y0, second.y0)
            assert width < 2 or height < 2, (name, other)


def test_curve_needs_numbers_as_columns():
    curve = grid(2, ['12.5 %', '100%', '3'], kind='curve')
    assert curve.positions() == [12.5, 100.0, 3.0]
    with pytest.raises(ValueError, match='numbers as columns'):
        grid(2, ['small', 'large'], kind='curve')


def test_curve_writes_every_file(tmp_path):
    write_table(tmp_path, grid(2, ['25 %', '100 %'], kind='curve'))
    check_latex((tmp_path / 'table1.tex').read_text())


def test_same_table_gives_the_same_bytes(tmp_path):
    first = [path.read_bytes() for path in write_table(tmp_path / 'a', example())]
    assert [path.read_bytes() for path in write_table(tmp_path / 'b', example())] == first


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Outcome(0, float('nan')), 'finite'),
        (lambda: Cell('a', 'b', None, 2, (Outcome(1, 2.0), Outcome(1, 3.0))), 'one outcome a seed'),
        (lambda: Cell('a', 'b', None, -1, ()), 'planned'),
        (lambda: table([], name='../x'), 'stem of a file'),
        (lambda: table([], kind='pie'), 'kind'),
        (lambda: table([], rows=('a', 'a')), 'different rows'),
        (lambda: table([], baseline='MI'), 'baseline'),
        (lambda: table([Cell('MI', 'SVAMP', None, 1, ())]), 'one cell'),
    ],
)
def test_tables_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
