"""The small files of a run: whole or not at all, one writer, one configuration."""

import json
import multiprocessing
import os
import pathlib

import pytest
from absl import logging as absl_logging

from qcrd_jax import files
from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.runs import log as metrics_log
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.log import MetricsLog


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'a.json'
    files.write_json(path, {'ä': 1})
    assert json.loads(path.read_text(encoding='utf-8')) == {'ä': 1}

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        files.write_json(path, {'b': 2})
    assert json.loads(path.read_text(encoding='utf-8')) == {'ä': 1}
    assert os.listdir(path.parent) == ['a.json']


def test_jsonl_comes_back_with_line_numbers_and_without_blank_lines(tmp_path):
    path = tmp_path / 'a.jsonl'
    files.write_jsonl(path, [{'text': 'one\ntwo\u2028three'}, {'n': 1.5}])
    path.write_text('\n' + path.read_text(encoding='utf-8') + '  \n', encoding='utf-8')
    assert list(files.read_jsonl(path)) == [(2, {'text': 'one\ntwo\u2028three'}), (3, {'n': 1.5})]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'{"a": 1}\n{"a": \n', 'a.jsonl, line 2: not valid JSON'),
        (b'{"a": 1}\n[1]\n', 'a.jsonl, line 2: expected a JSON object, got list'),
        (b'[' * 100_000, 'a.jsonl, line 1: not valid JSON'),
        (b'{"a": "\xff"}\n', 'a.jsonl: not UTF-8'),
        (None, 'a.jsonl: cannot be read'),
    ],
)
def test_bad_jsonl_names_file_and_line(tmp_path, content, message):
    path = tmp_path / 'a.jsonl'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(files.read_jsonl(path))


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


def write_a_run(workdir):
    with MetricsLog(workdir, resume_step=None) as log:
        log.write('discriminator', 50, {'loss': 0.5})
        log.write('train', 2, {'loss': 1.0, 'score': float('nan')})
        log.write('train', 4, {'loss': 0.1 + 0.2})
        log.write('validation', 4, {'accuracy': 0.25, 'best': True})
        log.write('train', 6, {'loss': 3.0})
        log.write('test', 4, {'accuracy': 0.75})


def lines(workdir):
    return (workdir / 'metrics.jsonl').read_text().splitlines()


def test_metrics_are_written_as_they_come_and_read_back(tmp_path):
    write_a_run(tmp_path)
    assert lines(tmp_path)[1] == '{"phase": "train", "step": 2, "loss": 1.0, "score": null}'
    assert [record['step'] for record in metrics_log.read(tmp_path, 'train')] == [2, 4, 6]


def test_a_resumed_log_forgets_what_comes_after_and_keeps_the_rest_to_the_letter(tmp_path):
    write_a_run(tmp_path)
    before = lines(tmp_path)
    with open(tmp_path / 'metrics.jsonl', 'a') as file:
        file.write('{"phase": "train", "st')  # torn by a kill
    with MetricsLog(tmp_path, resume_step=4) as log:
        log.write('train', 6, {'loss': 3.5})
    assert lines(tmp_path) == [*before[:4], '{"phase": "train", "step": 6, "loss": 3.5}']


def test_a_resumed_log_says_which_line_was_damaged(tmp_path, caplog):
    absl_logging.get_absl_logger().addHandler(caplog.handler)
    write_a_run(tmp_path)
    text = lines(tmp_path)
    text[1] = text[1][:20]
    (tmp_path / 'metrics.jsonl').write_text('\n'.join(text) + '\n')
    MetricsLog(tmp_path, resume_step=6).close()
    absl_logging.get_absl_logger().removeHandler(caplog.handler)
    assert [json.loads(line)['step'] for line in lines(tmp_path)] == [50, 4, 4, 6]
    assert 'metrics.jsonl, line 2 is damaged' in caplog.text


def test_the_time_of_all_steps_is_added_up_window_by_window():
    assert metrics_log.total_seconds([]) is None
    # 5 steps of 2 s, 5 of 1 s, and 10 of 3 s of which the first line was lost.
    assert metrics_log.total_seconds([(5, 2.0), (10, 1.0), (20, 3.0)]) == 45.0


def test_a_log_that_starts_anew_is_empty(tmp_path):
    write_a_run(tmp_path)
    MetricsLog(tmp_path, resume_step=None).close()
    assert lines(tmp_path) == []


def test_a_log_that_is_gone_does_not_stop_a_run(tmp_path):
    MetricsLog(tmp_path, resume_step=6).close()
    assert lines(tmp_path) == []
