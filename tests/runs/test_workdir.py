"""A workdir: one writer, one configuration."""

import json
import multiprocessing
import pathlib

import numpy as np
import pytest

from qcrd_jax import sums
from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.checkpoint import Checkpointer


def _hold(workdir, held, release):
    with workdirs.locked(workdir):
        held.set()
        release.wait(30)


def test_a_workdir_has_one_writer_and_a_kill_lets_go(tmp_path):
    context = multiprocessing.get_context('spawn')
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    try:
        assert held.wait(60)
        with (
            pytest.raises(
                InputError,
                match=rf'another run \(process {process.pid} on host .*, since 2.*\) is writing to '
                f'{tmp_path}',
            ),
            workdirs.locked(tmp_path),
        ):
            pass
    finally:
        process.kill()
        process.join()
    with workdirs.locked(tmp_path):
        pass


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    path = tmp_path / 'file'
    path.write_text('mine')
    with (
        pytest.raises(InputError, match=r'--workdir: .*file cannot be written'),
        workdirs.locked(path),
    ):
        pass
    assert path.read_text() == 'mine'


def _with_checkpoint(workdir: pathlib.Path) -> pathlib.Path:
    (workdirs.checkpoints(workdir) / '0').mkdir(parents=True)
    return workdir


def test_a_run_keeps_its_configuration_once_it_has_a_checkpoint(tmp_path):
    config = base_config()
    workdirs.claim(tmp_path, config)
    config.data.source = 'elsewhere'  # a first attempt went wrong: nothing is lost yet
    workdirs.claim(tmp_path, config)
    _with_checkpoint(tmp_path)
    workdirs.claim(tmp_path, config)
    before = (tmp_path / 'config.json').read_bytes()

    config.loss.margin = 2.0
    config.data.prefixes = ('p: ', 'e: ')
    with pytest.raises(InputError) as caught:
        workdirs.claim(tmp_path, config)
    message = str(caught.value)
    assert 'loss.margin (there 3.0, here 2.0)' in message
    assert 'data.prefixes' in message
    assert 'alpha_pred' not in message
    assert (tmp_path / 'config.json').read_bytes() == before


def test_a_damaged_config_json_beside_checkpoints_is_an_error(tmp_path):
    _with_checkpoint(tmp_path)
    (tmp_path / 'config.json').write_text('{"seed":')
    with pytest.raises(InputError, match=r'config\.json: cannot be read as JSON'):
        workdirs.claim(tmp_path, base_config())


def bare_config(**train):
    config = base_config()
    config.train.update(**train)
    return config


def names_in(folder):
    return {path.name for path in folder.iterdir()}


LEFT = {
    'metrics.jsonl': '{"phase": "train", "step": 2}\n',
    'summary.json': '{}',
    'predictions.jsonl': '{}\n',
    'checkpoints/7.orbax-checkpoint-tmp/half': 'a',
    'checkpoints-damaged/7/whole': 'a',
    'pretraining/3.orbax-checkpoint-tmp/half': 'a',
    'hf/model.safetensors': 'a',
}


def leave(workdir, name):
    path = workdir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(LEFT[name])


@pytest.mark.parametrize('name', LEFT)
def test_what_is_left_of_a_run_without_a_checkpoint_is_no_fresh_workdir(tmp_path, name):
    leave(tmp_path, name)
    (tmp_path / 'config.json').write_text('{"mine": 1}')
    with pytest.raises(InputError) as caught:
        workdirs.claim(tmp_path, bare_config())
    message = str(caught.value)
    assert f'holds {name.partition("/")[0]} of a run, but no checkpoint' in message
    assert '--config.train.restart=True' in message
    assert (tmp_path / name).read_text() == LEFT[name]
    assert (tmp_path / 'config.json').read_text() == '{"mine": 1}'


def test_a_restart_sets_aside_what_is_left_and_removes_nothing(tmp_path):
    for attempt in (1, 2):
        for name in LEFT:
            leave(tmp_path, name)
        (tmp_path / 'data').mkdir(exist_ok=True)
        (tmp_path / 'notes.txt').write_text('of the user')
        sums.write(tmp_path, ['summary.json', 'notes.txt'])
        workdirs.claim(tmp_path, bare_config(restart=True))
        aside = tmp_path / f'previous-{attempt}'
        for name, text in LEFT.items():
            assert (aside / name).read_text() == text
        assert sums.read(aside).keys() == {'summary.json'}
        assert sums.read(tmp_path).keys() == {'notes.txt'}
        kept = {'data', 'notes.txt', 'config.json', sums.NAME}
        kept |= {f'previous-{n + 1}' for n in range(attempt)}
        assert names_in(tmp_path) == kept
    # A checkpoint is resumed, whatever is asked for.
    _with_checkpoint(tmp_path)
    leave(tmp_path, 'metrics.jsonl')
    workdirs.claim(tmp_path, bare_config(restart=True))
    assert (tmp_path / 'metrics.jsonl').exists()


