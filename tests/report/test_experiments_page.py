"""The page of many runs: what it shows, links and says was not run."""

import re

import pytest

from qcrd_jax.report import Cell, Outcome, Table, write_experiments
from qcrd_jax.report.table_figure import table_figure
from tests.report.pages import parsed

HOSTILE = '<script>alert(1)</script> "><img src=x onerror=y> {{ 7 * 7 }} a_b % & $x$ \\'


def run(seed, right, questions=40):
    correct = {f'q{i}': i < right for i in range(questions)}
    return Outcome(seed, 100 * right / questions, correct)


def accuracies(name='table1', row='QCRD', **changes):
    """DSS 20 of 40 twice, the other row 30 and 32 of 40; a second column that was not run."""
    cells = (
        Cell('DSS', 'SVAMP', 65.5, 2, (run(0, 20), run(1, 20))),
        Cell(row, 'SVAMP', 69.0, 3, (run(0, 30), run(1, 32))),
        Cell('DSS', 'CQA', 63.23, 3, ()),
        Cell(row, 'CQA', 64.21, 3, (), 'failed: out of memory'),
    )
    settings = {'title': 'Table 1: results', 'caption': 'T5-base, 10,000 steps.'} | changes
    return Table(
        name=name,
        unit='accuracy, %',
        rows=('DSS', row),
        columns=('SVAMP', 'CQA'),
        cells=cells,
        baseline='DSS',
        **settings,
    )


def curve():
    cells = tuple(
        Cell('QCRD', column, None, 1, (Outcome(0, value),))
        for column, value in (('25 %', 40.0), ('100 %', 60.0))
    )
    return Table(
        'figure4',
        'Figure 4: sizes',
        '',
        'accuracy, %',
        ('QCRD',),
        ('25 %', '100 %'),
        cells,
        kind='curve',
    )


def page(folder, tables, extras=()):
    """The parsed page of the tables, with the files that it links beside it."""
    path = write_experiments(folder, tables, extras)
    assert path == folder / 'index.html'
    return parsed(path)


def test_table_shows_ours_the_papers_number_and_the_tests(tmp_path):
    text = page(tmp_path, [accuracies()]).text
    assert '1 table 4 runs finished 1 of 4 cells complete' in text
    # 75 and 80: mean 77.5, sd 3.54, half width 12.706 * 2.5 = 31.8.
    assert 'QCRD 77.5 ± 31.8 † 2 of 3 seeds paper 69.0' in text
    assert 'DSS 50.0 ± 0.0 2 seeds paper 65.5' in text
    assert 'failed: out of memory paper 64.21' in text
    # Ten and twelve questions won, none lost: 22 of 80 answers.
    assert 'Compared with DSS' in text and 'QCRD SVAMP +27.5 ' in text
    assert '40 2 better' in text
    assert 'QCRD, SVAMP: 2 of 3 seeds' in text
    assert 'QCRD, CQA: not run (failed: out of memory)' in text


def test_best_is_bold_and_the_baseline_marked(tmp_path):
    write_experiments(tmp_path, [accuracies()])
    source = (tmp_path / 'index.html').read_text()
    assert re.findall(r'<b>(.*?)</b>', source) == ['77.5 ± 31.8']
    assert source.count('<tr class="baseline">') == 1


def test_every_table_is_listed_drawn_and_linked(tmp_path):
    shown = page(tmp_path, [accuracies(), curve()])
    assert shown.tags.count('img') == 2
    links = shown.values('href')
    assert links[:3] == ['#table-0', '#table-1', '#not-run']
    assert {'table1.md', 'table1.tex', 'table1.csv', 'figure4_runs.csv', 'figure4.png'} <= {*links}
    assert 'Figure 4: sizes 2 of 2 cells' in shown.text


def test_nothing_run_is_a_page_that_says_so(tmp_path):
    cells = (Cell('QCRD', 'SVAMP', None, 0, (), 'needs an LLM judge'),)
    empty = Table('table7', 'Table 7', '', 'rationales', ('QCRD',), ('SVAMP',), cells)
    shown = page(tmp_path, [empty])
    assert '0 runs finished 0 of 0 cells complete' in shown.text
    assert 'Table 7 not planned' in shown.text
    assert 'QCRD, SVAMP: not run (needs an LLM judge)' in shown.text
    assert shown.values('alt') == ['Table 7 (rationales). Nothing has been run yet.']


def test_no_table_is_a_page_too(tmp_path):
    assert '0 tables' in page(tmp_path, []).text


def test_complete_tables_have_no_list_of_what_was_not_run(tmp_path):
    assert 'What was not run' not in page(tmp_path, [curve()]).text


def test_extras_are_figures_texts_and_records(tmp_path):
    extras = [
        ('A figure', table_figure(curve())),
        ('A text', 'Speed was <not> measured.'),
        ('Records', [{'data': 'svamp', 'questions': 200}, {'data': 'cqa', 'questions': None}]),
        ('No records', []),
    ]
    shown = page(tmp_path, [], extras)
    assert 'Speed was <not> measured.' in shown.text
    assert 'data questions svamp 200 cqa' in shown.text
    assert 'No records Nothing yet.' in shown.text
    assert shown.tags.count('img') == 1


@pytest.mark.filterwarnings('ignore:Glyph')
def test_names_are_text_never_markup(tmp_path):
    hostile = accuracies('a b%20#1', HOSTILE, title=HOSTILE, caption=HOSTILE)
    shown = page(tmp_path, [hostile], [(HOSTILE, HOSTILE), ('r', [{HOSTILE: HOSTILE}])])
    assert shown.text.count(HOSTILE) >= 9
    assert '49' not in shown.text.replace(HOSTILE, '')


def test_tables_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match='different names'):
        write_experiments(tmp_path, [accuracies(), accuracies()])
    assert not (tmp_path / 'index.html').exists()


def test_same_tables_give_the_same_page(tmp_path):
    first = write_experiments(tmp_path / 'a', [accuracies()]).read_bytes()
    assert write_experiments(tmp_path / 'b', [accuracies()]).read_bytes() == first
