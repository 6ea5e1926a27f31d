"""Tables read what is on disk: they train nothing, count nothing and ask nobody."""

import pytest

from qcrd_jax import files, grid, sums
from qcrd_jax.experiments import plan, running, tabling
from qcrd_jax.teacher import judge as judgement
from tests.support.judge_server import JudgeServer, longer
from tests.support.small_grid import judged_grid, leave_run, small_grid, table


@pytest.fixture
def nothing_is_made(monkeypatch):
    """What would train or count raises."""
    for name in ('_train_missing', '_count', '_make'):
        monkeypatch.setattr(running, name, None)
    monkeypatch.setattr(running.builders, 'load', None)


def written(config, workdir, failures=None):
    tabling.write(plan.read(config, workdir), failures)
    return table(workdir, config.reproduce.name)


def leave(config, workdir, row, column, seed, rationales, right=0):
    read = plan.read(config, workdir)
    leave_run(plan.run_folder(read, read.at(row, column), seed), rationales, right)


def test_a_table_never_asks_a_judge(tmp_path, monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    with JudgeServer(longer) as server:
        config = judged_grid()
        config.teacher.base_url = server.url
        leave(config, tmp_path, 'A', 'mwp', 0, ['aaa', 'a'])
        leave(config, tmp_path, 'B', 'mwp', 0, ['b', 'bb'])
        for rows in ((), ('a_better',), ('b_better', 'both_good')):
            config.reproduce.rows = rows
            cells = written(config, tmp_path)
            assert {cell['note'] for cell in cells.values()} == {'not run'}
        assert server.prompts == []

        read = plan.read(config, tmp_path)
        cell = read.at('a_better', 'mwp')
        judgement.judge(plan.judge_config(read, cell), plan.judge_folder(read, cell))
        asked = len(server.prompts)
        assert asked == 4
        for rows in ((), ('a_better',), ('b_better', 'both_good')):
            config.reproduce.rows = rows
            cells = written(config, tmp_path)
            assert [cell['mean'] for cell in cells.values()] == ['1.0', '0.0', '1.0']
        assert len(server.prompts) == asked


def test_verdicts_are_shown_without_a_key(tmp_path, monkeypatch):
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    monkeypatch.delenv('OPENAI_BASE_URL', raising=False)
    config = judged_grid()
    for row, text in {'A': 'a', 'B': 'b'}.items():
        leave(config, tmp_path, row, 'mwp', 0, [text])
    read = plan.read(config, tmp_path)
    folder = plan.judge_folder(read, read.at('a_better', 'mwp'))
    files.write_json(
        folder / judgement.REPORT, {name: {'count': 7} for name in grid.JUDGE_MEASURES}
    )
    assert written(config, tmp_path)['b_better', 'mwp']['mean'] == '7.0'


def test_a_table_never_counts_a_dataset(tmp_path, nothing_is_made):
    config = small_grid(baseline='', unit='questions')
    config.reproduce.cells = (
        {'row': 'sizes', 'column': 'train', 'measure': 'questions'},
        {'row': 'LLM', 'column': 'train', 'measure': 'vote_accuracy'},
        {'row': 'LLM', 'column': 'test', 'measure': 'vote_accuracy', 'split': 'test'},
    )
    assert {cell['note'] for cell in written(config, tmp_path).values()} == {'not run'}
    assert not (tmp_path / 'data').exists()

    read = plan.read(config, tmp_path)
    path = plan.count_file(read, read.at('LLM', 'train'))
    files.write_json(path, {'questions': 48, 'vote_accuracy': 0.75})
    sums.update(path.parent, [path.name])
    config.reproduce.rows = ('sizes',)  # what is there is shown, whatever is asked for
    cells = written(config, tmp_path)
    assert cells['sizes', 'train']['mean'] == '48.0'
    assert cells['LLM', 'train']['mean'] == '75.0'
    assert cells['LLM', 'test']['note'] == 'not run'
    files.write_json(path, {'questions': 48, 'vote_accuracy': None})
    sums.update(path.parent, [path.name])
    note = written(config, tmp_path)['LLM', 'train']['note']
    assert note == 'not run: LLM, train: the train split has no teacher answers'
    assert 'Counted by code' in (tmp_path / 'report' / 'small.md').read_text()


def test_means_of_what_is_done_and_what_is_missing(tmp_path, nothing_is_made):
    config = small_grid(seeds=(0, 1, 2))
    leave(config, tmp_path, 'A', 'mwp', 0, ['x'] * 4, right=1)
    leave(config, tmp_path, 'A', 'mwp', 2, ['x'] * 4, right=2)
    cells = written(config, tmp_path)
    assert (cells['A', 'mwp']['mean'], cells['A', 'mwp']['seeds']) == ('37.5', '2')
    assert cells['A', 'mwp']['paper'] == '50.0'
    assert (cells['B', 'mwp']['mean'], cells['B', 'mwp']['note']) == ('', 'not run')


def test_other_measures_are_shown_as_they_are(tmp_path, nothing_is_made):
    config = small_grid(baseline='', unit='hours')
    config.reproduce.cells = grid.cells({'A': {}}, {'x': {}}, measure='training_hours')
    leave(config, tmp_path, 'A', 'x', 1, ['x'])
    assert written(config, tmp_path)['A', 'x']['mean'] == '1.5'


def test_why_a_cell_has_no_number(tmp_path, nothing_is_made):
    config = small_grid(baseline='')
    missing = {'data.name': 'custom', 'data.source': 'no.jsonl'}
    config.reproduce.cells = (
        *config.reproduce.cells,
        {'row': 'C', 'column': 'mwp', 'overrides': missing},
    )
    cells = written(config, tmp_path, {'B, mwp': 'seed 0: it broke; seed 1: it broke too'})
    assert cells['A', 'mwp']['note'] == 'not run'
    assert cells['B', 'mwp']['note'] == 'failed: seed 0: it broke'
    assert cells['C', 'mwp']['note'].startswith('not run: data.source: no.jsonl is no file')


def test_the_caption_says_what_was_run(tmp_path, nothing_is_made):
    config = small_grid(caption='As in the paper.')
    text = tmp_path / 'report' / 'small.md'
    written(config, tmp_path)
    assert 'As in the paper. Asked for, and not run yet: t5-v1.0-tiny (random)' in text.read_text()
    read = plan.read(config, tmp_path)
    settings = {'device': 'a machine', 'jax': '9.9'}
    files.write_json(plan.folder(read, read.at('A', 'mwp')) / 'setting.json', settings)
    written(config, tmp_path)
    said = text.read_text()
    assert 'Run here: t5-v1.0-tiny (random); 2 steps of batch 4; data mwp; seeds 0, 1;' in said
    assert 'a machine with jax 9.9.' in said


def test_the_page_shows_the_tables_of_the_workdir(tmp_path, nothing_is_made):
    for name, title in {'small': 'A small table', 'other': 'The other table'}.items():
        config = small_grid(name=name, title=title)
        written(config, tmp_path)
    page = tabling.write_page(plan.read(config, tmp_path)).read_text()
    assert 'A small table' in page
    assert 'The other table' in page
