"""Grids by cross-validation: seeds in every fold are run, pooled and compared as one test set."""

import csv

import pytest

from qcrd_jax import files, modes
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import identity, plan, running, tabling
from tests.support.small_grid import small_grid, table


def folded_grid(**reproduced):
    config = small_grid(**reproduced)
    config.data.folds = 2
    return config


def leave(config, workdir, row, seed, fold, right, questions=10):
    """Writes what a finished run of a fold leaves."""
    read = plan.read(config, workdir)
    folder = plan.run_folder(read, read.at(row, 'mwp'), seed, fold)
    summary = {'test_accuracy': right / questions, 'training_hours': 1.0 + fold}
    files.write_json(folder / 'summary.json', summary)
    records = (
        {'id': f'f{fold}q{i}', 'input': f'{i}?', 'label': '1', 'correct': i < right}
        for i in range(questions)
    )
    files.write_jsonl(folder / 'predictions.jsonl', records)


def test_a_grid_of_folds_is_run_to_its_table(tmp_path, toys, capsys):
    config = folded_grid(rows=('B',))
    modes.run('reproduce', config, tmp_path)
    runs = sorted(path.parent for path in tmp_path.glob('runs/*/*/summary.json'))
    names = ['seed0-fold0', 'seed0-fold1', 'seed1-fold0', 'seed1-fold1']
    assert [run.name for run in runs] == names
    assert len({run.parent for run in runs}) == 1
    ids = {}
    for run in runs:
        assert files.read_json(run / 'config.json')['data']['fold'] == int(run.name[-1])
        ids[run.name] = {r['id'] for _, r in files.read_jsonl(run / 'predictions.jsonl')}
    assert ids['seed0-fold0'] == ids['seed1-fold0']
    assert not ids['seed0-fold0'] & ids['seed0-fold1']
    with open(tmp_path / 'report' / 'small_runs.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    everything = sum(config.data.mwp[split] for split in ('train', 'validation', 'test'))
    assert [row['questions'] for row in rows] == [str(everything)] * 2
    assert '(2 seeds, 2 folds)' in (tmp_path / 'report' / 'small.md').read_text()
    # The dataset is prepared once, and what is done is not done again.
    assert len(list((tmp_path / 'data' / 'mwp').glob('[!.]*'))) == 1
    capsys.readouterr()
    modes.run('reproduce', config, tmp_path)
    assert 'seeds' not in capsys.readouterr().out


def test_what_is_missing_is_said_by_fold(tmp_path, capsys):
    config = folded_grid(dry_run=True, rows=('A',))
    leave(config, tmp_path, 'A', 0, 0, 5)
    leave(config, tmp_path, 'A', 1, 0, 5)
    leave(config, tmp_path, 'A', 1, 1, 5)
    list(running.run(plan.read(config, tmp_path)))
    assert 'A, mwp: seeds 0 in folds 1 of ' in capsys.readouterr().out
    tabling.write(plan.read(config, tmp_path))
    cell = table(tmp_path)['A', 'mwp']
    assert (cell['seeds'], cell['note']) == ('1', 'seed 0: 1 of 2 folds')


def test_folds_are_pooled_and_compared_by_question(tmp_path):
    config = folded_grid()
    for seed in (0, 1):
        for row, rights in (('A', (4, 6)), ('B', (9, 10))):
            for fold, right in enumerate(rights):
                leave(config, tmp_path, row, seed, fold, right, questions=10 + 10 * fold)
    tabling.write(plan.read(config, tmp_path))
    cells = table(tmp_path)
    assert float(cells['A', 'mwp']['mean']) == pytest.approx(100 * 10 / 30)  # and no mean of means
    assert float(cells['B', 'mwp']['mean']) == pytest.approx(100 * 19 / 30)
    with open(tmp_path / 'report' / 'small_tests.csv', newline='') as file:
        (comparison,) = csv.DictReader(file)
    assert (comparison['questions'], comparison['seeds'], comparison['folds']) == ('30', '2', '2')
    assert float(comparison['mcnemar_p']) == pytest.approx(2 / 2**9)  # nine questions, B's
    assert 0 < float(comparison['fold_p']) < 1
    text = (tmp_path / 'report' / 'small.md').read_text()
    assert '| 30 in 2 folds | 2 |' in text
    assert 'with the folds as units' in text
    config.reproduce.cells = tuple(
        cell | {'measure': 'training_hours'} for cell in config.reproduce.cells
    )
    tabling.write(plan.read(config, tmp_path))
    assert table(tmp_path)['A', 'mwp']['mean'] == '1.5'  # hours are those of a run


def test_the_number_of_folds_is_another_setting_and_the_fold_is_not(tmp_path):
    config = small_grid()
    names = {}
    for folds, fold in ((0, 0), (2, 0), (2, 1), (3, 1)):
        config.data.update(folds=folds, fold=fold)
        names[folds, fold] = identity.of_run(config)
    assert names[2, 0] == names[2, 1]
    assert len(set(names.values())) == 3
    config.data.update(folds=2, fold=0)
    counts = {identity.of_count(config)}
    config.data.fold = 1
    assert identity.of_count(config) not in counts  # figures of another test set


def test_a_student_of_other_folds_is_refused(tmp_path):
    config = folded_grid(baseline='')
    config.reproduce.cells = (
        {'row': 'A', 'column': 'x', 'overrides': {'method': 'finetune', 'data.folds': 0}},
        {'row': 'B', 'column': 'x', 'needs': {'negatives.fixed': 'A'}},
    )
    with pytest.raises(InputError, match=r"B, x: data\.folds: expected 0, as 'A' has it"):
        plan.read(config, tmp_path)
