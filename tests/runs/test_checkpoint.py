"""Checkpoints: what comes back, and what is done about those that are damaged."""

import dataclasses
import json
import pathlib
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.ring import Ring
from qcrd_jax.runs.checkpoint import Checkpointer


def a_state(offset: int = 0) -> dict:
    """A state with the kinds of leaves that a run has, in different values at each step."""
    params = {
        'weight': jnp.arange(12, dtype=jnp.float32).reshape(3, 4) / 7 + offset,
        'half': (jnp.arange(5) / 3 + offset).astype(jnp.bfloat16),
    }
    return {
        'ring': Ring.create(params, 2).push(1, jax.tree.map(lambda leaf: -leaf, params)),
        'absent': None,
        'pair': (jnp.int32(offset), np.array([True, False])),
        'a/b c': {'count': jnp.array([offset], jnp.uint32)},
    }


def shaped(make):
    """What `restore` wants to know: the shapes of a state, whatever the metadata is."""
    return lambda _: jax.eval_shape(make)


def assert_same(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for got, wanted in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert got.dtype == wanted.dtype
        assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()


def save_steps(folder: pathlib.Path, *steps: int) -> None:
    with Checkpointer(folder) as checkpointer:
        for step in steps:
            checkpointer.save(step, a_state(step), {'step': step, 'score': step / 3})


def files_of(folder: pathlib.Path, step: int) -> list[pathlib.Path]:
    return sorted(path for path in (folder / str(step)).rglob('*') if path.is_file())


def largest_data_file(folder: pathlib.Path, step: int) -> pathlib.Path:
    files = [path for path in files_of(folder, step) if path.parent.name == 'd']
    return max(files, key=lambda path: path.stat().st_size)


def test_latest_state_comes_back_bit_for_bit_with_its_metadata(tmp_path):
    save_steps(tmp_path, 0, 5, 7)
    with Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(shaped(a_state))
        assert checkpointer.steps() == [5, 7]
    assert restored.step == 7
    assert restored.metadata == {'step': 7, 'score': 7 / 3}
    assert_same(restored.state, a_state(7))


def test_buffers_may_be_donated_once_save_has_returned(tmp_path):
    state = {'weight': jnp.arange(100_000, dtype=jnp.float32)}
    add = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(0, state, {})
        for _ in range(3):
            state = add(state)
        jax.block_until_ready(state)
    with Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(shaped(lambda: state))
    np.testing.assert_array_equal(restored.state['weight'], np.arange(100_000, dtype=np.float32))


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.restore(shaped(a_state)) is None


def flip_a_bit(folder):
    path = largest_data_file(folder, 7)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(folder):
    path = largest_data_file(folder, 7)
    path.write_bytes(path.read_bytes()[:-20])


def exchange_arrays(folder):
    # Whole to the file system and to Orbax; only the digests tell that the values are others.
    shutil.rmtree(folder / '7' / 'state')
    shutil.copytree(folder / '5' / 'state', folder / '7' / 'state')


def remove_data(folder):
    largest_data_file(folder, 7).unlink()


def remove_arrays(folder):
    shutil.rmtree(folder / '7' / 'state')


def remove_record(folder):
    shutil.rmtree(folder / '7' / 'record')


def change_record(folder):
    path = folder / '7' / 'record' / 'metadata'
    record = json.loads(path.read_text())
    record['metadata']['score'] = 2.5
    path.write_text(json.dumps(record))


def change_recorded_shape(folder):
    # Must count as damage: it is not the record that the run wrote.
    path = folder / '7' / 'record' / 'metadata'
    record = json.loads(path.read_text())
    next(iter(record['arrays'].values()))['shape'] = [99]
    path.write_text(json.dumps(record))


def rename_an_older_one(folder):
    shutil.rmtree(folder / '7')
    shutil.copytree(folder / '5', folder / '7')


@pytest.mark.parametrize(
    'damage',
    [
        rename_an_older_one,
        flip_a_bit,
        truncate,
        exchange_arrays,
        remove_data,
        remove_arrays,
        remove_record,
        change_record,
        change_recorded_shape,
    ],
)
def test_damage_falls_back_to_the_step_before_loudly_and_saving_goes_on(tmp_path, log, damage):
    folder = tmp_path / 'checkpoints'
    save_steps(folder, 5, 7)
    damage(folder)
    with Checkpointer(folder) as checkpointer:
        restored = checkpointer.restore(shaped(a_state))
        assert restored.step == 5
        assert restored.metadata['step'] == 5
        assert_same(restored.state, a_state(5))
        assert any('7 is damaged' in record.getMessage() for record in log.records)
        assert (tmp_path / 'checkpoints-damaged' / '7').is_dir()
        checkpointer.save(7, a_state(70), {'step': 7})
    with Checkpointer(folder) as checkpointer:
        assert_same(checkpointer.restore(shaped(a_state)).state, a_state(70))


def nested(offset):
    """A state of which one part is a tree of dicts, some of its leaves equal to others."""
    head = jnp.full((2, 2), offset)
    best = {'layer': {'weight': jnp.arange(6.0) + offset, 'scale': jnp.ones(3)}, 'head': head}
    return {'a': {'weight': jnp.arange(6.0) + offset}, 'best': best, 'large': jnp.zeros(4096)}


def test_a_part_comes_back_without_its_shape_being_known(tmp_path):
    folder = tmp_path / 'checkpoints'
    with Checkpointer(folder) as checkpointer:
        for step in (5, 7):
            checkpointer.save(step, nested(step), {'step': step})
    for step in (7, 5):
        with Checkpointer(folder) as checkpointer:
            restored = checkpointer.restore_part('best')
        assert (restored.step, restored.metadata) == (step, {'step': step})
        assert_same(restored.state, jax.tree.map(np.asarray, nested(step)['best']))
        if step == 7:  # is damaged where the part lies, and the one before it is taken
            truncate(folder)
    assert Checkpointer(tmp_path / 'none').restore_part('best') is None


def test_a_step_damaged_twice_keeps_both(tmp_path):
    folder = tmp_path / 'checkpoints'
    for _ in range(2):
        shutil.rmtree(folder, ignore_errors=True)
        save_steps(folder, 5, 7)
        truncate(folder)
        with Checkpointer(folder) as checkpointer:
            checkpointer.restore(shaped(a_state))
    aside = sorted(path.name for path in (tmp_path / 'checkpoints-damaged').iterdir())
    assert aside == ['7', '7-again']


def test_none_whole_is_an_error_that_names_every_step_and_touches_nothing(tmp_path):
    save_steps(tmp_path, 5, 7)
    truncate(tmp_path)
    shutil.rmtree(tmp_path / '5' / 'state')
    before = [path for step in (5, 7) for path in files_of(tmp_path, step)]
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(InputError, match=r'no checkpoint is whole.* 7 \(.*5 \('),
    ):
        checkpointer.restore(shaped(a_state))
    assert [path for step in (5, 7) for path in files_of(tmp_path, step)] == before


