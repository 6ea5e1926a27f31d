"""What is missing of a grid is made, what is done is not; kills, failures, verdicts."""

import pathlib
import shutil
from unittest import mock

import jax
import numpy as np
import pytest

from qcrd_jax import files, modes
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import identity, plan, running
from qcrd_jax.runs import loop, sealing
from qcrd_jax.runs.run import Run
from qcrd_jax.teacher import engine
from qcrd_jax.teacher import judge as judgement
from qcrd_jax.teacher.judge_prompt import fill
from tests.support.judge_server import JudgeServer, longer
from tests.support.small_grid import folders_of_runs, judged_grid, leave_run, small_grid, table
from tests.support.toy_student import use_toy_students


@pytest.fixture(scope='module')
def done(tmp_path_factory):
    """A workdir whose grid was run, its seeds together, after a kill between its two cells."""
    workdir = tmp_path_factory.mktemp('reproduce')
    train, calls = loop.train, []

    def interrupt(*_):
        raise KeyboardInterrupt

    def killed(runs):
        calls.append([run.config.seed for run in runs])
        if len(calls) == 2:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(loop, 'validate', interrupt)
                train(runs)
        return train(runs)

    with pytest.MonkeyPatch.context() as patch:
        use_toy_students(patch)
        patch.setattr(loop, 'train', killed)
        with pytest.raises(KeyboardInterrupt):
            modes.run('reproduce', small_grid(), workdir)
        halfway = table(workdir)
        # Whatever else is asked for, what was begun continues; fine-tuning has no margin.
        config = small_grid(rows=('B',), keep='everything')
        config.loss.margin = 9.0
        modes.run('reproduce', config, workdir)
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
    assert len(folders_of_runs(workdir)) == 2
    for folder in folders_of_runs(workdir):
        for seed in (0, 1):
            summary = files.read_json(folder / f'seed{seed}' / 'summary.json')
            assert (summary['seed'], summary['steps']) == (seed, 2)
            assert (folder / f'seed{seed}' / 'hf' / 'model.safetensors').is_file()
            (launch,) = files.read_json(folder / f'seed{seed}' / 'provenance.json')['launches']
            assert launch['versions']['jax'] == jax.__version__


def test_a_run_that_was_begun_keeps_its_configuration(done):
    workdir, _, _ = done
    margins = [
        files.read_json(path)['loss']['margin'] for path in workdir.glob('runs/*/*/config.json')
    ]
    assert margins == [3.0] * 4


def test_the_table_has_the_numbers_of_the_runs(done):
    workdir, _, _ = done
    accuracies = {}
    for folder in folders_of_runs(workdir):
        rate = files.read_json(folder / 'setting.json')['config']['optimizer']['learning_rate']
        accuracies['A' if rate == 1e-3 else 'B'] = [
            100 * files.read_json(folder / f'seed{seed}' / 'summary.json')['test_accuracy']
            for seed in (0, 1)
        ]
    shown = table(workdir)
    for row, values in accuracies.items():
        assert float(shown[row, 'mwp']['mean']) == pytest.approx(np.mean(values))
        assert float(shown[row, 'mwp']['paper']) == {'A': 50.0, 'B': 60.0}[row]
    for suffix in ('md', 'tex', 'csv', 'png', 'svg'):
        assert (workdir / 'report' / f'small.{suffix}').stat().st_size > 100
    page = (workdir / 'report' / 'index.html').read_text()
    assert 'A small table' in page
    assert identity.code_version() in page


def test_what_is_done_is_not_run_again(done, monkeypatch):
    workdir, _, _ = done
    monkeypatch.setattr(running.assembly, 'assemble', None)
    modes.run('reproduce', small_grid(), workdir)
    modes.run('reproduce', small_grid(rows=('B',), together=1, keep='results'), workdir)


