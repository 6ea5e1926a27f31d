"""The tables that a folder keeps come back as they were, with what is shown of single runs."""

import json
import shutil

import pytest

from qcrd_jax import files
from qcrd_jax.report import collection
from qcrd_jax.report.tables import Cell, Outcome, Table


def make_table(name, title):
    cells = (
        Cell('DSS', 'SVAMP', 65.5, 2, (Outcome(0, 50.0, {'a': True, 'b': False}),)),
        Cell('QCRD', 'SVAMP', '69', 2, (), note='not run'),
    )
    return Table(name, title, 'A caption.', 'accuracy, %', ('DSS', 'QCRD'), ('SVAMP',), cells)


def make_run(folder):
    files.write_json(folder / 'config.json', {'method': 'qcrd'})
    files.write_json(
        folder / 'scores.json', {'teacher_positive': [0.9, 0.8], 'student_t1.5': [0.2, 0.3]}
    )
    rationales = [{'temperature': t, 'text': f'<b>{t}</b> sampled'} for t in (0.0, 1.5)]
    record = {'id': 'q', 'input': 'How many?', 'label': '( 1 + 1 )', 'rationales': rationales}
    files.write_jsonl(folder / 'case_study.jsonl', [record])
    return folder


def test_a_kept_table_is_the_table(tmp_path):
    table = make_table('table1', 'Table 1: one')
    collection.write_current(tmp_path, table)
    kept = files.read_json(tmp_path / 'tables' / 'table1.json')
    assert collection._table(kept['table']) == table


def test_the_page_shows_all_tables_and_what_is_asked_of_their_runs(tmp_path):
    report, run = tmp_path / 'report', make_run(tmp_path / 'run')
    collection.write_current(report, make_table('table1', 'Table 1: one'))
    collection.write_current(report, make_table('fig5', 'Figure 5'), 'case_study', {'QCRD': run})
    collection.write_current(report, make_table('fig6', 'Figure 6'), 'scores', {'QCRD': run})
    page = collection.write_page(report).read_text()
    for text in ('Table 1: one', 'Figure 5: QCRD', 'temperature 1.5', 'Figure 6: QCRD'):
        assert text in page
    assert '&lt;b&gt;1.5&lt;/b&gt; sampled' in page
    assert '<b>1.5</b>' not in page
    assert (report / 'fig6_scores.png').stat().st_size > 1000
    cases = json.loads((report / 'fig5_cases.json').read_text())['cases']
    assert cases[0]['temperature 0.0'] == '<b>0.0</b> sampled'

    shutil.rmtree(run)
    page = collection.write_page(report).read_text()
    assert 'Table 1: one' in page
    assert 'Figure 5: QCRD' not in page


def test_a_panel_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match='panel: expected one of none, case_study, scores'):
        collection.write_current(tmp_path, make_table('t', 'T'), 'curves')
    assert not list(tmp_path.iterdir())
