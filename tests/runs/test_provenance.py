"""Where numbers come from: what is recorded of a launch, and that no secret is."""

import importlib.metadata
import platform
import subprocess

import jax
import pytest

import qcrd_jax
from qcrd_jax import files
from qcrd_jax.experiments import identity
from qcrd_jax.runs import provenance
from qcrd_jax.syntax import imported


def launches(workdir):
    return files.read_json(workdir / 'provenance.json')['launches']


def begin(workdir):
    (workdir / 'checkpoints' / '7').mkdir(parents=True)


def test_facts_are_what_packages_and_devices_say():
    facts = provenance.facts(['run.py'])
    assert facts['device'] == jax.devices()[0].device_kind
    assert facts['devices'] == len(jax.devices())
    expected = {
        name: importlib.metadata.version(name)
        for name in ('jax', 'jaxlib', 'flax', 'optax', 'transformers')
    }
    assert facts['versions'] == expected | {
        'python': platform.python_version(),
        'orbax': importlib.metadata.version('orbax-checkpoint'),
        'qcrd_jax': qcrd_jax.__version__,
    }


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setitem(provenance._PACKAGES, 'flax', 'no-such-distribution-of-anybody')
    assert provenance.versions()['flax'] is None


def test_a_launch_like_the_last_is_recorded_once(tmp_path):
    provenance.record(tmp_path, ['run.py', '--mode=train'])
    begin(tmp_path)
    before = (tmp_path / 'provenance.json').read_bytes()
    provenance.record(tmp_path, ['run.py', '--mode=train'])
    assert (tmp_path / 'provenance.json').read_bytes() == before
    provenance.record(tmp_path, ['run.py', '--heartbeat=9'])
    commands = [each['command'] for each in launches(tmp_path)]
    assert commands == ['python run.py --mode=train', 'python run.py --heartbeat=9']


def test_a_run_that_has_saved_nothing_begins_anew(tmp_path):
    provenance.record(tmp_path, ['run.py', '--seed=1'])
    provenance.record(tmp_path, ['run.py', '--seed=2'])
    assert [each['command'] for each in launches(tmp_path)] == ['python run.py --seed=2']


@pytest.mark.parametrize('content', ['', '[1]', '{"launches": 3}', '{"launches": [null]}', '{'])
def test_a_damaged_record_stops_no_run(tmp_path, content):
    begin(tmp_path)
    (tmp_path / 'provenance.json').write_text(content)
    provenance.record(tmp_path, ['run.py'])
    assert launches(tmp_path)[-1]['command'] == 'python run.py'


def git(folder, *arguments):
    who = ('-c', 'user.name=a', '-c', 'user.email=a@example.org')
    command = ['git', '-C', str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    (tmp_path / 'qcrd_jax').mkdir()
    (tmp_path / 'qcrd_jax' / '__init__.py').write_text('')
    assert provenance.commit(tmp_path) == {'commit': None, 'changed': None}
    git(tmp_path, 'init', '-q')
    # A repository that does not hold the package, such as one around an environment.
    assert provenance.commit(tmp_path) == {'commit': None, 'changed': None}
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-qm', 'first')
    head = git(tmp_path, 'rev-parse', 'HEAD')
    (tmp_path / 'notes.txt').write_text('untracked')
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'elsewhere'))
    assert provenance.commit(tmp_path) == {'commit': head, 'changed': False}
    (tmp_path / 'qcrd_jax' / '__init__.py').write_text('changed = 1')
    assert provenance.commit(tmp_path) == {'commit': head, 'changed': True}


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert provenance.commit() == {'commit': None, 'changed': None}


def test_what_is_said_of_a_launch_is_no_part_of_the_code_that_trains():
    assert 'qcrd_jax.runs.provenance' not in imported(identity.RUNNING)
