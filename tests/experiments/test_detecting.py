"""What a grid could detect is said before it is run, of what there is and by stated assumptions."""

import json

import pytest

from qcrd_jax import files, grid, modes
from qcrd_jax.config import base_config
from qcrd_jax.data.sources import sizes
from qcrd_jax.evaluation import power
from qcrd_jax.evaluation.power import Assumption, Design
from qcrd_jax.experiments import detecting, plan, tabling
from tests.data.sources import test_dss
from tests.support.small_grid import leave_run, small_grid


def said(config, workdir):
    read = plan.read(config, workdir)
    return detecting.text(read, tabling.write(read))


def points(design, assumption, **how):
    return f'{100 * power.planned(design, assumption, **how):.1f} points'


def leave(config, workdir, row, seed, right):
    read = plan.read(config, workdir)
    leave_run(plan.run_folder(read, read.at(row, 'mwp'), seed), ['x'] * 40, right)


def test_before_anything_is_run_the_paper_says_how_many_are_right(tmp_path, capsys):
    config = small_grid(dry_run=True)
    config.data.mwp.test = 700
    modes.run('reproduce', config, tmp_path)
    out = capsys.readouterr().out
    # 50 % is the paper's number of A, the baseline.
    expected = points(Design(700, 2), Assumption.of_accuracy(0.5))
    assert out.startswith('could detect, as differences from A, with 80 % power at 5 % (two-sided)')
    assert f'mwp, B: {expected} (700 questions, 2 seeds; 50 % right, 25 % discordant, 5 %' in out
    assert 'right as the paper has A, the rest assumed' in out
    assert not (tmp_path / 'data').exists()


def test_nothing_is_said_where_nothing_is_compared(tmp_path):
    assert said(small_grid(baseline=''), tmp_path) == ''
    assert said(small_grid(rows=('B',)), tmp_path) == ''  # the baseline is neither asked nor there
    config = small_grid()
    leave(config, tmp_path, 'A', 0, 20)
    config.reproduce.rows = ('B',)
    assert 'mwp, B: ' in said(config, tmp_path)


def test_holm_counts_every_comparison_that_the_table_will_have(tmp_path):
    rows = {'DSS': {'method': 'dss'}, 'QCRD': {'method': 'qcrd'}, 'label': {'method': 'finetune'}}
    config = small_grid(baseline='DSS')
    config.reproduce.cells = tuple(
        cell
        for measure in ('test_accuracy', 'rationale_accuracy', 'rationale_tokens')
        for cell in grid.cells(rows, {measure: {}}, measure=measure)
    )
    text = said(config, tmp_path)
    # Lengths have no verdicts, and who learns no rationales has none on them.
    assert 'after Holm for 3 comparisons' in text
    assert '  test_accuracy, QCRD; label: ' in text
    assert '  rationale_accuracy, QCRD: ' in text


def test_what_finished_runs_show_is_taken(tmp_path):
    config = small_grid()
    leave(config, tmp_path, 'A', 0, 10)
    text = said(config, tmp_path)
    expected = points(Design(40, 2), Assumption.of_accuracy(0.25))
    assert f'mwp, B: {expected} (40 questions' in text
    assert 'right from A, the rest assumed' in text
    leave(config, tmp_path, 'B', 0, 14)
    assert 'spread between runs assumed, the rest from finished runs' in said(config, tmp_path)
    leave(config, tmp_path, 'A', 1, 10)
    leave(config, tmp_path, 'B', 1, 14)
    text = said(config, tmp_path)
    assert '30 % right, 10 % discordant, 10 % with any number of seeds, 0.0 points' in text
    assert 'all from finished runs' in text


def test_comparisons_that_are_alike_share_a_line_and_holms_correction(tmp_path):
    config = small_grid(detect=2.0)
    cells = config.reproduce.cells
    for cell in cells:
        cell.pop('paper', None)
    others = {'row': 'C', 'column': 'mwp', 'overrides': {'method': 'dss'}}
    config.reproduce.cells = tuple({**cell, 'paper': None} for cell in (*cells, others))
    text = said(config, tmp_path)
    expected = points(Design(config.data.mwp.test, 2), Assumption.of_accuracy(0.5), comparisons=2)
    assert 'after Holm for 2 comparisons' in text
    assert f'mwp, B; C: {expected}' in text
    assert 'all assumed' in text
    assert '; 2 points take more seeds and questions' in text  # one of them is not enough
    assert len(text.splitlines()) == 2


def test_a_source_that_is_missing_is_said_and_keeps_nobody(tmp_path):
    config = small_grid()
    overrides = {'data.name': 'custom', 'data.source': 'no.jsonl'}
    config.reproduce.cells = (
        *config.reproduce.cells,
        *({'row': row, 'column': 'x', 'overrides': overrides} for row in ('A', 'B')),
    )
    text = said(config, tmp_path)
    assert 'x, B: not known: data.source: no.jsonl is no file' in text
    assert 'mwp, B: ' in text


@pytest.mark.parametrize('folds', [0, 3])
def test_questions_are_counted_before_anything_is_prepared(tmp_path, folds):
    data = base_config().data
    data.folds = folds
    assert sizes.test_size(data, tmp_path) == (1000 if folds else 200)  # of the release of SVAMP
    data.name = 'cqa'
    assert sizes.test_size(data, tmp_path) == (10962 if folds else 1221)
    data.name, data.source = 'svamp', str(test_dss.write_dataset(tmp_path / 'svamp').parent)
    assert sizes.test_size(data, tmp_path / 'scratch') == (34 if folds else 4)
    records = [{'input': f'{i}?', 'label': '1'} for i in range(30)]
    (tmp_path / 'own.jsonl').write_text('\n'.join(map(json.dumps, records)))
    data.update(name='custom', source=str(tmp_path / 'own.jsonl'))
    assert sizes.test_size(data, tmp_path / 'scratch') == (30 if folds else 3)
    data.name = 'mwp'
    data.mwp.update(train=5, validation=6, test=7)
    assert sizes.test_size(data, tmp_path) == (18 if folds else 7)


def test_files_of_folds_have_whole_questions(tmp_path):
    config = small_grid(seeds=(0,))
    config.data.folds = 2
    read = plan.read(config, tmp_path)
    for row in ('A', 'B'):
        for fold in (0, 1):
            folder = plan.run_folder(read, read.at(row, 'mwp'), 0, fold)
            files.write_json(folder / 'summary.json', {'test_accuracy': 0.5})
            records = (
                {'id': f'{fold}/{i}', 'input': 'Q?', 'label': '1', 'correct': i % 2 == 0}
                for i in range(6)
            )
            files.write_jsonl(folder / 'predictions.jsonl', records)
    assert 'points (12 questions in 2 folds, 1 seed; 50 % right, 0 %' in said(config, tmp_path)