@pytest.mark.parametrize(
    ('change', 'leaf'),
    [
        (lambda state: state | {'pair': (jnp.zeros(3, jnp.int32), state['pair'][1])}, 'pair.0'),
        (lambda state: state | {'pair': (jnp.float32(0), state['pair'][1])}, 'pair.0'),
        (lambda state: state | {'absent': jnp.int32(0)}, 'absent'),
        (lambda state: state | {'ring': None}, r'ring.slots.half'),
    ],
)
def test_another_architecture_is_told_from_damage_and_names_the_leaf(tmp_path, change, leaf):
    save_steps(tmp_path, 7)
    with (
        Checkpointer(tmp_path) as checkpointer,
        pytest.raises(InputError, match=f'7: {leaf} is .* in the checkpoint, .* in this config'),
    ):
        checkpointer.restore(shaped(lambda: change(a_state())))
    assert (tmp_path / '7').is_dir()


def test_a_step_that_is_not_later_is_refused(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(5, a_state(5), {})
        with pytest.raises(InputError, match=r'step 5 was not saved.*\[5\]'):
            checkpointer.save(5, a_state(6), {})


@pytest.mark.parametrize('surfaces_in', ['save', 'close'])
def test_a_write_that_fails_in_the_background_surfaces(tmp_path, surfaces_in):
    rng = np.random.default_rng(0)  # noise: it must not be compressed below the limit
    state = {'weight': rng.standard_normal(2**20)}
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(0, {'weight': np.zeros(3)}, {})
    checkpointer.save(1, {'weight': np.zeros(3)}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**21, hard))  # as if the disk were full
    try:
        with pytest.raises(InputError, match='a checkpoint could not be written'):
            checkpointer.save(2, state, {})
            if surfaces_in == 'save':
                checkpointer.save(3, state, {})
            else:
                checkpointer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with Checkpointer(tmp_path) as again:
        assert again.steps() == [0, 1]
        assert again.restore(lambda _: {'weight': np.zeros(3)}).step == 1


