"""`--mode=reproduce` on a small grid: what is missing is run, what is done is not, and kills."""

import csv
import pathlib
import shutil

import numpy as np
import pytest

from qcrd_jax import files, grid, modes
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import reproduce
from qcrd_jax.runs import loop
from qcrd_jax.runs.train import Trainer
from tests.runs.test_run import small_config

ROWS = {'A': {'method': 'finetune'}, 'B': {'method': 'finetune', 'optimizer.learning_rate': 3e-3}}


def make_config(**reproduced):
    config = small_config()
    config.train.update(steps=2, evaluate_every=2)
    config.evaluation.examples = 0
    config.reproduce.update(name='small', title='A small table', baseline='A', seeds=(0, 1))
    config.reproduce.cells = grid.cells(ROWS, {'mwp': {}}, {'A': [50.0], 'B': [60.0]})
    config.reproduce.update(reproduced)
    return config


def run_folders(workdir):
    return sorted(path.parent for path in workdir.glob('runs/*/setting.json'))


def cells_of(workdir, name='small'):
    with open(workdir / 'report' / f'{name}.csv', newline='') as file:
        return {(row['row'], row['column']): row for row in csv.DictReader(file)}


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """A workdir whose grid was run, its seeds together, after a kill between its two cells."""
    workdir = tmp_path_factory.mktemp('reproduce')
    train, calls = loop.train, []

    def interrupt(*_):
        raise KeyboardInterrupt

    def killed(trainers):
        calls.append([trainer.config.seed for trainer in trainers])
        if len(calls) == 2:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(Trainer, 'validate', interrupt)
                train(trainers)
        return train(trainers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, 'train', killed)
        with pytest.raises(KeyboardInterrupt):
            modes.run('reproduce', make_config(), workdir)
        halfway = cells_of(workdir)
        # Whatever else is asked for, what was begun goes on.
        modes.run('reproduce', make_config(rows=('B',), keep='everything'), workdir)
        kept = list(workdir.glob('runs/*/*/checkpoints'))
        assert len(kept) == 2  # of B's seeds; those of A are gone
        for checkpoints in kept:
            shutil.rmtree(checkpoints)
    return workdir, calls, halfway


def test_every_cell_is_run_once_and_its_seeds_together(done):
    workdir, calls, halfway = done
    assert calls == [[0, 1], [0, 1], [0, 1]]  # A, B which was killed, B
    assert halfway['A', 'mwp']['seeds'] == '2'
    assert halfway['B', 'mwp']['seeds'] == '0'
    assert len(run_folders(workdir)) == 2
    for folder in run_folders(workdir):
        for seed in (0, 1):
            summary = files.read_json(folder / f'seed{seed}' / 'summary.json')
            assert (summary['seed'], summary['steps']) == (seed, 2)
            assert (folder / f'seed{seed}' / 'hf' / 'model.safetensors').is_file()


def test_the_table_has_the_numbers_of_the_runs(done):
    workdir, _, _ = done
    accuracies = {}
    for folder in run_folders(workdir):
        rate = files.read_json(folder / 'setting.json')['config']['optimizer']['learning_rate']
        accuracies['A' if rate == 1e-3 else 'B'] = [
            100 * files.read_json(folder / f'seed{seed}' / 'summary.json')['test_accuracy']
            for seed in (0, 1)
        ]
    cells = cells_of(workdir)
    for row, values in accuracies.items():
        assert float(cells[row, 'mwp']['mean']) == pytest.approx(np.mean(values))
        assert float(cells[row, 'mwp']['paper']) == {'A': 50.0, 'B': 60.0}[row]
    for suffix in ('md', 'tex', 'csv', 'png', 'svg'):
        assert (workdir / 'report' / f'small.{suffix}').stat().st_size > 100
    page = (workdir / 'report' / 'index.html').read_text()
    assert 'A small table' in page
    assert grid.code_version() in page


def test_what_is_done_is_not_run_again(done, monkeypatch):
    workdir, _, _ = done
    monkeypatch.setattr(reproduce, 'Trainer', None)
    modes.run('reproduce', make_config(), workdir)
    modes.run('reproduce', make_config(rows=('B',), together=1, keep='results'), workdir)


def test_another_setting_and_another_version_find_nothing(done, monkeypatch, capsys):
    workdir, _, _ = done
    config = make_config(dry_run=True)
    config.loss.alpha_pred = 0.4
    modes.run('reproduce', config, workdir)
    assert cells_of(workdir)['A', 'mwp']['note'] == 'not run'
    with monkeypatch.context() as patch:
        patch.setattr(grid, 'code_version', lambda: 'later')
        modes.run('reproduce', make_config(dry_run=True), workdir)
    assert cells_of(workdir)['A', 'mwp']['note'] == 'not run'
    assert 'Asked for, and not run yet: t5-v1.0-tiny' in (workdir / 'report/small.md').read_text()
    assert 'A, mwp: seeds 0, 1' in capsys.readouterr().out
    modes.run('reproduce', make_config(dry_run=True), workdir)
    assert cells_of(workdir)['A', 'mwp']['seeds'] == '2'


def test_a_table_keeps_the_others_of_its_workdir_on_the_page(done):
    workdir, _, _ = done
    modes.run('reproduce', make_config(name='other', title='The other table'), workdir)
    page = (workdir / 'report' / 'index.html').read_text()
    assert 'A small table' in page
    assert 'The other table' in page