def test_another_setting_and_another_version_find_nothing(done, monkeypatch, capsys):
    workdir, _, _ = done
    config = small_grid(dry_run=True)
    config.loss.alpha_pred = 0.4  # which fine-tuning does not read
    modes.run('reproduce', config, workdir)
    assert table(workdir)['A', 'mwp']['seeds'] == '2'
    config.optimizer.weight_decay = 0.4
    modes.run('reproduce', config, workdir)
    assert table(workdir)['A', 'mwp']['note'] == 'not run'
    with monkeypatch.context() as patch:
        patch.setattr(identity, 'code_version', lambda: 'later')
        modes.run('reproduce', small_grid(dry_run=True), workdir)
    assert table(workdir)['A', 'mwp']['note'] == 'not run'
    assert 'Asked for, and not run yet: t5-v1.0-tiny' in (workdir / 'report/small.md').read_text()
    assert 'A, mwp: seeds 0, 1' in capsys.readouterr().out
    modes.run('reproduce', small_grid(dry_run=True), workdir)
    assert table(workdir)['A', 'mwp']['seeds'] == '2'


def test_a_table_keeps_the_others_of_its_workdir_on_the_page(done):
    workdir, _, _ = done
    modes.run('reproduce', small_grid(name='other', title='The other table'), workdir)
    page = (workdir / 'report' / 'index.html').read_text()
    assert 'A small table' in page
    assert 'The other table' in page


def test_a_cell_that_fails_says_so_and_the_others_are_run(tmp_path):
    config = small_grid(seeds=(0,))
    config.reproduce.cells = (
        {'row': 'A', 'column': 'x', 'overrides': {'student.pretrained': './no-such-folder'}},
        {'row': 'B', 'column': 'x', 'overrides': {'method': 'single_task'}},
    )
    with pytest.raises(InputError, match=r'1 cells could not be run: A, x: .*no-such-folder'):
        modes.run('reproduce', config, tmp_path)
    cells = table(tmp_path)
    assert cells['A', 'x']['note'].startswith('failed: ')
    assert cells['B', 'x']['seeds'] == '1'
    assert len(list(tmp_path.glob('runs/*/seed0/hf/model.safetensors'))) == 1


def test_seeds_that_fail_together_are_tried_one_by_one(tmp_path, monkeypatch, toys):
    train, calls = loop.train, []

    def failing(runs):
        seeds = [run.config.seed for run in runs]
        calls.append(seeds)
        if 1 in seeds:
            raise InputError('step 1: the gradient is not finite.')
        return train(runs)

    monkeypatch.setattr(loop, 'train', failing)
    with pytest.raises(InputError, match='A, mwp: seed 1: step 1: the gradient is not finite'):
        modes.run('reproduce', small_grid(rows=('A',)), tmp_path)
    assert calls == [[0, 1], [0], [1]]
    assert table(tmp_path)['A', 'mwp']['seeds'] == '1'
    (folder,) = folders_of_runs(tmp_path)
    assert not (folder / 'seed0' / 'checkpoints').exists()
    assert (folder / 'seed0' / 'hf').is_dir()
    assert (folder / 'seed1' / 'config.json').is_file()


def test_a_seed_that_cannot_be_begun_leaves_the_others(tmp_path, toys):
    config = small_grid(rows=('A',), seeds=(0, 1, 2), together=1)
    read = plan.read(config, tmp_path)
    for seed, lost in ((0, 'metrics.jsonl'), (1, 'checkpoints')):
        folder = plan.run_folder(read, read.at('A', 'mwp'), seed)
        if seed:  # its results were changed, and nothing is left to make them from
            leave_run(folder, ['a', 'b'])
            sealing.seal(folder)
            files.write_jsonl(folder / 'predictions.jsonl', [])
        else:  # a log without a checkpoint
            files.write_jsonl(folder / lost, [{'step': 1}])
    with pytest.raises(InputError) as caught:
        modes.run('reproduce', config, tmp_path)
    assert 'seed 0: ' in str(caught.value)
    assert 'seed 1: ' in str(caught.value)
    assert 'its results are not those of the run' in str(caught.value)
    assert 'seed 2: ' not in str(caught.value)
    assert table(tmp_path)['A', 'mwp']['seeds'] == '1'


