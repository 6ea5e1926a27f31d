"""No secret of a command is shown, and everything else of it is."""

import shlex

import pytest

from qcrd_jax import config as configuration
from qcrd_jax import files
from qcrd_jax.runs.commands import PRIVATE, without_secrets

SECRET = 'sk-AbC0123456789'


@pytest.mark.parametrize(
    'arguments',
    [
        [f'--config.teacher.extra={{"api_key": "{SECRET}"}}'],
        ['--config.teacher.extra', f'{{"headers": "{SECRET}"}}'],
        ['-config.teacher.key_variable', SECRET],
        [f'--config.teacher.base_url=https://me:{SECRET}@example.org/v1'],
        [f'--config.student.pretrained=https://me:{SECRET}@example.org/t5'],
        [f'--config.data.source=https://example.org/d?signed={SECRET}'],
        [f'--config.data.source={SECRET}'],
        [f'--api_key={SECRET}'],
        ['--password', f'-{SECRET}'],
        [SECRET],
        [f'--{SECRET}'],
    ],
)
def test_no_secret_is_recorded(arguments):
    shown = without_secrets(['run.py', *arguments, '--mode=train'], {})
    assert SECRET not in shown
    assert 'HIDDEN' in shown
    assert shown.endswith('--mode=train')


def test_what_the_environment_calls_a_secret_stands_nowhere():
    argv = ['run.py', '--config.data.name=correcthorse', '--workdir=runs/correct']
    environ = {'MY_TOKEN': 'correcthorse', 'SHORT_KEY': 'correct', 'NAME': 'runs/correct'}
    shown = without_secrets(argv, environ)
    assert shown == 'python run.py --config.data.name=HIDDEN --workdir=runs/correct'


def test_no_other_field_of_the_configuration_is_hidden():
    fields = files.flatten(configuration.base_config().to_dict())
    shown = {
        name: without_secrets(['run.py', f'--config.{name}=some value'], {}) for name in fields
    }
    hidden = {name for name, text in shown.items() if 'HIDDEN' in text}
    assert hidden == set(PRIVATE)
    assert shlex.split(shown['data.source'])[2] == '--config.data.source=some value'