def test_what_a_kill_left_of_a_save_is_cleaned_up(tmp_path):
    save_steps(tmp_path, 5)
    torn = tmp_path / '7.orbax-checkpoint-tmp'
    shutil.copytree(tmp_path / '5', torn)
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps() == [5]
        checkpointer.save(7, a_state(7), {})
    assert (tmp_path / '7').is_dir()
    assert not torn.exists()


def test_registered_dataclasses_keep_their_type(tmp_path):
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Pair:
        first: jax.Array
        second: jax.Array

    pair = Pair(jnp.arange(3), jnp.float32(2))
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(0, pair, {})
    with Checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(shaped(lambda: pair)).state
    assert isinstance(restored, Pair)
    assert restored.second == 2


def test_a_step_that_was_renamed_is_refused_by_the_name_that_it_had(tmp_path, log):
    folder = tmp_path / 'checkpoints'
    save_steps(folder, 5, 7)
    (folder / '7').rename(folder / '900')
    with Checkpointer(folder) as checkpointer:
        assert checkpointer.restore(shaped(a_state)).step == 5
    assert any(
        'checkpoint 900 is damaged (OSError: it is a copy of step 7)' in record.getMessage()
        for record in log.records
    )


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())


def test_equal_arrays_are_stored_once_and_come_back_in_every_place(tmp_path):
    noise = np.random.default_rng(0).standard_normal(2**17).astype(np.float32)  # half a megabyte
    ring = {
        'slots': [noise, noise.copy(), noise.copy()],
        'other shape': noise.reshape(2, -1),
        'other type': noise.view(np.int32),
        'zeros': [np.zeros(5, np.float32), np.zeros((5, 1), np.float32)],
    }
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(0, ring, {})
        checkpointer.wait()
        assert size_of(tmp_path / '0') < 3.3 * noise.nbytes  # three that differ, not five
        restored = checkpointer.restore(lambda _: ring).state
    assert_same(restored, ring)


def test_replacing_the_latest_leaves_only_that(tmp_path):
    save_steps(tmp_path / 'c', 5, 7)
    slim = {'weight': np.arange(3)}
    with Checkpointer(tmp_path / 'c') as checkpointer:
        checkpointer.replace(7, slim, {'slim': True})
        assert checkpointer.steps() == [7]
        restored = checkpointer.restore(lambda metadata: slim if metadata['slim'] else a_state())
        assert_same(restored.state, slim)
    assert [path.name for path in tmp_path.iterdir()] == ['c']


class Killed(BaseException):
    """What a test raises where a process is killed."""


@pytest.mark.parametrize('kill', range(4))
def test_a_kill_while_replacing_leaves_a_checkpoint_that_is_whole(tmp_path, monkeypatch, kill):
    folder, slim = tmp_path / 'c', {'weight': np.arange(3)}
    save_steps(folder, 5, 7)
    done = 0

    def killing(act):
        def run(*args, **kwargs):
            nonlocal done
            if done == kill:
                raise Killed
            done += 1
            return act(*args, **kwargs)

        return run

    checkpointer = Checkpointer(folder)
    with monkeypatch.context() as patch:
        # Each change that `replace` makes to the folder once the new checkpoint is written.
        patch.setattr(pathlib.Path, 'rename', killing(pathlib.Path.rename))
        patch.setattr(shutil, 'rmtree', killing(shutil.rmtree))
        with pytest.raises(Killed):
            checkpointer.replace(7, slim, {'slim': True})
    with Checkpointer(folder) as again:
        like = lambda metadata: slim if 'slim' in metadata else jax.eval_shape(a_state)  # noqa: E731
        restored = again.restore(like)
        assert restored.step == 7
        assert_same(restored.state, slim)
    assert [path.name for path in tmp_path.iterdir()] == ['c']
