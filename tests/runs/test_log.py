"""The metrics of a run: written as they come, resumed, and added up."""

import hashlib
import json

from qcrd_jax.runs.log import Mark, MetricsLog, read, reopened
from qcrd_jax.runs.timing import total_seconds


def write_a_run(workdir) -> Mark:
    """Writes a log, and returns where it was at step 4."""
    with MetricsLog(workdir) as log:
        log.write('discriminator', 50, {'loss': 0.5})
        log.write('train', 2, {'loss': 1.0, 'score': float('nan')})
        log.write('train', 4, {'loss': 0.1 + 0.2})
        log.write('validation', 4, {'accuracy': 0.25, 'best': True})
        mark = log.mark(4)
        log.write('train', 6, {'loss': 3.0})
        log.write('test', 4, {'accuracy': 0.75})
    return mark


def resume(workdir, mark):
    with MetricsLog(workdir) as log:
        log.rewind(mark)


def lines(workdir):
    return (workdir / 'metrics.jsonl').read_text().splitlines()


def test_metrics_are_written_as_they_come_and_read_back(tmp_path):
    write_a_run(tmp_path)
    assert lines(tmp_path)[1] == '{"phase": "train", "step": 2, "loss": 1.0, "score": null}'
    assert [record['step'] for record in read(tmp_path, 'train')] == [2, 4, 6]


def test_a_mark_is_the_size_and_the_digest_of_what_is_before_it(tmp_path):
    mark = write_a_run(tmp_path)
    before = ''.join(f'{line}\n' for line in lines(tmp_path)[:4]).encode()
    assert mark == (4, len(before), hashlib.sha256(before).hexdigest())


def test_a_resumed_log_forgets_what_comes_after_and_keeps_the_rest_to_the_letter(tmp_path):
    mark = write_a_run(tmp_path)
    before = lines(tmp_path)
    with open(tmp_path / 'metrics.jsonl', 'a') as file:
        file.write('{"phase": "train", "st')  # torn by a kill
    with MetricsLog(tmp_path) as log:
        log.rewind(mark)
        log.write('train', 6, {'loss': 3.5})
        again = log.mark(6)
    assert lines(tmp_path) == [*before[:4], '{"phase": "train", "step": 6, "loss": 3.5}']
    whole = (tmp_path / 'metrics.jsonl').read_bytes()
    assert again == (6, len(whole), hashlib.sha256(whole).hexdigest())


def test_a_log_that_is_opened_again_goes_on_where_it_ends(tmp_path):
    write_a_run(tmp_path)
    before = lines(tmp_path)
    MetricsLog(tmp_path).close()
    assert lines(tmp_path) == before


def test_one_changed_digit_is_said_and_the_whole_file_set_aside(tmp_path, log):
    mark = write_a_run(tmp_path)
    path = tmp_path / 'metrics.jsonl'
    changed = path.read_bytes().replace(b'"loss": 1.0', b'"loss": 7.0')
    path.write_bytes(changed)
    resume(tmp_path, mark)
    assert 'metrics.jsonl is not what was written up to step 4' in log.text
    assert (tmp_path / 'metrics-damaged.jsonl').read_bytes() == changed
    assert [json.loads(line)['step'] for line in lines(tmp_path)] == [50, 2, 4, 4]
    path.write_bytes(b'[' * 100_000)
    resume(tmp_path, mark)
    assert lines(tmp_path) == []
    assert (tmp_path / 'metrics-damaged.jsonl').read_bytes() == changed  # not overwritten
    assert (tmp_path / 'metrics-damaged-again.jsonl').stat().st_size == 100_000


def test_a_resumed_log_says_which_line_was_damaged(tmp_path, log):
    mark = write_a_run(tmp_path)
    text = lines(tmp_path)
    text[1] = text[1][:20]
    (tmp_path / 'metrics.jsonl').write_text('\n'.join(text) + '\n')
    resume(tmp_path, mark)
    assert [json.loads(line)['step'] for line in lines(tmp_path)] == [50, 4, 4]
    assert 'metrics.jsonl, line 2 is damaged' in log.text


def test_a_test_that_is_logged_again_takes_the_place_of_the_first(tmp_path):
    write_a_run(tmp_path)
    before = lines(tmp_path)
    with reopened(tmp_path, 6) as log:
        log.write('test', 4, {'accuracy': 0.5})
    assert lines(tmp_path) == [*before[:5], '{"phase": "test", "step": 4, "accuracy": 0.5}']


def test_the_time_of_all_steps_is_added_up_window_by_window():
    assert total_seconds([]) is None
    # 5 steps of 2 s, 5 of 1 s, and 10 of 3 s of which the first line was lost.
    assert total_seconds([(5, 2.0), (10, 1.0), (20, 3.0)]) == 45.0


def test_a_log_that_is_gone_is_said_and_does_not_stop_a_run(tmp_path, log):
    mark = write_a_run(tmp_path)
    (tmp_path / 'metrics.jsonl').unlink()
    resume(tmp_path, mark)
    assert lines(tmp_path) == []
    assert 'metrics.jsonl: what was written up to step 4 is gone' in log.text
