"""Which configuration a command line means, and what it says where there is none."""

import pytest

from qcrd_jax.command import configs
from qcrd_jax.errors import InputError
from tests.support import REPOSITORY


def test_a_name_is_a_file_that_comes_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = str(REPOSITORY / 'configs' / 'paper' / 'table4.py')
    for name in ('paper/table4', 'paper/table4.py', 'configs/paper/table4.py'):
        assert configs.path_of(name) == wanted
    assert configs.path_of('paper/table4:argument') == f'{wanted}:argument'


def test_a_file_that_is_there_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'svamp').write_text('mine')
    assert configs.path_of('svamp') == 'svamp'


def test_a_mistyped_name_is_met_with_the_nearest_one():
    with pytest.raises(InputError, match=r'--config: configs/svmap.py: .* did you mean svamp\?'):
        configs.path_of('configs/svmap.py')
    with pytest.raises(InputError, match='comes along; there are anli1, cqa'):
        configs.path_of('xyzzy')


def test_names_are_those_of_the_repository():
    files = (REPOSITORY / 'configs').rglob('*.py')
    assert len(configs.names()) == len(set(files)) > 20
    assert {'demo', 'paper/table_a6', 'studies/rivals'} <= set(configs.names())
    assert 'table_a6' in configs.by_folder()['paper/']


@pytest.mark.parametrize(
    ('arguments', 'value'),
    [
        (['--config=a.py', '--workdir=w'], 'a.py'),
        (['-config', 'a.py', '--config.seed=3'], 'a.py'),
        (['--config=a.py', '--config=b.py'], 'b.py'),
        (['--config.seed=3'], None),
        (['--', '--config=a.py'], None),
        (['--config'], None),
    ],
)
def test_the_value_of_a_flag(arguments, value):
    assert configs.flag(arguments, 'config') == value


def test_a_flag_is_replaced_where_it_stands():
    arguments = ['--mode=train', '--config', 'svamp', '--config.seed=3', '--', '--config=x']
    changed = configs.with_flag(arguments, 'config', 'c.py')
    assert changed == ['--mode=train', '--config=c.py', '--config.seed=3', '--', '--config=x']
