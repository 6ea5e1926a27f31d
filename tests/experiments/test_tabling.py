"""Tables read what is on disk: they train nothing, count nothing and ask nobody."""

import pytest

from qcrd_jax import files, grid, sums
from qcrd_jax.evaluation.rationales import Reading
from qcrd_jax.experiments import plan, running, tabling
from qcrd_jax.report import tables
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


def reading(correct, agrees=False, tokens=10, ended=True):
    return Reading('1' if correct or agrees else None, correct, agrees, tokens, ended)


MEASURES = {
    'label': {'measure': 'test_accuracy'},
    'right': {'measure': 'rationale_accuracy'},
    'agree': {'measure': 'rationale_agreement'},
    'unread': {'measure': 'rationale_unread'},
    'ended': {'measure': 'rationale_ended'},
    'tokens': {'measure': 'rationale_tokens'},
    'sampled': {'measure': 'rationale_accuracy', 'temperature': 0.7},
}


def of_rationales(**reproduced):
    """Two rows, and for each several measures of the same run."""
    config = small_grid(seeds=(0,), **reproduced)
    config.reproduce.cells = tuple(
        {'row': row, 'column': column, 'overrides': overrides, **measure}
        for row, overrides in {'A': {'method': 'dss'}, 'B': {'method': 'mi'}}.items()
        for column, measure in MEASURES.items()
    )
    return config


def test_measures_of_rationales_are_of_the_same_runs(tmp_path, nothing_is_made):
    config = of_rationales()
    read = plan.read(config, tmp_path)
    for row in 'AB':
        folders = {plan.run_folder(read, read.at(row, column), 0) for column in MEASURES}
        assert len(folders) == 1  # one training for all columns
    greedy = [reading(True, True), reading(True, False, 20), reading(False, True, 30, False)]
    greedy.append(reading(False, False, 40, False))
    sampled = [reading(False), reading(False), reading(False), reading(True)]
    leave_run(
        plan.run_folder(read, read.at('A', 'label'), 0),
        ['x'] * 4,
        right=3,
        read={'rationale': greedy, 'rationale_t0.7': sampled},
    )
    cells = written(config, tmp_path)
    means = {column: float(cells['A', column]['mean']) for column in MEASURES}
    assert means == {
        'label': 75.0,
        'right': 50.0,
        'agree': 50.0,
        'unread': 25.0,
        'ended': 50.0,
        'tokens': 25.0,
        'sampled': 25.0,
    }
    assert all(cells['B', column]['note'] == 'not run' for column in MEASURES)


def test_rationales_are_compared_question_by_question(tmp_path, nothing_is_made):
    config = of_rationales(baseline='A')
    read = plan.read(config, tmp_path)
    # Labels agree everywhere; of 20 rationales B has 12 right that A has not.
    for row, first in (('A', 4), ('B', 16)):
        readings = [reading(place < first, place < 8) for place in range(20)]
        folder = plan.run_folder(read, read.at(row, 'label'), 0)
        leave_run(folder, ['x'] * 20, 10, {'rationale': readings, 'rationale_t0.7': readings})
    written(config, tmp_path)
    text = (tmp_path / 'report' / 'small.md').read_text()
    rows = [line.split(' | ') for line in text.splitlines() if line.startswith('| B | ')]
    tests = {row[1]: row for row in rows if len(row) > 10}
    # Exact McNemar of 12 to 0: 2 / 2**12 = 0.0005.
    assert tests['right'][2] == tests['sampled'][2] == '+60.0'
    assert tests['right'][5] == '&lt;0.001'
    assert tests['label'][2] == tests['agree'][2] == tests['ended'][2] == '0.0'
    assert not {'tokens', 'unread'} & tests.keys()  # fewer are no worse, or no questions
    assert text.count('no answers by question.') == 2


def test_questions_are_the_same_by_their_text_and_not_by_their_number(tmp_path, nothing_is_made):
    config = small_grid(seeds=(0,))
    for row in ('A', 'B'):
        leave(config, tmp_path, row, 'mwp', 0, ['x'] * 4, right=2)
    read = plan.read(config, tmp_path)
    path = plan.run_folder(read, read.at('B', 'mwp'), 0) / 'predictions.jsonl'
    records = [record for _, record in files.read_jsonl(path)]
    for number in (0, 1):  # two lines were put before the test questions of this run
        records[number]['input'] = 'Another?'
    files.write_jsonl(path, records)
    made = tables.compare(tabling.write(read)).of('B', 'mwp')
    assert (made.questions, made.left_out, made.difference) == (2, 4, 0.0)
    files.write_jsonl(path, [record | {'label': '( 0 )'} for record in records])
    compared = tables.compare(tabling.write(read))
    assert compared.not_made == ('B with A, mwp: no question in common.',)


def test_the_caption_names_every_batch_and_length(tmp_path):
    config = small_grid()
    steps = ({'train.steps': 2}, {'train.steps': 4, 'train.batch_size': 8})
    config.reproduce.cells = tuple(
        {'row': row, 'column': 'mwp', 'overrides': its}
        for row, its in zip('AB', steps, strict=True)
    )
    caption = tabling.write(plan.read(config, tmp_path)).caption
    assert f'2 steps, 4 steps of batch {config.train.batch_size}, 8; data' in caption


def test_runs_without_a_quality_of_rationales_are_shown(tmp_path, nothing_is_made):
    config = of_rationales(baseline='A')
    leave(config, tmp_path, 'A', 'label', 0, ['x'] * 4, right=2)  # from before they were read
    cells = written(config, tmp_path)
    assert cells['A', 'label']['mean'] == '50.0'
    assert {cells['A', column]['note'] for column in MEASURES if column != 'label'} == {'–'}
    assert cells['B', 'right']['note'] == 'not run'
    missing = (tmp_path / 'report' / 'small.md').read_text()
    assert 'A, right' not in missing


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
