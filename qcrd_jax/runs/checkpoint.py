"""Checkpoints through Orbax: all that a run needs to resume bit for bit, and proof it is whole.

Orbax commits a step atomically, so a kill in the middle of a save leaves the last step as it was.
It does not notice flipped bits, and it may list a step whose files are gone. So each step carries
SHA-256 digests of its arrays and of its record, which names its step; `restore` verifies them,
falls back step by step with a loud line in the log, moves what is damaged aside, and never starts
again from nothing by itself. Arrays of the same digest are stored once: the student that validation
chose may well be the latest one.
"""

import concurrent.futures
import contextlib
import functools
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

from qcrd_jax import processes
from qcrd_jax.errors import InputError, reason
from qcrd_jax.runs import digests, hushing
from qcrd_jax.runs.digests import Arrays, distinct, named_leaves


class UnreadableError(InputError):
    """There was a run, and no checkpoint of it can be read."""


class Restored(NamedTuple):
    """A checkpoint that passed verification."""

    step: int
    state: Any  # shaped like what was asked for
    metadata: dict[str, Any]


class Checkpointer:
    """The checkpoints of one run, in one folder; the latest two are kept.

    Saving happens in the background, digests and all; only the copy of the arrays to the host does
    not. Leave through `close` (or a `with` block), or lose the save.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2):
        hushing.hush_threads()
        self._folder = pathlib.Path(folder).resolve()
        self._keep = keep
        _finish_replacing(self._folder)
        self._manager = self._open()
        self._save: concurrent.futures.Future[None] | None = None  # that is in flight

    def __enter__(self) -> 'Checkpointer':
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Waits for the save in flight.

        Raises:
          InputError: if it failed.
        """
        try:
            self.wait()
        finally:
            with self._writing():
                self._manager.close()

    def wait(self) -> None:
        """Waits for the save in flight, so that what follows may rely on it.

        Raises:
          InputError: if it failed.
        """
        save, self._save = self._save, None
        if save is not None:
            with self._writing():
                save.result()
        if processes.several():
            with self._writing():
                self._manager.wait_until_finished()

    def steps(self) -> list[int]:
        """The steps that are committed, ascending, once the save in flight is."""
        self.wait()
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, metadata: dict[str, Any]) -> None:
        """Starts saving; what an earlier save did wrong surfaces here.

        Args:
          step: larger than any step saved before.
          state: a pytree of arrays. Its buffers may be donated once this has returned.
          metadata: JSON values.

        Raises:
          InputError: if this save could not start, or an earlier one failed (a full disk, say).
        """
        there = self.steps()
        if there and step <= there[-1]:
            raise InputError(
                f'{self._folder}: step {step} was not saved, for it is not later than those that '
                f'are there ({there}); use another --workdir.'
            )
        if processes.several():
            with self._writing():
                self._write_parts(step, named_leaves(state), metadata)
            return
        copies = {name: np.array(leaf) for name, leaf in named_leaves(state).items()}
        self._save = _writer().submit(self._write, step, copies, metadata)

    def _write(self, step: int, leaves: Arrays, metadata: dict[str, Any]) -> None:
        """Writes a checkpoint, and waits until it is committed."""
        arrays, described = distinct(leaves)
        self._hand_over(step, arrays, described, metadata)
        self._manager.wait_until_finished()

    def _write_parts(self, step: int, leaves: Arrays, metadata: dict[str, Any]) -> None:
        """Starts writing what is spread over several processes: each writes its part."""
        # Copies, for steps donate what is saved before it is written.
        copies = {
            name: jnp.copy(leaf) if isinstance(leaf, jax.Array) else np.array(leaf)
            for name, leaf in leaves.items()
        }
        self._hand_over(step, *distinct(copies, spread=True), metadata)

    def _hand_over(
        self, step: int, arrays: Arrays, described: dict[str, Any], metadata: dict[str, Any]
    ) -> None:
        record = {'step': step, 'metadata': metadata, 'arrays': described}
        record['sha256'] = digests.of_record(record)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(record)
        )
        if not self._manager.save(step, args=items):
            raise OSError(f'Orbax passed over step {step}')

    def replace(self, step: int, state: Any, metadata: dict[str, Any]) -> None:
        """Saves another checkpoint in the place of the latest one, and removes those before it.

        Whenever this is killed, one of the checkpoints is there and whole.

        Args, Raises: those of `save`; `step` is that of the latest checkpoint.
        """
        self.wait()
        with Checkpointer(_aside(self._folder)) as checkpointer:
            checkpointer.save(step, state, metadata)
        self._manager.close()
        with self._writing():
            _finish_replacing(self._folder)
        self._manager = self._open()

    def restore(self, like: Callable[[dict[str, Any]], Any]) -> Restored | None:
        """Returns the latest checkpoint that is whole, or None if the folder has none at all.

        Args:
          like: returns, for the metadata of a checkpoint, a pytree of arrays or
            `jax.ShapeDtypeStruct` in the shape of what was saved; where these have a sharding, that
            is where the arrays are restored to. Leaves that were equal may share a buffer in what
            comes back.

        Raises:
          UnreadableError: if there are checkpoints and none is whole.
          InputError: if they hold other arrays.
        """

        def read(step: int, record: dict[str, Any]) -> Any:
            wanted = like(record['metadata'])
            _check_same_arrays(self._folder / str(step), record['arrays'], wanted)
            return self._read_arrays(step, record['arrays'], wanted)

        return self._latest(read)

    def restore_part(self, name: str) -> Restored | None:
        """Returns one entry of the state, a tree of dicts, of the latest checkpoint that is whole.

        Whoever asks need not know the shape of anything. Only what is read is verified.

        Args:
          name: of the entry.

        Raises:
          UnreadableError: if there are checkpoints and none is whole.
        """

        def read(step: int, record: dict[str, Any]) -> Any:
            described = record['arrays']
            like: dict[str, Any] = {}
            for leaf, entry in described.items():
                root, _, rest = leaf.partition('.')
                if root != name:
                    continue
                *groups, last = rest.split('.')
                inner = like
                for group in groups:
                    inner = inner.setdefault(group, {})
                inner[last] = jax.ShapeDtypeStruct(entry['shape'], jnp.dtype(entry['dtype']))
            return self._read_arrays(step, described, {name: like})[name]

        return self._latest(read)

    def _latest(self, read: Callable[[int, dict[str, Any]], Any]) -> Restored | None:
        """Returns what is read of the latest checkpoint that is whole, by its step and record."""
        steps = self.steps()[::-1]
        damaged = {}
        for step in steps:
            try:
                record = self._read_record(step)
                restored = read(step, record)
            except InputError:
                raise
            except Exception as error:  # whatever Orbax makes of missing or mangled files
                damaged[step] = reason(error)
            if not processes.of_all(step not in damaged):
                damaged.setdefault(step, 'another process could not read it')
                logging.error(
                    '%s: checkpoint %d is damaged (%s); trying the one before it.',
                    self._folder,
                    step,
                    damaged[step],
                )
                continue
            self._set_aside(damaged)
            return Restored(step, restored, record['metadata'])
        if damaged:
            raise UnreadableError(
                f'{self._folder}: no checkpoint is whole; step(s) '
                + '; '.join(f'{step} ({why})' for step, why in damaged.items())
                + '. Restore the folder from a backup; or start anew by '
                '--config.train.restart=True, which sets aside what is there; or use another '
                '--workdir.'
            )
        return None

    def metadata(self) -> dict[str, Any] | None:
        """Returns the metadata of the latest checkpoint whose record is whole; None without one."""
        for step in self.steps()[::-1]:
            with contextlib.suppress(Exception):  # whatever Orbax makes of mangled files
                return self._read_record(step)['metadata']
        return None

    def check(self, step: int) -> None:
        """Reads a checkpoint as `restore` does.

        Raises:
          Exception: of any type, if it is not whole.
        """
        described = self._read_record(step)['arrays']
        arrays = {
            name: jax.ShapeDtypeStruct(entry['shape'], jnp.dtype(entry['dtype']))
            for name, entry in described.items()
        }
        self._read_arrays(step, described, arrays)

    def _open(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.LatestN(self._keep),
                cleanup_tmp_directories=True,  # what a kill left; nobody else writes here
            ),
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises what the file system raised, of any type
            raise InputError(
                f'{self._folder}: a checkpoint could not be written ({reason(error)}); free '
                'space or mend the file system, and run the same command again.'
            ) from error

    def _read_record(self, step: int) -> dict[str, Any]:
        items = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))
        record = items['record']
        if record.get('sha256') != digests.of_record(record):
            raise OSError('its record is not what was saved')
        if 'step' not in record:
            raise InputError(
                f'{self._folder / str(step)}: was written by an earlier version of this program, '
                'from which this one cannot resume; use that version, or another --workdir.'
            )
        if record['step'] != step:
            raise OSError(f'it is a copy of step {record["step"]}')
        return record

    def _read_arrays(self, step: int, described: dict[str, Any], like: Any) -> Any:
        leaves = named_leaves(like)
        target = {
            described[name]['stored']: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=_where(leaf, described[name])
            )
            for name, leaf in leaves.items()
        }
        wanted = ocp.args.StandardRestore(target)
        if leaves.keys() != described.keys():
            how = ocp.checkpoint_utils.construct_restore_args(target)
            wanted = ocp.args.PyTreeRestore(target, restore_args=how, partial_restore=True)
        items = self._manager.restore(step, args=ocp.args.Composite(state=wanted))
        arrays = items['state']
        for name, array in arrays.items():
            entry = described[name]
            if digests.describe(array, spread='sums' in entry) | {'stored': name} != entry:
                raise OSError(f'the digest of {name} is not that of what was saved')
        treedef = jax.tree.structure(like)
        return jax.tree.unflatten(treedef, [arrays[described[name]['stored']] for name in leaves])

    def _set_aside(self, damaged: dict[int, str]) -> None:
        """Moves damaged steps out of the way of the steps that will be saved again."""
        if not damaged:
            return
        self._manager.close()
        for step in damaged if processes.is_first() else ():
            aside = self._folder.with_name(f'{self._folder.name}-damaged') / str(step)
            aside.parent.mkdir(exist_ok=True)
            while aside.exists():
                aside = aside.with_name(f'{aside.name}-again')
            shutil.move(self._folder / str(step), aside)
            logging.error('%s: the damaged checkpoint was moved to %s.', self._folder, aside)
        processes.of_all(True)  # the others wait
        self._manager = self._open()


