"""The version of the code: blind to prose, and to modules that nothing imports."""

import pathlib
import shutil

import pytest

from qcrd_jax import syntax
from qcrd_jax.experiments import identity
from tests.support import REPOSITORY

FILES = {
    'pkg/__init__.py': '"""A package."""\n\n__version__ = "1"\n',
    'pkg/loop.py': (
        '"""Trains."""\n\nimport math\n\nfrom pkg import losses\nfrom pkg.models import student\n\n'
        'STEPS = 3\n"""How many steps."""\n\n\n'
        'def train(x: "Float[Array, \'B\']"):\n    """Trains."""\n    from .late import last\n\n'
        '    return math.sqrt(losses.loss(x)) + student.SIZE + last()  # one step\n'
    ),
    'pkg/losses.py': 'MARGIN = 3.0\n\n\ndef loss(x):\n    """Eq. 1."""\n    return x - MARGIN\n',
    'pkg/late.py': 'def last():\n    return 1\n',
    'pkg/models/__init__.py': '',
    'pkg/models/student.py': 'class Student:\n    """A student."""\n\n\nSIZE = 2\n',
    'pkg/report.py': 'from pkg import losses\n\nCOLOUR = "red"\n',
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def version(root):
    syntax.code_version.cache_clear()
    return syntax.code_version(('pkg.loop',), root)


def replace(root, name, old, new):
    text = (root / name).read_text()
    assert text.count(old) == 1
    (root / name).write_text(text.replace(old, new))


def test_imports_are_followed_wherever_they_stand(root):
    assert syntax.imported(('pkg.loop',), root) == [
        'pkg', 'pkg.late', 'pkg.loop', 'pkg.losses', 'pkg.models', 'pkg.models.student',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'old', 'new'),
    [
        ('pkg/loop.py', '"""Trains."""\n\nimport', '"""Trains a student; see `pkg`."""\n\nimport'),
        ('pkg/loop.py', '"""How many steps."""', '"""Of the optimiser."""'),
        ('pkg/loop.py', '  # one step', ''),
        ('pkg/loop.py', '    """Trains."""\n', ''),
        ('pkg/losses.py', '    """Eq. 1."""\n    return x - MARGIN', '    return (\n x-MARGIN)'),
        ('pkg/models/student.py', '"""A student."""', "'''The student.'''"),
        ('pkg/__init__.py', '"1"', '"2"'),
        ('pkg/report.py', '"red"', '"blue"'),
    ],
)
def test_what_is_the_same_program_is_the_same_version(root, name, old, new):
    first = version(root)
    replace(root, name, old, new)
    assert version(root) == first


def test_what_nothing_imports_may_come_move_and_go(root):
    first = version(root)
    (root / 'pkg' / 'another.py').write_text('X = 1\n')
    assert version(root) == first
    shutil.move(root / 'pkg' / 'report.py', root / 'pkg' / 'models' / 'report.py')
    assert version(root) == first


@pytest.mark.parametrize(
    ('name', 'old', 'new'),
    [
        ('pkg/losses.py', '3.0', '2.0'),
        ('pkg/losses.py', '3.0', '3'),
        ('pkg/losses.py', 'x - MARGIN', 'MARGIN - x'),
        ('pkg/losses.py', 'return x - MARGIN', 'x - MARGIN'),
        ('pkg/loop.py', "'B'", "'B T'"),
        ('pkg/late.py', '1', '2'),
        ('pkg/models/__init__.py', '', 'SIZE = 1\n'),
        ('pkg/loop.py', 'import math\n', 'import math\n\nfrom pkg import report\n'),
    ],
)
def test_another_program_is_another_version(root, name, old, new):
    first = version(root)
    if old:
        replace(root, name, old, new)
    else:
        (root / name).write_text(new)
    assert version(root) != first


def test_modules_that_swap_their_contents_are_another_program(root):
    first = version(root)
    losses, late = root / 'pkg' / 'losses.py', root / 'pkg' / 'late.py'
    texts = losses.read_text(), late.read_text()
    losses.write_text(texts[1])
    late.write_text(texts[0])
    assert version(root) != first


def test_a_module_that_is_not_there_is_named(root):
    with pytest.raises(ValueError, match=r'pkg\.lop is no module'):
        syntax.code_version(('pkg.lop',), root)


def test_this_package_runs_on_its_losses_and_not_on_its_reports(tmp_path):
    running = syntax.imported(identity.RUNNING)
    for name in ('losses', 'sampling', 'ring', 'models.t5.layers', 'data.encoding', 'runs.loop'):
        assert f'qcrd_jax.{name}' in running
    for room in ('report', 'teacher', 'experiments', 'grid', 'config', 'modes'):
        assert not any(name.startswith(f'qcrd_jax.{room}') for name in running)
    assert 'qcrd_jax.losses' not in syntax.imported(identity.COUNTING)

    copy = tmp_path / 'qcrd_jax'
    shutil.copytree(REPOSITORY / 'qcrd_jax', copy, ignore=shutil.ignore_patterns('__pycache__'))

    def copied():
        syntax.code_version.cache_clear()
        return syntax.code_version(identity.RUNNING, tmp_path)

    first = copied()
    assert first == identity.code_version()
    reports: list[pathlib.Path] = sorted(copy.glob('report/*.py'))
    for path in (*reports, copy / 'config.py', copy / 'teacher' / 'judge.py'):
        path.write_text(path.read_text() + '\nX = 1\n')
    shutil.move(copy / 'experiments', copy / 'studies')
    loss = copy / 'losses' / 'contrastive.py'
    loss.write_text('# A note.\n' + loss.read_text())
    assert copied() == first
    replace(copy, 'losses/contrastive.py', 'margin: float = 3.0', 'margin: float = 2.0')
    assert copied() != first
