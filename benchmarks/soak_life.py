"""One episode of a soak: a run is disturbed, mended as its error lines say, and held to account."""

import dataclasses
import pathlib
import shutil
import signal
from collections.abc import Sequence

from benchmarks import soak_compare, soak_faults, soak_remedies
from benchmarks.soak_children import Child, Children, Ended
from benchmarks.soak_disk import Disk
from benchmarks.soak_faults import Damage, Episode

_ATTEMPTS = 6  # to end well, remedies between them
_SECONDS = 10.0  # within which, or one step, a signal ends a run
_STATUS = {'SIGKILL': 137, 'SIGTERM': 143, 'SIGINT': 130, 'SIGINT twice': 130}
_LARGEST_FILE = 2 * 2**20  # bytes, where no small disk can be mounted


@dataclasses.dataclass(frozen=True)
class Ground:
    """What every episode stands on.

    Attributes:
      children: start processes.
      reference: workdir of a run that nothing disturbed.
      stages: folder of workdirs, by the name of a stage.
      foreign: workdir of another run with the same shapes.
      longest_step: seconds of the longest step of the reference, compilation included.
    """

    children: Children
    reference: pathlib.Path
    stages: pathlib.Path
    foreign: pathlib.Path
    longest_step: float


class Life:
    """A run in one episode.

    Attributes:
      findings: what it did wrong.
      notes: what it did, a line each.
      loud: whether it said that something was damaged or missing.
      skipped: why the fault could not be tried; '' if it was.
    """

    def __init__(self, ground: Ground, episode: Episode, folder: pathlib.Path):
        """Copies the stage to a folder of the episode's own."""
        self.ground, self.episode, self.folder = ground, episode, folder
        self.rng = episode.rng
        self.findings: list[str] = []
        self.notes: list[str] = []
        self.loud, self.skipped = False, ''
        self.disk: Disk | None = None
        self.flags: list[str] = []
        self._damages: list[Damage] = []
        self._heard: list[str] = []
        self._newest = -1  # step of the newest checkpoint that may be resumed from
        if episode.kind in soak_faults.DISK:
            self.disk = Disk(folder / 'disk', 30 if episode.kind == 'disk of 30 MB' else 500)
        self.workdir = (self.disk.folder if self.disk else folder) / 'run'
        if episode.stage != 'none':
            shutil.copytree(ground.stages / episode.stage, self.workdir, symlinks=True)

    def close(self) -> None:
        """Lets go of the disk."""
        if self.disk:
            self.disk.close()

    def live(self) -> None:
        """Goes through the episode; findings and notes say how it went."""
        kind = self.episode.kind
        if kind == 'signal while importing':
            self._signal_while_importing()
        elif kind in soak_faults.SIGNALS:
            self._signals()
        elif kind in (*soak_faults.DAMAGES, *soak_faults.CHECKPOINTS):
            self._damage()
        elif kind in soak_faults.PLACES:
            self._displace()
        elif kind in soak_faults.DISK:
            self._disk()
        elif kind == 'two in a workdir':
            self._two_in_a_workdir()
        else:
            self._two_on_a_cache()
        if not self.skipped:
            self.settle()

    # --- Faults -----------------------------------------------------------------------------------

    def _signals(self) -> None:
        name = self.episode.kind
        number = signal.Signals[name.split()[0]]
        for moment, delay in self.episode.moments:
            before = self._log()
            child = self.ground.children.start(self.workdir, self.flags)
            if not child.until(moment, delay):
                self.notes.append(f'ended before {moment} + {delay:.2f} s')
                self._heed(child.wait(), before)
                continue
            child.send(number)
            if name == 'SIGINT twice':
                child.until('start', float(self.rng.random()))
                child.send(number)
            limit = _SECONDS + (0 if name == 'SIGINT twice' else self.ground.longest_step)
            self._heed_interrupted(child, name, limit, before)

    def _heed_interrupted(
        self, child: Child, name: str, limit: float, before: Sequence[str]
    ) -> None:
        sent = child.age
        ended = child.wait()
        took = ended.seconds - sent
        self.notes.append(f'{name}: status {ended.status} after {took:.1f} s')
        self._heed(ended, before)
        if ended.status not in (0, _STATUS[name]):
            self.findings.append(f'{name} ended with status {ended.status}, not {_STATUS[name]}')
        handled = name in ('SIGTERM', 'SIGINT') and ended.status
        if handled and not any('interrupt' in line for line in ended.err):
            self.findings.append(f'{name} ended it without a line')
        if took > limit:
            self.findings.append(f'{name} took {took:.1f} s, more than {limit:.1f}')
        if ended.status in (143, 130) and name != 'SIGINT twice':
            logged = [line for line in self._log() if '"train"' in line]
            steps = [int(line.split('"step": ')[1].split(',')[0]) for line in logged]
            self._newest = max([self._newest, *steps])

    def _signal_while_importing(self) -> None:
        ((_, delay),) = self.episode.moments
        name = str(self.rng.choice(['SIGKILL', 'SIGTERM', 'SIGINT']))
        child = self.ground.children.start(self.workdir, self.flags, afresh=True)
        if child.until('start', delay):
            child.send(signal.Signals[name])
        ended = child.wait()
        self.notes.append(f'{name} after {delay:.1f} s: status {ended.status}')
        if name != 'SIGKILL':
            self.findings += ended.faults()

    def _damage(self) -> None:
        kind = self.episode.kind
        steps = soak_faults.steps_of(self.workdir)
        if kind in soak_faults.DAMAGES:
            self._damages = soak_faults.damage_files(
                self.workdir, kind, self.episode.damages, self.rng
            )
        else:
            self._damages = soak_faults.damage_checkpoints(
                self.workdir, kind, self.rng, self.ground.foreign
            )
        self.notes += dict.fromkeys(damage.what for damage in self._damages)
        self._newest = max([*steps, -1])

    def _displace(self) -> None:
        kind, aside = self.episode.kind, self.folder / 'elsewhere' / 'run'
        self._newest = max([*soak_faults.steps_of(self.workdir), -1])
        if kind == 'file times ahead':
            soak_faults.set_times_ahead(self.workdir)
        elif kind == 'data deleted':
            shutil.rmtree(self.workdir / 'data')
        elif kind == 'folders of data swapped':
            self._damages = [soak_faults.swap_folders(self.workdir, self.rng)]
            self.notes.append(self._damages[0].what)
        else:
            aside.parent.mkdir()
            self.workdir.rename(aside)
            if kind == 'workdir moved':
                self.workdir = aside
            else:
                self.workdir.symlink_to(aside, target_is_directory=True)

    def _disk(self) -> None:
        assert self.disk is not None
        kind, before = self.episode.kind, self._log()
        if kind == 'disk is read-only':
            if not self.disk.mounted:
                self.skipped = 'no disk can be mounted here'
                return
            self.disk.set_writable(False)
            ended = self.ground.children.start(self.workdir, self.flags).wait()
            self.disk.set_writable(True)
        elif kind == 'disk of 30 MB' or not self.disk.mounted:
            largest = 0 if self.disk.mounted else _LARGEST_FILE
            ended = self.ground.children.start(
                self.workdir, self.flags, largest_file=largest
            ).wait()
            if largest:
                self.notes.append(f'no disk can be mounted here: files of {largest} bytes at most')
        else:
            ((moment, delay),) = self.episode.moments
            child = self.ground.children.start(self.workdir, self.flags)
            leave = int(self.rng.choice([0, 5000, 1_000_000, 20_000_000]))
            if child.until(moment, delay):
                self.disk.fill(leave)
            ended = child.wait()
            self.notes.append(f'{leave} bytes left')
        self.notes.append(f'status {ended.status}: {" ".join(ended.errors)}')
        if kind == 'disk is read-only' and not ended.status:
            self.findings.append('it ended with status 0 on a disk that nobody can write')
        if ended.status and not soak_remedies.offered(' '.join(ended.errors)):
            self.findings.append(f'the error line says nothing to do: {" ".join(ended.errors)}')
        self._heed(ended, before)
        self.disk.free()
        self.disk.resize(500)

    def _two_in_a_workdir(self) -> None:
        ((moment, delay),) = self.episode.moments
        before = self._log()
        first = self.ground.children.start(self.workdir, self.flags)
        running = first.until(moment, delay)
        second = self.ground.children.start(self.workdir, self.flags)
        refused = second.wait()
        running = running and first.running
        self.notes.append(f'second: status {refused.status}: {" ".join(refused.errors)}')
        self._heed(refused, None)
        self._heed(ended := first.wait(), before)
        if running and not refused.status:
            self.findings.append('two processes wrote to one workdir at the same time')
        if ended.status:
            self.findings.append(f'the first of two ended with status {ended.status}')

    def _two_on_a_cache(self) -> None:
        ((moment, delay),) = self.episode.moments
        # Each pretrains its own discriminator, so that both reach every stage.
        self.flags = [
            f'--config.data.cache={self.folder / "cache"}',
            '--config.train.share_pretraining=False',
        ]
        second = self.folder / 'second'
        children = [self.ground.children.start(each, self.flags) for each in (self.workdir, second)]
        if self.episode.kind == 'one of two on a cache killed' and children[0].until(moment, delay):
            children[0].send(signal.SIGKILL)
        ended = [child.wait() for child in children]
        self._heed(ended[0], None)
        self._heed(ended[1], None)
        self.notes.append(f'status {ended[0].status} and {ended[1].status}')
        if ended[1].status:
            self.findings.append('the second of two on a cache did not end well')
        else:
            found = soak_compare.differences(second, self.ground.reference)
            self.findings += [f'the second of two on a cache: {each}' for each in found]

    # --- The account ------------------------------------------------------------------------------

    def settle(self) -> None:
        """Runs to the end, does what error lines say, and compares with the reference."""
        heard: list[str] = []
        for attempt in range(_ATTEMPTS):
            before = self._log()
            ended = self.ground.children.start(self.workdir, self.flags).wait()
            heard += ended.err
            self._heed(ended, before)
            self.flags = [flag for flag in self.flags if 'restart' not in flag]
            if attempt == 0 or ended.resumed is not None:
                self._check_resumed(ended, heard)
            if not ended.status:
                break
            if not self._mend(ended):
                break
        else:
            self.findings.append(f'{_ATTEMPTS} attempts to mend it did not lead to a good end')
        if ended.status:
            return
        found = soak_compare.differences(self.workdir, self.ground.reference)
        for damage in self._damages:
            if damage.named(self._heard):
                self.loud = True
                if damage.path.name == 'metrics.jsonl':  # nobody can know what stood there
                    found = [each for each in found if not each.startswith(('metrics', 'report'))]
            elif not damage.healed(self.workdir) and (self.workdir / damage.path).exists():
                self.notes.append(f'not noticed: {damage.what}')
        self.findings += found

    def _check_resumed(self, ended: Ended, heard: Sequence[str]) -> None:
        """Whatever was lost of the way that had been gone must have been said."""
        said = any('checkpoint' in line or 'restart' in line for line in heard)
        if self._newest < 0 or ended.status or said:
            self._newest = -1 if said else self._newest
            return
        if ended.resumed is None:
            self.findings.append(f'it began anew without a word, after step {self._newest}')
        elif ended.resumed < self._newest:
            self.findings.append(
                f'it resumed from step {ended.resumed} without a word, after step {self._newest}'
            )
        self._newest = -1

    def _mend(self, ended: Ended) -> bool:
        """Does what the error line says; returns whether there was something to do."""
        line = ' '.join(ended.errors)
        self.notes.append(line)
        if self._damages or self.episode.kind in soak_faults.CHECKPOINTS:
            self.loud = True
        remedies = soak_remedies.offered(line)
        if not remedies:
            self.findings.append(f'the error line says nothing to do: {line or ended.err[-3:]}')
            return False
        remedy = remedies[int(self.rng.integers(len(remedies)))]
        if remedy.kind == 'again' and line in self.notes[:-1]:  # it was done, and did not help
            remedy = remedies[-1]
        self.notes.append(f'done: {remedy.kind} {remedy.path or ""}')
        if remedy.kind == 'restart':
            self.flags.append('--config.train.restart=True')
        elif remedy.kind == 'elsewhere':
            self.workdir = self.workdir.with_name(f'{self.workdir.name}-anew')
            self._newest = -1
        else:
            try:
                soak_remedies.apply(remedy, self.folder)
            except (OSError, ValueError) as error:
                self.findings.append(f'the error line cannot be followed ({error}): {line}')
                return False
        return True

    def _heed(self, ended: Ended, before: Sequence[str] | None) -> None:
        """Notes what a process said, and whether it ended as a process should."""
        self._heard += ended.err
        self.findings += ended.faults()
        if before is None:
            return
        after = self._log()
        for path in self.workdir.rglob('*metrics*.jsonl*'):  # what was set aside is not lost
            after += soak_compare.read_lines(path)
        lost = soak_compare.lost_lines(
            before, after, resumed=ended.resumed, pretraining=ended.resumed_pretraining
        )
        if lost:
            self.findings.append(f'metrics.jsonl lost {len(lost)} lines, {lost[0]} first')

    def _log(self) -> list[str]:
        return soak_compare.read_lines(self.workdir / 'metrics.jsonl')
