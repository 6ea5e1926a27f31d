"""A grid pretrains one discriminator a seed, whatever its rows do to the student."""

from qcrd_jax import files, grid
from qcrd_jax.experiments import plan, running
from qcrd_jax.methods.table import METHODS
from qcrd_jax.runs import pretrained, pretraining_steps
from tests.support import REPOSITORY
from tests.support.runs import TIMINGS
from tests.support.small_grid import load_config, small_run
from tests.support.toy_student import use_toy_students

# As the tables vary it, in one grid.
ROWS = {
    'whole': {},
    'other': {
        'loss.scheme': 'mean',
        'negatives.source': 'fixed',
        'negatives.count': 2,
        'negatives.temperature': 0.7,
    },
}


def made(workdir, monkeypatch, **fields):
    """Runs the grid; returns the steps of all pretrainings, and what each run left."""
    config = small_run()
    config.update_from_flattened_dict(fields)
    config.train.shapes = 1
    config.reproduce.update(name='grid', seeds=(0, 1))
    config.reproduce.cells = grid.cells(ROWS, {'mwp': {}})
    steps, batch = [], pretraining_steps.batch

    def watched(streams, *args):
        steps.append(len(streams))
        return batch(streams, *args)

    monkeypatch.setattr(pretraining_steps, 'batch', watched)
    planned = plan.read(config, workdir)
    for failures in running.run(planned):
        assert not failures
    left = {}
    for cell in planned.asked:
        for seed in (0, 1):
            folder = plan.run_folder(planned, cell, seed)
            summary = files.read_json(folder / 'summary.json')
            lines = [record for _, record in files.read_jsonl(folder / 'metrics.jsonl')]
            left[cell.row, seed] = [
                {name: value for name, value in record.items() if name not in TIMINGS}
                for record in (summary, *lines)
            ]
    return steps, left


def test_each_seed_is_pretrained_once_and_no_number_changes(tmp_path, monkeypatch):
    use_toy_students(monkeypatch)
    monkeypatch.setattr(running, 'write_report', lambda workdir: None)
    with monkeypatch.context() as patch:
        once, left = made(tmp_path / 'once', patch)
    assert once == [2, 2]  # two steps, of both seeds
    fields = {'train.share_pretraining': False, 'reproduce.rows': ('other',)}
    with monkeypatch.context() as patch:
        each, expected = made(tmp_path / 'each', patch, **fields)
    assert each == [2, 2]
    assert {run: left[run] for run in expected} == expected
    aucs = {run: records[0]['discriminator_auc'] for run, records in left.items()}
    assert aucs['whole', 0] == aucs['other', 0] != aucs['whole', 1]


def test_the_tables_of_the_paper_share_theirs_but_for_the_number_of_samples():
    found = {}  # cells by what decides their pretraining
    for name in ('table4', 'table5', 'table6', 'table_a3', 'table_a6'):
        config = load_config(REPOSITORY / 'configs' / 'paper' / f'{name}.py')
        for cell in plan.read_cells(config):
            resolved = plan.resolve(config, cell)
            if METHODS[resolved.method].weighs(resolved):
                decides = {
                    field: value
                    for field, value in files.flatten(resolved.to_dict()).items()
                    if field in pretrained.FIELDS or field.partition('.')[0] in ('data', 'student')
                }
                found.setdefault(str(decides), []).append((name, cell.row))
    shared, *others = sorted(found.values(), key=len, reverse=True)
    assert len(shared) == 20
    assert {name for name, _ in shared} == {'table4', 'table5', 'table6', 'table_a3', 'table_a6'}
    assert sorted(others) == [[('table6', f'm = {samples}')] for samples in (1, 10, 20)]
