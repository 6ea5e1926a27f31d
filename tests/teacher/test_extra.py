"""Fields of a request: which of them come through, and which are refused."""

import pytest
from ml_collections import config_dict

from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.teacher import extra
from qcrd_jax.teacher.client import Settings

MESSAGES = [{'role': 'user', 'content': 'Q?'}]


def settings(text, **teacher):
    config = base_config().teacher
    config.base_url = 'http://127.0.0.1:1/v1'
    config.model = 'a-model'
    config.update(config_dict.ConfigDict({'extra': text} | teacher))
    return Settings.from_config(config, environ={})


def body(text, **teacher):
    sent = settings(text, **teacher).body('Q?')
    assert sent.pop('messages') == MESSAGES
    assert sent.pop('model') == 'a-model'
    return sent


def test_nothing_is_the_default():
    assert body('') == body(' ') == body('{}') == {'temperature': 0.7, 'max_tokens': 512}


@pytest.mark.parametrize(
    ('text', 'sent'),
    [
        ('{"top_p": 0.9, "seed": 1}',
         {'temperature': 0.7, 'max_tokens': 512, 'top_p': 0.9, 'seed': 1}),
        ('{"chat_template_kwargs": {"enable_thinking": false}}',
         {'temperature': 0.7, 'max_tokens': 512,
          'chat_template_kwargs': {'enable_thinking': False}}),
        ('{"temperature": null}', {'max_tokens': 512}),
        ('{"temperature": 1}', {'temperature': 1, 'max_tokens': 512}),
        ('{"max_tokens": 9}', {'temperature': 0.7, 'max_tokens': 9}),
        ('{"max_completion_tokens": 9}', {'temperature': 0.7, 'max_completion_tokens': 9}),
        ('{"max_completion_tokens": 9, "max_tokens": null}',
         {'temperature': 0.7, 'max_completion_tokens': 9}),
        ('{"max_tokens": null}', {'temperature': 0.7}),
        ('{"stream": true, "n": 1}',
         {'temperature': 0.7, 'max_tokens': 512, 'stream': True, 'n': 1}),
    ],
)  # fmt: skip
def test_a_field_comes_before_the_fixed_ones_and_null_removes_it(text, sent):
    assert body(text) == sent


def test_the_limit_and_the_temperature_are_those_that_are_sent():
    assert settings('{"max_completion_tokens": 9}').max_tokens == 9
    assert settings('{"max_completion_tokens": 9, "max_tokens": 11}').max_tokens == 11
    assert settings('{"max_tokens": null}').max_tokens == 512  # what is thought of it
    assert settings('{"temperature": 1}').temperature == 1.0
    # Tools and the like are tokens that are sent, of a byte at least.
    usage, plain = settings('{"tools": [{"name": "abc"}]}').most('Q?'), settings('').most('Q?')
    assert usage.prompt_tokens - plain.prompt_tokens == len('{"tools": [{"name": "abc"}]}')
    assert plain.completion_tokens == 512


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('top_p=0.9', 'expected a JSON object such as'),
        ("{'top_p': 0.9}", 'expected a JSON object such as'),
        ('{"top_p": 0.9', 'expected a JSON object such as'),
        ('[1]', 'expected a JSON object such as'),
        ('"top_p"', 'expected a JSON object such as'),
        ('{"top_p": NaN}', 'NaN is not JSON'),
        ('[' * 100_000, 'expected a JSON object such as'),
        ('{"model": "x"}', r"'model' is set by --config\.teacher\.model"),
        ('{"messages": []}', r"'messages' is set by --config\.teacher\.prompt"),
        ('{"n": 5}', r"'n' is expected to be 1, got 5.*data\.samples"),
        ('{"max_tokens": 0}', "'max_tokens' is expected to be at least 1, got 0"),
        ('{"max_tokens": "9"}', "'max_tokens' is expected to be at least 1, got '9'"),
        ('{"max_completion_tokens": true}', 'got True'),
        ('{"user": "\\ud83d"}', 'surrogate'),
    ],
)
def test_what_cannot_be_sent_is_refused(text, words):
    with pytest.raises(InputError, match=rf'--config\.teacher\.extra: .*{words}'):
        settings(text)


def test_no_budget_is_kept_without_a_limit():
    with pytest.raises(InputError, match='without a limit of tokens no budget can be kept'):
        settings('{"max_tokens": null}', max_tokens_total=1000)
    settings('{"max_tokens": null, "max_completion_tokens": 5}', max_tokens_total=1000)


def test_a_long_refused_text_is_not_shown_whole():
    with pytest.raises(InputError) as caught:
        settings('[' * 100_000)
    assert len(str(caught.value)) < 1000


def test_the_names_of_the_limit_are_two():
    assert set(extra.LIMITS) == {'max_tokens', 'max_completion_tokens'}
