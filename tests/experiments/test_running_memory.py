"""Seeds that do not fit into memory together continue as fewer, from their checkpoints."""

import jax
import pytest

from qcrd_jax import modes
from qcrd_jax.errors import InputError
from qcrd_jax.experiments import running
from qcrd_jax.methods.compiled import Programs
from qcrd_jax.runs import loop
from tests.support.small_grid import small_grid, table
from tests.support.toy_student import use_toy_students


def limited_to(monkeypatch, most, after=1):
    """Programs of more seeds than `most` run out of memory in a later step."""
    tried, take = [], Programs.take

    def limited(self, progress, ready, key, *rest):
        seeds, step = 1 if key.ndim == 0 else len(key), int(progress.state.step)
        tried.append((seeds, step))
        if seeds > most and step >= after:
            raise jax.errors.JaxRuntimeError(
                'RESOURCE_EXHAUSTED: Out of memory while trying to allocate 135828668416 bytes.'
            )
        return take(self, progress, ready, key, *rest)

    monkeypatch.setattr(Programs, 'take', limited)
    return tried


def four_seeds(**reproduced):
    config = small_grid(rows=('A',), seeds=(0, 1, 2, 3), together=4, **reproduced)
    config.train.update(log_every=1, checkpoint_every=1, checkpoint_minutes=0.0)
    return config


@pytest.mark.parametrize(
    ('most', 'expected'),
    [
        (2, [(4, 0), (4, 1), (2, 1), (2, 1)]),
        (1, [(4, 0), (4, 1), (2, 1), (1, 1), (1, 1), (1, 1), (1, 1)]),
    ],
)
def test_a_group_that_does_not_fit_continues_as_fewer(
    tmp_path, monkeypatch, toys, caplog, most, expected
):
    tried = limited_to(monkeypatch, most)
    modes.run('reproduce', four_seeds(), tmp_path)
    assert tried == expected  # nobody takes the first step again
    assert table(tmp_path)['A', 'mwp']['seeds'] == '4'
    lines = [r.message for r in caplog.records if 'at once.' in r.message]
    assert len(lines) == {2: 1, 1: 2}[most]
    assert lines[0].startswith(
        'A, mwp: training: memory ran out (126.5 GiB asked for at once); lower --config.train.'
    )
    assert lines[0].endswith(' Now 2 at once.')


def test_what_the_failed_attempt_held_is_free_before_the_next(tmp_path, monkeypatch, toys):
    limited_to(monkeypatch, 2)
    train, live = loop.train, []

    def watched(runs):
        live.append(sum(array.nbytes for array in jax.live_arrays()))
        return train(runs)

    monkeypatch.setattr(loop, 'train', watched)
    modes.run('reproduce', four_seeds(), tmp_path)
    before, after, last = live
    assert after <= before + 1000
    assert last <= before + 1000


def test_one_seed_that_does_not_fit_fails_in_one_line(tmp_path, monkeypatch, toys):
    tried = limited_to(monkeypatch, 0)
    with pytest.raises(InputError, match=r'A, mwp: seed 0: training: memory ran out') as caught:
        modes.run('reproduce', four_seeds(), tmp_path)
    assert '\n' not in str(caught.value)
    assert tried == [(4, 0), (4, 1), (2, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
    # With more memory the same command resumes.
    monkeypatch.undo()
    use_toy_students(monkeypatch)
    tried = limited_to(monkeypatch, 4)
    modes.run('reproduce', four_seeds(), tmp_path)
    assert tried == [(4, 1)]
    assert table(tmp_path)['A', 'mwp']['seeds'] == '4'


def test_a_seed_that_was_finished_is_not_trained_again(tmp_path, monkeypatch, toys):
    finish, finished = running.results.finish, []

    def failing(run, position, **how):
        if len(finished) == 1:
            finished.append(None)
            raise MemoryError
        summary = finish(run, position, **how)
        finished.append(run.config.seed)
        return summary

    monkeypatch.setattr(running.results, 'finish', failing)
    modes.run('reproduce', four_seeds(), tmp_path)
    assert finished == [0, None, 1, 2, 3]


def test_without_a_number_the_compiled_program_decides(tmp_path, monkeypatch, toys):
    tried = limited_to(monkeypatch, 4)
    config = four_seeds()
    config.reproduce.together = 0
    fit = running.memory.seeds_that_fit

    def on_a_device_that_holds_three(run, limit):
        three = running.memory.needed(run, 3).total / running.memory._SHARE
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running.memory, 'free', lambda: int(1.1 * three))
            return fit(run, limit)

    monkeypatch.setattr(running.memory, 'seeds_that_fit', on_a_device_that_holds_three)
    modes.run('reproduce', config, tmp_path)
    assert [seeds for seeds, _ in tried] == [3, 3, 1, 1]