def test_a_student_that_others_need_is_trained_first_and_handed_on(tmp_path, monkeypatch):
    config = small_grid(baseline='')
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

    def train(runs):
        trained.extend(run.config.copy_and_resolve_references() for run in runs)
        for run in runs:  # what a finished run would leave
            (run.workdir / 'hf').mkdir()
            files.write_json(run.workdir / 'summary.json', {'test_accuracy': 0.5})
            files.write_jsonl(run.workdir / 'predictions.jsonl', [])
        return [None] * len(runs)

    def assemble(config, workdir, twin=None):
        return mock.Mock(spec=Run, config=config, workdir=workdir)

    monkeypatch.setattr(loop, 'train', train)
    monkeypatch.setattr(running.assembly, 'assemble', assemble)
    monkeypatch.setattr(running.memory, 'seeds_that_fit', lambda run, limit: limit)
    monkeypatch.setattr(
        running.results,
        'finish',
        lambda run, _, timed: files.read_json(run.workdir / 'summary.json'),
    )
    modes.run('reproduce', config, tmp_path)
    assert [(run.method, run.seed) for run in trained] == [
        ('finetune', 0), ('finetune', 1), ('qcrd', 0), ('qcrd', 1),
    ]  # fmt: skip
    for run in trained[2:]:
        folder = run.negatives.fixed
        assert folder.endswith(f'seed{run.seed}/hf')
        assert (pathlib.Path(folder).parent.parent / 'setting.json').is_file()
    assert [row for row, _ in table(tmp_path)] == ['A']

    # With the student gone its runs are asked for by name, not quietly done without.
    for folder in folders_of_runs(tmp_path):
        shutil.rmtree(folder / 'seed0' / 'hf')
        if files.read_json(folder / 'setting.json')['needs']:
            shutil.rmtree(folder / 'seed0')
    with pytest.raises(InputError, match='is gone'):
        modes.run('reproduce', config, tmp_path)


def test_figures_of_the_data_need_no_training(tmp_path, monkeypatch):
    monkeypatch.setattr(running.assembly, 'assemble', None)
    config = small_grid(baseline='', unit='questions')
    config.reproduce.cells = (
        {'row': 'sizes', 'column': 'train', 'measure': 'questions'},
        {'row': 'sizes', 'column': 'test', 'measure': 'questions', 'split': 'test'},
        {'row': 'LLM', 'column': 'test', 'measure': 'vote_accuracy', 'split': 'test'},
    )
    modes.run('reproduce', config, tmp_path)
    cells = table(tmp_path)
    assert float(cells['sizes', 'train']['mean']) == 48
    assert float(cells['sizes', 'test']['mean']) == 10
    accuracy = float(cells['LLM', 'test']['mean'])
    assert accuracy % 10 == pytest.approx(0)  # of 10 questions
    assert 30 <= accuracy <= 100


def test_seeds_are_validated_before_anything(tmp_path):
    with pytest.raises(InputError, match=r'reproduce\.seeds'):
        modes.run('reproduce', small_grid(seeds=(1, 1)), tmp_path)


def test_a_student_that_failed_is_not_tried_again_and_fails_what_needs_it(tmp_path, monkeypatch):
    config = small_grid(baseline='', seeds=(0,))
    config.reproduce.cells = (
        {'row': 'A', 'column': 'x', 'overrides': {'method': 'finetune'}, 'hidden': True},
        *(
            {'row': row, 'column': 'x', 'overrides': overrides, 'needs': {'negatives.fixed': 'A'}}
            for row, overrides in {'B': {}, 'C': {'loss.margin': 1.0}}.items()
        ),
    )
    tried = []

    def fail(plan, cell):
        tried.append(cell.row)
        raise InputError('no luck')

    train = running._train_missing
    monkeypatch.setattr(
        running,
        '_train_missing',
        lambda made, cell: (fail if cell.row == 'A' else train)(made, cell),
    )
    with pytest.raises(InputError, match=r'3 cells could not be run: A, x: no luck; B, x: seed 0'):
        modes.run('reproduce', config, tmp_path)
    assert tried == ['A']
    assert "'A', which it needs, is not trained" in table(tmp_path)['C', 'x']['note']


