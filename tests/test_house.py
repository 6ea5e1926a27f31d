"""The house stands: imports run one way, rooms and modules stay small, its map is true."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import jax.numpy as jnp
import jaxtyping
import pytest
from beartype import roar

from tests.support import REPOSITORY

PACKAGE = REPOSITORY / 'qcrd_jax'

# From top to bottom: a room imports from rooms above it, and from its own.
ROOMS = (
    ('errors', 'interruption', 'strict', 'writing', 'files', 'sums', 'bars', 'syntax', 'lazy'),
    ('losses',),
    ('models',),
    ('ring', 'sampling', 'placement', 'processes'),
    ('data',),
    ('methods',),
    ('evaluation',),
    ('pipeline',),
    ('grid', 'config', 'validation', 'fields'),
    ('runs',),
    ('teacher',),
    ('report',),
    ('experiments',),
    ('modes',),
    ('command',),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
MOST_LINES, MOST_FLOORS = 400, 12


def module_files() -> dict[str, pathlib.Path]:
    """Every module by its name; a package is its `__init__`."""
    found = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(REPOSITORY).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


MODULES = module_files()


@functools.cache
def imports(module: str) -> frozenset[str]:
    """The modules of the package that a module names in its imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{module}: imports are absolute'
            for alias in node.names:
                whole = f'{node.module}.{alias.name}'
                found.add(whole if whole in MODULES else node.module)
    return frozenset(found & MODULES.keys() - {module})


def room(module: str) -> str:
    return module.split('.')[1]


def height(name: str, below) -> int:
    """The longest chain of imports that begins at a name; a cycle never ends."""

    @functools.cache
    def of(name: str) -> int:
        return 1 + max(map(of, below(name)), default=0)

    return of(name)


def inner() -> list[str]:
    return [module for module in MODULES if module != 'qcrd_jax']


def test_every_room_is_known():
    assert {room(module) for module in inner()} == set(FLOOR)


@pytest.mark.parametrize('name', FLOOR)
def test_a_room_imports_only_from_rooms_above_it(name):
    for module in inner():
        for imported in imports(module) - {'qcrd_jax'}:
            if room(module) == name != room(imported):
                upward = FLOOR[room(imported)] > FLOOR[name]
                assert not upward, f'{module} imports {imported}, which stands below it'


def test_there_are_no_cycles_and_few_floors():
    modules = {module: height(module, imports) for module in MODULES}
    assert max(modules.values()) <= MOST_FLOORS, max(modules, key=modules.__getitem__)

    def rooms_of(name: str) -> set[str]:
        of_room = [module for module in inner() if room(module) == name]
        named = {room(each) for module in of_room for each in imports(module) - {'qcrd_jax'}}
        return named - {name}

    assert max(height(name, rooms_of) for name in FLOOR) <= MOST_FLOORS


@pytest.mark.parametrize('folder', ['qcrd_jax', 'benchmarks'])
def test_modules_are_short(folder):
    long = {
        str(path.relative_to(REPOSITORY)): count
        for path in (REPOSITORY / folder).rglob('*.py')
        if (count := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def test_the_map_has_the_rooms_in_their_order():
    text = (REPOSITORY / 'CONTRIBUTING.md').read_text()
    listed = re.findall(r'^\d+\. ((?:`[a-z/]+`(?:, )?)+)', text, re.MULTILINE)
    assert [tuple(re.findall(r'`([a-z]+)/?`', names)) for names in listed] == list(ROOMS)


def test_tests_mirror_the_packages():
    packages = {
        path.parent.relative_to(PACKAGE)
        for path in PACKAGE.rglob('__init__.py')
        if any(other.name != '__init__.py' for other in path.parent.glob('*.py'))
    }
    ours = {
        path.parent.relative_to(REPOSITORY / 'tests')
        for path in (REPOSITORY / 'tests').rglob('test_*.py')
    }
    assert ours - {pathlib.Path('benchmarks')} == packages


@pytest.mark.parametrize(
    ('imported', 'absent'),
    [
        ('qcrd_jax', ('jax', 'absl')),
        ('qcrd_jax.losses', ('transformers', 'flax', 'optax')),
        ('qcrd_jax.command.help', ('jax', 'transformers', 'numpy')),
    ],
)
def test_a_light_import_stays_light(imported, absent):
    code = f'import {imported}, sys\nprint([name for name in {absent!r} if name in sys.modules])'
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == '[]'


SETTING = re.compile(r'flags\.DEFINE_\w+|config\.update|environ\.(setdefault|update|pop)|putenv')


def test_no_module_sets_a_flag_an_option_or_the_environment():
    found = set()
    # The command is the process's own, and does so when it is started (`tests/command`).
    for module in (each for each in inner() if room(each) != 'command'):
        for node in ast.walk(ast.parse(MODULES[module].read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                option = called.startswith(('jax.', 'flags.', 'os.')) and SETTING.search(called)
                found |= {f'{module}: {called}'} if option else set()
            elif isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
                targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
                found |= {
                    f'{module}: {target}'
                    for target in map(ast.unparse, targets)
                    if target.startswith(('os.environ', 'jax.config', 'flags.FLAGS'))
                }
    assert found == set()


def test_calls_are_checked_against_their_annotations_in_these_tests():
    from qcrd_jax.data import numerals
    from qcrd_jax.methods import metrics

    with pytest.raises(roar.BeartypeCallHintViolation, match='in_digits'):
        numerals.in_digits(3)
    metrics.over(jnp.ones((2, 3)), jnp.ones((2, 3), bool))
    with pytest.raises(jaxtyping.TypeCheckError, match='mask'):
        metrics.over(jnp.ones((2, 3)), jnp.ones((2, 1), bool))


# The LLM that compares rationales is the judge; the discriminator is never called so.
JUDGE_ROOMS = {'teacher', 'experiments', 'grid', 'config', 'validation', 'modes'}


def test_a_judge_is_an_llm():
    named = set()
    for module in inner():
        if room(module) in JUDGE_ROOMS:
            continue
        for node in ast.walk(ast.parse(MODULES[module].read_text())):
            words = [getattr(node, field, None) for field in ('id', 'name', 'attr', 'arg')]
            named |= {f'{module}: {w}' for w in words if isinstance(w, str) and 'judg' in w.lower()}
    assert named == set()