@functools.cache
def _writer() -> concurrent.futures.ThreadPoolExecutor:
    """Writes the checkpoints of all runs, one after another: Orbax mixes up saves at a time."""
    return concurrent.futures.ThreadPoolExecutor(1, 'checkpoint')


def _aside(folder: pathlib.Path) -> pathlib.Path:
    """Where a checkpoint is written that is to replace another."""
    return folder.with_name(f'.{folder.name}.replacing')


def _finish_replacing(folder: pathlib.Path) -> None:
    """Puts a whole checkpoint that waits to replace another in its place; also after a kill."""
    aside = _aside(folder)
    if not processes.of_any(aside.is_dir()):
        return
    with Checkpointer(aside) as checkpointer:
        steps, why = checkpointer.steps(), ''
        try:
            for step in steps:
                checkpointer.check(step)
        except Exception as error:  # of any type; the others stay, and it is made again
            why = reason(error)
            logging.error('%s is damaged (%s) and is removed.', aside, why)
    whole = processes.of_all(not why)
    processes.by_first(_put_in_place, folder, steps if whole else [])


def _put_in_place(folder: pathlib.Path, steps: Sequence[int]) -> None:
    """Puts the checkpoint aside in the place of all others, if it is whole; else removes it."""
    aside = _aside(folder)
    for step in steps:
        place = folder / str(step)
        if place.exists():
            shutil.rmtree(place)
        (aside / str(step)).rename(place)
        for path in folder.iterdir():
            if path.is_dir() and path != place:
                shutil.rmtree(path)
    shutil.rmtree(aside)


def _where(leaf: Any, entry: dict[str, Any]) -> jax.sharding.Sharding | None:
    """Where an array is restored to; Orbax asks that of what several processes wrote."""
    sharding = getattr(leaf, 'sharding', None)
    if sharding is None and 'sums' in entry:
        return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return sharding


def _check_same_arrays(where: pathlib.Path, described: dict[str, Any], like: Any) -> None:
    """Distinguishes another architecture or method from damage."""
    expected = {
        name: (list(leaf.shape), str(leaf.dtype)) for name, leaf in named_leaves(like).items()
    }
    saved = {name: (entry['shape'], entry['dtype']) for name, entry in described.items()}
    for name in sorted(expected.keys() | saved.keys()):
        if expected.get(name) != saved.get(name):
            raise InputError(
                f'{where}: {name} is {saved.get(name, "missing")} in the checkpoint, '
                f'{expected.get(name, "missing")} in this configuration; use the configuration '
                'that made it, or another --workdir.'
            )