def test_a_dataset_that_cannot_be_read_fails_its_cells_and_no_others(tmp_path):
    config = small_grid(baseline='')
    config.reproduce.cells = (
        {'row': 'sizes', 'column': 'x', 'measure': 'questions',
         'overrides': {'data.name': 'custom', 'data.source': 'no.jsonl'}},
        {'row': 'sizes', 'column': 'mwp', 'measure': 'questions'},
    )  # fmt: skip
    with pytest.raises(InputError, match=r'1 cells could not be run: sizes, x: .*no\.jsonl'):
        modes.run('reproduce', config, tmp_path)
    assert table(tmp_path)['sizes', 'mwp']['mean'] == '48.0'
    assert table(tmp_path)['sizes', 'x']['note'].startswith('failed: ')


class TestJudging:
    """Verdicts are asked for once, where they are asked for, and found by what decides them."""

    A, B = ('aaa', 'aaaa', 'a', 'same'), ('b', 'b', 'bb', 'same')  # better: A, A, B; one is equal
    EXPECTED = ('2.0', '1.0', '1.0')

    @pytest.fixture
    def server(self, monkeypatch):
        monkeypatch.setenv('NO_PROXY', '127.0.0.1')
        monkeypatch.delenv('OPENAI_MODEL', raising=False)
        with JudgeServer(longer) as server:
            monkeypatch.setenv('OPENAI_BASE_URL', server.url)
            yield server

    def leave_runs(self, workdir, config):
        made = plan.read(config, workdir)
        for row, rationales in (('A', self.A), ('B', self.B)):
            leave_run(plan.run_folder(made, made.at(row, 'mwp'), 0), rationales)

    def run(self, workdir, config=None):
        modes.run('reproduce', config or judged_grid(), workdir)
        cells = table(workdir)
        return tuple(cells[row, 'mwp']['mean'] for row in ('a_better', 'both_good', 'b_better'))

    def folders(self, workdir):
        return sorted(path.name for path in workdir.glob('runs/judge-*'))

    def test_they_are_asked_for_once_and_serve_all_cells(self, tmp_path, server):
        self.leave_runs(tmp_path, judged_grid())
        assert self.run(tmp_path) == self.EXPECTED
        assert len(server.prompts) == 6  # three pairs in two orders
        assert self.run(tmp_path) == self.EXPECTED
        assert len(server.prompts) == 6

    def test_rows_that_are_not_asked_for_are_not_judged(self, tmp_path, server):
        config = judged_grid()
        self.leave_runs(tmp_path, config)
        config.reproduce.cells = (
            *config.reproduce.cells,
            {'row': 'size', 'column': 'mwp', 'measure': 'questions'},
        )
        config.reproduce.rows = ('size',)
        assert self.run(tmp_path, config) == ('', '', '')
        assert table(tmp_path)['size', 'mwp']['mean'] == '48.0'
        assert server.prompts == []

    def test_a_dry_run_says_so_and_asks_nobody(self, tmp_path, server, capsys):
        config = judged_grid(dry_run=True)
        self.run(tmp_path, config)
        said = capsys.readouterr().out
        assert 'a_better, mwp: verdicts on students that are not trained yet' in said
        self.leave_runs(tmp_path, config)
        self.run(tmp_path, config)
        (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith('a_better')]
        assert line.startswith(f'a_better, mwp: verdicts of {tmp_path}/runs/judge-')
        assert server.prompts == []
        assert self.folders(tmp_path) == []

    def test_one_that_cannot_be_reached_fails_its_cells_and_no_others(
        self, tmp_path, server, monkeypatch
    ):
        config = judged_grid()
        self.leave_runs(tmp_path, config)
        config.reproduce.cells = (
            *config.reproduce.cells,
            {'row': 'size', 'column': 'mwp', 'measure': 'questions'},
        )
        config.teacher.base_url = 'http://127.0.0.1:9/v1'  # nothing listens there
        tries, run_jobs = [], engine.run_jobs

        def counted(*args, **kwargs):
            tries.append(kwargs['path'])
            return run_jobs(*args, **kwargs)

        monkeypatch.setattr(engine, 'run_jobs', counted)
        with pytest.raises(InputError, match=r'^3 cells could not be run: a_better, mwp: judge: 0'):
            modes.run('reproduce', config, tmp_path)
        assert len(tries) == 1  # the three cells share it
        cells = table(tmp_path)
        assert cells['b_better', 'mwp']['note'].startswith('failed: judge: 0 of 6 verdicts')
        assert cells['size', 'mwp']['mean'] == '48.0'
        # Mended, the same command succeeds.
        config.teacher.base_url = server.url
        assert self.run(tmp_path, config) == self.EXPECTED

    def test_a_raised_budget_resumes_in_the_same_ledger(self, tmp_path, server):
        config = judged_grid()
        self.leave_runs(tmp_path, config)
        # A request goes out while its worst fits: a token for each byte of a prompt, 64 for the
        # frame, and the longest answer. An answer is charged 15 tokens, so three of them go out.
        made = plan.read(config, tmp_path)
        judged = plan.judge_config(made, made.at('a_better', 'mwp'))
        inquiry = judgement.read_inquiry(judged)
        longest = max(len(fill(inquiry.prompt, inquiry.task, p, 'A')) for p in inquiry.pairs)
        config.teacher.max_tokens_total = longest + 64 + config.judge.max_tokens + 30
        with pytest.raises(InputError, match='could exceed the budget'):
            modes.run('reproduce', config, tmp_path)
        assert 3 <= len(server.prompts) < 6
        assert table(tmp_path)['a_better', 'mwp']['note'].startswith('failed: judge: ')
        (folder,) = self.folders(tmp_path)
        config.teacher.update(max_tokens_total=0, timeout=9.0, attempts=3, concurrency=2)
        config.teacher.update(input_price=1.0, base_url=server.url, key_variable='OTHER')
        assert self.run(tmp_path, config) == self.EXPECTED
        assert len(server.prompts) == 6  # none is asked twice
        assert self.folders(tmp_path) == [folder]
        report = files.read_json(tmp_path / 'runs' / folder / 'judge.json')
        assert report['tokens'] == {'prompt': 60, 'completion': 30, 'estimated': 0}

    def test_another_model_of_the_environment_is_another_judge(self, tmp_path, server, monkeypatch):
        config = judged_grid()
        config.teacher.model = ''
        self.leave_runs(tmp_path, config)
        for number, model in enumerate(('one', 'two', 'one'), start=1):
            monkeypatch.setenv('OPENAI_MODEL', model)
            assert self.run(tmp_path, config) == self.EXPECTED
            assert len(self.folders(tmp_path)) == min(number, 2)
        assert [body['model'] for body in server.bodies] == ['one'] * 6 + ['two'] * 6

    def test_the_same_rationales_of_other_runs_have_the_same_verdicts(
        self, tmp_path, server, monkeypatch
    ):
        self.leave_runs(tmp_path, judged_grid())
        assert self.run(tmp_path) == self.EXPECTED
        monkeypatch.setattr(identity, 'code_version', lambda: 'later')
        self.leave_runs(tmp_path, judged_grid())
        assert self.run(tmp_path) == self.EXPECTED
        assert len(server.prompts) == 6
        assert len(list(tmp_path.glob('runs/*/seed0'))) == 4

    def test_without_students_there_is_nothing_to_judge(self, tmp_path, server, monkeypatch):
        def fail(*_):
            raise InputError('no luck')

        monkeypatch.setattr(running, '_train_missing', fail)
        with pytest.raises(InputError, match=r"5 cells .* b_better, mwp: 'A' is not trained"):
            modes.run('reproduce', judged_grid(), tmp_path)
        assert server.prompts == []
