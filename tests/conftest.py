"""Shared set-up: annotations are checked while the tests run, and compilation is quick."""

import gc
import os
import pathlib

import jaxtyping
import pytest
from absl import logging as absl_logging
from beartype.claw import beartype_packages

from tests.support import REPOSITORY, quick

# Those that are set already come last, and hold.
os.environ['XLA_FLAGS'] = f'{quick.XLA_FLAGS} {os.environ.get("XLA_FLAGS", "")}'.strip()

# The objects of traced programs are many and stay: to look through them again and again took a
# tenth of the tests' time.
gc.set_threshold(100_000, 50, 100)

# A program is compiled by the first worker, process or suite that meets it; the rest find it.
# (`pytest --cache-clear` empties the folder.)
_KEPT = {
    'JAX_COMPILATION_CACHE_DIR': REPOSITORY / '.pytest_cache/d/compiled',
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': 0,
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': 0,
}
for _name, _value in _KEPT.items():
    os.environ.setdefault(_name, str(_value))


def _annotates_shapes(room: pathlib.Path) -> bool:
    files = room.rglob('*.py') if room.is_dir() else [room]
    return any('jaxtyping import' in path.read_text() for path in files)


# Calls are checked against their annotations: by jaxtyping, which takes its time at every call,
# where there are shapes, elsewhere by beartype alone.
_SHAPED = {
    f'qcrd_jax.{room.stem}': _annotates_shapes(room)
    for room in sorted((REPOSITORY / 'qcrd_jax').iterdir())
    if room.suffix in ('', '.py') and not room.stem.startswith('__')
}
jaxtyping.install_import_hook(
    [name for name, shaped in _SHAPED.items() if shaped], 'beartype.beartype'
).__enter__()
beartype_packages([name for name, shaped in _SHAPED.items() if not shaped])

# Doctests are collected from every file, and these need PyTorch to be imported at all.
collect_ignore = [
    'golden/make_t5_golden.py',
    'golden/make_decoder_golden.py',
    'support/t5_reference.py',
    'support/decoder_reference.py',
]


# Needs eight devices; `tests/test_placement.py` runs it where there are.
if 'device_count=8' not in os.environ['XLA_FLAGS']:
    collect_ignore.append('support/on_meshes.py')

# What takes longest starts first, so that no worker is left alone with it at the end.
_LONG = (
    'tests/runs/test_run.py',
    'tests/experiments/test_running.py',
    'tests/experiments/test_running_memory.py',
    'tests/runs/test_variants.py',
    'tests/methods/test_programs.py',
    'tests/methods/test_qcrd.py',
    'tests/experiments/test_fields_read.py',
    'tests/runs/test_memory.py',
    'tests/runs/test_interrupted.py',
    'tests/runs/test_meshes.py',
    'tests/test_placement.py',
    'tests/benchmarks/test_benchmark.py',
    'tests/methods/test_lean.py',
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files before all others, which keep their order."""
    places = {str(REPOSITORY / name): place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
    """The folder of real data, where there is one: it is not part of the project."""
    folder = pathlib.Path(os.environ.get('QCRD_SHARED_DATA', REPOSITORY.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real data at {folder}; set QCRD_SHARED_DATA to its folder')
    return folder


@pytest.fixture
def log(caplog):
    """The records of absl's logger, which does not propagate to the root on its own."""
    logger = absl_logging.get_absl_logger()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture(scope='module')
def toy_students():
    """Makes every student and every encoder of a module's runs a toy, which compiles at once."""
    from tests.support.toy_student import use_toy_students

    with pytest.MonkeyPatch.context() as patch:
        use_toy_students(patch)
        yield
