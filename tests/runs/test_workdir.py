"""A workdir: one writer, one configuration."""

import multiprocessing
import pathlib

import pytest

from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.runs import workdir as workdirs


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
            pytest.raises(InputError, match=f'another run is writing to {tmp_path}'),
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
