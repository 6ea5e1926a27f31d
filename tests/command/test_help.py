"""`qcrd --help`, and the command as it is installed."""

import os
import pty
import subprocess
import sys
import zipfile

import pytest
from absl import flags

from qcrd_jax import modes
from qcrd_jax.command import help as helping
from qcrd_jax.command import options
from tests.support import REPOSITORY


def test_help_names_every_mode_every_configuration_and_every_flag():
    assert options.MODES.keys() == modes.MODES.keys()
    text = helping.text()
    for name in modes.MODES:
        assert f'\n  {name} ' in text
    values = flags.FlagValues()
    options.define(values)
    for name in values:
        assert f'--{name}=' in text
    assert 'paper/fig4, fig5' in text


def test_help_imports_nothing_that_takes_long():
    code = "import sys\nsys.argv = ['qcrd', '--help']\nfrom qcrd_jax.command import main\nmain()\n"
    code += "heavy = {'jax', 'transformers', 'numpy', 'flax'} & sys.modules.keys()\n"
    code += "assert not heavy, heavy\nassert not __import__('absl.flags').flags.FLAGS.is_parsed()"
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith('qcrd: distil the reasoning')


def test_an_import_defines_no_flag():
    code = 'from absl import flags\nbefore = set(flags.FLAGS)\n'
    code += 'import qcrd_jax.command.program\nimport qcrd_jax.command.help\n'
    code += "new = set(flags.FLAGS) - before\nassert not new & {'workdir', 'mode', 'config'}, new"
    subprocess.run([sys.executable, '-c', code], cwd=REPOSITORY, check=True)


def test_a_wheel_has_the_command_and_the_configurations(tmp_path):
    pytest.importorskip('setuptools', '77')
    command = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--quiet']
    source = tmp_path / 'source'
    names = ('qcrd_jax', 'configs', 'pyproject.toml', 'setup.py', 'requirements.txt', 'README.md')
    source.mkdir()
    for name in (*names, 'LICENSE'):
        (source / name).symlink_to(REPOSITORY / name)
    subprocess.run([*command, '-w', tmp_path, source], check=True)
    (wheel,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (entry,) = (name for name in held if name.endswith('entry_points.txt'))
        assert 'qcrd = qcrd_jax.command:main' in archive.read(entry).decode()
        archive.extractall(tmp_path / 'site')
    assert {'qcrd_jax/configs/svamp.py', 'qcrd_jax/configs/paper/table4.py'} <= held
    assert not any(name.startswith(('configs/', 'tests/')) for name in held)
    code = 'from qcrd_jax.command import configs\nprint(configs.path_of("studies/rivals"))'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path / 'site', capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith('site/qcrd_jax/configs/studies/rivals.py')


@pytest.mark.parametrize('buffered', [True, False])
@pytest.mark.parametrize('arguments', [['--help'], ['--config=demo', '--mode=config']])
def test_where_nobody_reads_on_it_ends_without_a_word(arguments, buffered):
    reader, writer = os.pipe()
    os.close(reader)  # as `| head` leaves it
    try:
        done = subprocess.run(
            [sys.executable, 'run.py', *arguments],
            cwd=REPOSITORY,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {'PYTHONUNBUFFERED': '' if buffered else '1'},
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, '')


def test_a_terminal_is_told_of_the_seconds_of_the_imports():
    ours, its = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, 'run.py', '--config=demo', '--mode=config'],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=its,
            text=True,
        )
        seen = os.read(ours, 1000).decode()
    finally:
        os.close(ours)
        os.close(its)
    assert done.returncode == 0 and 'starting' not in done.stdout
    assert seen == 'starting\r\x1b[K'  # and it is gone again
