"""Where a run's numbers come from: the command, the commit of the code, versions, devices.

They stand in `provenance.json`, once for each launch that differed from the one before it. Nothing
that trains imports this module, so that what it says changes no version of the code; there is no
time of day in it, so that a run that is made again leaves the same file.
"""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import jax

import qcrd_jax
from qcrd_jax import files
from qcrd_jax.errors import InputError
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.commands import without_secrets

NAME = 'provenance.json'

# How distributions are called, by what pages call them.
_PACKAGES = {
    'jax': 'jax',
    'jaxlib': 'jaxlib',
    'flax': 'flax',
    'optax': 'optax',
    'orbax': 'orbax-checkpoint',
    'transformers': 'transformers',
}
_CODE = ('qcrd_jax', 'run.py', 'configs')  # of a checkout: what a run depends on


def record(workdir: pathlib.Path, argv: Sequence[str] | None = None) -> None:
    """Writes what this launch is, where it is the first or differs from the one before it.

    Args:
      workdir: of the run, before it has trained; a run that has not saved anything begins anew.
      argv: the command; None: this process's.
    """
    launch = facts(sys.argv if argv is None else argv)
    launches = _recorded(workdir) if workdirs.started(workdir) else []
    if not launches or launches[-1] != launch:
        files.write_json(workdir / NAME, {'launches': [*launches, launch]})


def facts(argv: Sequence[str]) -> dict[str, Any]:
    """What a launch is, as JSON values.

    Args:
      argv: the command, as `sys.argv` has it.
    """
    device = jax.devices()[0]
    return {
        'command': without_secrets(argv),
        **commit(),
        'device': device.device_kind,
        'platform': device.platform,
        'devices': jax.device_count(),
        'versions': versions(),
    }


def commit(root: pathlib.Path | None = None) -> dict[str, Any]:
    """Returns the commit of the code and whether files were changed since; None where nobody knows.

    Args:
      root: the folder that holds the package; None: of this one. Where the package is no part of
        a checkout, as one that is installed, it has no commit.
    """
    root = root or pathlib.Path(qcrd_jax.__file__).parents[1]
    unknown = {'commit': None, 'changed': None}
    if _git(root, 'ls-files', '--error-unmatch', 'qcrd_jax/__init__.py') is None:
        return unknown
    head = _git(root, 'rev-parse', 'HEAD')
    changed = _git(root, 'status', '--porcelain', '--untracked-files=no', '--', *_CODE)
    if head is None or changed is None:
        return unknown
    return {'commit': head.strip(), 'changed': bool(changed.strip())}


def _git(root: pathlib.Path, *arguments: str) -> str | None:
    """What git says; None where it is not there, fails or takes too long."""
    # Where a hook of another repository runs us, its variables name that one.
    environ = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')}
    environ['GIT_OPTIONAL_LOCKS'] = '0'
    try:
        done = subprocess.run(
            ['git', '-C', str(root), *arguments],
            env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode('utf-8', 'replace')


def versions() -> dict[str, str | None]:
    """Returns the versions of Python and of the packages that compute; None: not installed."""
    found: dict[str, str | None] = {'python': platform.python_version()}
    for name, distribution in _PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return {**found, 'qcrd_jax': qcrd_jax.__version__}


def _recorded(workdir: pathlib.Path) -> list[Any]:
    """The launches so far; none where the file is missing or damaged."""
    try:
        there = files.read_json(workdir / NAME)
    except (InputError, OSError):
        return []
    launches = there.get('launches') if isinstance(there, dict) else None
    return launches if isinstance(launches, list) else []