def test_a_run_that_was_killed_before_it_had_anything_starts_like_a_new_one(tmp_path):
    workdirs.claim(tmp_path, bare_config())
    for name in ('checkpoints', 'pretraining'):
        (tmp_path / name / '0.orbax-checkpoint-tmp' / 'state').mkdir(parents=True)
    (tmp_path / 'metrics.jsonl').touch()
    (tmp_path / 'report').mkdir()
    workdirs.claim(tmp_path, bare_config())
    assert not workdirs.started(tmp_path)


def test_holding_a_folder_removes_what_killed_processes_left_half_written(tmp_path):
    half = (tmp_path / '.summary.json.123.tmp', tmp_path / 'report' / '.index.html.45.tmp')
    (tmp_path / '.hf.123.tmp' / 'inner').mkdir(parents=True)
    (tmp_path / 'report').mkdir()
    kept = (tmp_path / 'summary.json', tmp_path / '.hidden', tmp_path / 'mine.tmp')
    for path in (*half, *kept):
        path.write_text('x')
    with workdirs.locked(tmp_path):
        pass
    assert names_in(tmp_path) == {'report', '.lock', *(path.name for path in kept)}
    assert names_in(tmp_path / 'report') == set()


def test_a_lost_config_json_is_written_again_where_the_checkpoints_know_it(tmp_path):
    config = bare_config()
    workdirs.claim(tmp_path, config)
    before = (tmp_path / 'config.json').read_bytes()
    with Checkpointer(workdirs.checkpoints(tmp_path)) as checkpointer:
        checkpointer.save(0, {'weight': np.arange(3)}, {'config': workdirs.digest(config)})
    for damage in ('{"seed":', '[' * 100_000, ''):
        (tmp_path / 'config.json').write_text(damage)
        other = bare_config()
        other.seed = 1
        with pytest.raises(InputError, match='are of another configuration than this one'):
            workdirs.claim(tmp_path, other)
        assert (tmp_path / 'config.json').read_text() == damage
        config.data.cache = 'elsewhere'  # binds nobody
        workdirs.claim(tmp_path, config)
        config.data.cache = ''
    workdirs.claim(tmp_path, config)
    (tmp_path / 'config.json').unlink()
    workdirs.claim(tmp_path, config)
    assert (tmp_path / 'config.json').read_bytes() == before


def test_a_path_is_the_same_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / 'models' / 'student').mkdir(parents=True)
    config = base_config()
    config.student.pretrained = 'models/student'
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'student').mkdir()
    fresh = tmp_path / 'fresh'
    workdirs.claim(fresh, config)
    written = (fresh / 'config.json').read_text()
    whole = str(tmp_path / 'models' / 'student')
    assert json.loads(written)['student']['pretrained'] == whole
    # The discriminator that begins as the student is no folder, though there is one of the name.
    assert json.loads(written)['discriminator']['pretrained'] == 'student'
    _with_checkpoint(fresh)
    before = workdirs.digest(config)
    workdirs.claim(fresh, config)
    monkeypatch.chdir(tmp_path / 'models')
    config.student.pretrained = whole
    workdirs.claim(fresh, config)
    workdirs.join(fresh, config)
    assert workdirs.digest(config) == before
    config.student.pretrained = 'models/student'  # which is not there, from here
    for ask in (workdirs.claim, workdirs.join):
        with pytest.raises(InputError, match=r"student.pretrained \(there '/.*, here 'models/stud"):
            ask(fresh, config)
    assert (fresh / 'config.json').read_text() == written


@pytest.mark.parametrize(
    ('name', 'value', 'free'),
    [
        ('data.source', 'elsewhere', True),  # the data itself is compared
        ('data.teacher_samples', 'elsewhere', True),
        ('evaluation.together', 3, True),
        ('evaluation.temperatures', (2.0,), True),
        ('train.wandb', 'mine', True),
        ('teacher.model', 'another', True),
        ('evaluation.max_length', 9, False),  # which validation selects by
        ('train.patience', 2, False),
        ('data.leaks', 'drop', False),
    ],
)
def test_what_a_run_is_bound_to(tmp_path, name, value, free):
    config = base_config()
    workdirs.claim(tmp_path, config)
    _with_checkpoint(tmp_path)
    before = workdirs.digest(config)
    config.update_from_flattened_dict({name: value})
    assert (workdirs.digest(config) == before) == free
    for ask in (workdirs.claim, workdirs.join):
        if free:
            ask(tmp_path, config)
        else:
            with pytest.raises(InputError, match=rf'{name} \(there .*Leave out --config'):
                ask(tmp_path, config)


def test_steps_that_follow_from_epochs_bind_nothing(tmp_path):
    config = base_config()
    config.train.epochs = 2.0
    workdirs.claim(tmp_path, config)
    _with_checkpoint(tmp_path)
    before = workdirs.digest(config)
    config.train.steps = 77  # as a run resolves them
    workdirs.claim(tmp_path, config)
    assert workdirs.digest(config) == before