def test_a_cell_that_fails_says_so_and_the_others_are_run(tmp_path):
    config = make_config(seeds=(0,))
    config.reproduce.cells = (
        {'row': 'A', 'column': 'x', 'overrides': {'student.pretrained': './no-such-folder'}},
        {'row': 'B', 'column': 'x', 'overrides': {'method': 'single_task'}},
    )
    with pytest.raises(InputError, match=r'1 cells could not be run: A, x: .*no-such-folder'):
        modes.run('reproduce', config, tmp_path)
    cells = cells_of(tmp_path)
    assert cells['A', 'x']['note'].startswith('failed: ')
    assert cells['B', 'x']['seeds'] == '1'


def test_seeds_that_fail_together_are_tried_one_by_one(tmp_path, monkeypatch):
    train, calls = loop.train, []

    def failing(trainers):
        seeds = [trainer.config.seed for trainer in trainers]
        calls.append(seeds)
        if 1 in seeds:
            raise InputError('step 1: the gradient is not finite.')
        return train(trainers)

    monkeypatch.setattr(loop, 'train', failing)
    with pytest.raises(InputError, match='A, mwp: seed 1: step 1: the gradient is not finite'):
        modes.run('reproduce', make_config(rows=('A',)), tmp_path)
    assert calls == [[0, 1], [0], [1]]
    assert cells_of(tmp_path)['A', 'mwp']['seeds'] == '1'
    (folder,) = run_folders(tmp_path)
    assert not (folder / 'seed0' / 'checkpoints').exists()
    assert (folder / 'seed0' / 'hf').is_dir()
    assert (folder / 'seed1' / 'config.json').is_file()


def test_a_student_that_others_need_is_trained_first_and_handed_on(tmp_path, monkeypatch):
    config = make_config(baseline='')
    config.reproduce.cells = (
        {'row': 'first', 'column': 'x', 'overrides': {'method': 'finetune'}, 'hidden': True},
        {
            'row': 'A',
            'column': 'x',
            'overrides': {'method': 'qcrd', 'negatives.source': 'fixed'},
            'needs': {'negatives.fixed': 'first'},
        },
    )
    trained = []

    def train(trainers):
        trained.extend(trainer.config.copy_and_resolve_references() for trainer in trainers)
        for trainer in trainers:  # what a finished run would leave
            (trainer.workdir / 'hf').mkdir()
            files.write_json(trainer.workdir / 'summary.json', {'test_accuracy': 0.5})
            files.write_jsonl(trainer.workdir / 'predictions.jsonl', [])
        return [None] * len(trainers)

    class Recorder(Trainer):
        def __init__(self, config, workdir, twin=None):
            self.config, self.workdir = config, workdir

        def kept_bytes(self):
            return 1

    monkeypatch.setattr(loop, 'train', train)
    monkeypatch.setattr(reproduce, 'Trainer', Recorder)
    monkeypatch.setattr(
        reproduce.outputs,
        'finish',
        lambda trainer, _: files.read_json(trainer.workdir / 'summary.json'),
    )
    modes.run('reproduce', config, tmp_path)
    assert [(run.method, run.seed) for run in trained] == [
        ('finetune', 0), ('finetune', 1), ('qcrd', 0), ('qcrd', 1),
    ]  # fmt: skip
    for run in trained[2:]:
        folder = run.negatives.fixed
        assert folder.endswith(f'seed{run.seed}/hf')
        assert (pathlib.Path(folder).parent.parent / 'setting.json').is_file()
    assert [row for row, _ in cells_of(tmp_path)] == ['A']

    # With the student gone its runs are asked for by name, not quietly done without.
    for folder in run_folders(tmp_path):
        shutil.rmtree(folder / 'seed0' / 'hf')
        if files.read_json(folder / 'setting.json')['needs']:
            shutil.rmtree(folder / 'seed0')
    with pytest.raises(InputError, match='is gone'):
        modes.run('reproduce', config, tmp_path)


def test_figures_of_the_data_need_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, 'Trainer', None)
    config = make_config(baseline='', unit='questions')
    config.reproduce.cells = (
        {'row': 'sizes', 'column': 'train', 'measure': 'questions'},
        {'row': 'sizes', 'column': 'test', 'measure': 'questions', 'split': 'test'},
        {'row': 'LLM', 'column': 'test', 'measure': 'vote_accuracy', 'split': 'test'},
    )
    modes.run('reproduce', config, tmp_path)
    cells = cells_of(tmp_path)
    assert float(cells['sizes', 'train']['mean']) == 48
    assert float(cells['sizes', 'test']['mean']) == 10
    accuracy = float(cells['LLM', 'test']['mean'])
    assert accuracy % 10 == pytest.approx(0)  # of 10 questions
    assert 30 <= accuracy <= 100


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'rows': ('C',)}, "reproduce.rows: 'C' is not in the grid; it has A, B"),
        ({'columns': ('svamp',)}, "reproduce.columns: 'svamp'"),
        ({'cells': ()}, 'names no grid'),
        ({'seeds': (1, 1)}, 'reproduce.seeds'),
    ],
)
def test_bad_requests_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        modes.run('reproduce', make_config(**changes), tmp_path)
