"""The metrics of a run: written as they come, resumed, and added up."""

import json

from absl import logging as absl_logging

from qcrd_jax.runs.log import MetricsLog, read
from qcrd_jax.runs.timing import total_seconds


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
    assert [record['step'] for record in read(tmp_path, 'train')] == [2, 4, 6]


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
    assert total_seconds([]) is None
    # 5 steps of 2 s, 5 of 1 s, and 10 of 3 s of which the first line was lost.
    assert total_seconds([(5, 2.0), (10, 1.0), (20, 3.0)]) == 45.0


def test_a_log_that_starts_anew_is_empty(tmp_path):
    write_a_run(tmp_path)
    MetricsLog(tmp_path, resume_step=None).close()
    assert lines(tmp_path) == []


def test_a_log_that_is_gone_does_not_stop_a_run(tmp_path):
    MetricsLog(tmp_path, resume_step=6).close()
    assert lines(tmp_path) == []
