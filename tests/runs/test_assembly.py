"""What a run refuses before it begins: absent models, methods without what they learn from."""

import pytest

from qcrd_jax import files
from qcrd_jax.config import base_config
from qcrd_jax.data.sources import builders
from qcrd_jax.errors import InputError
from qcrd_jax.runs.assembly import assemble
from tests.support.runs import small_config

NOWHERE = './no-such-folder'


@pytest.mark.parametrize(
    ('overrides', 'said'),
    [
        ({'student.pretrained': NOWHERE}, r'no such folder.*--config.student.pretrained'),
        ({'student.tokenizer': NOWHERE}, r'no tokenizer could be read'),
        ({'discriminator.pretrained': NOWHERE}, r'no such folder.*--config.discriminator'),
        (
            {'negatives.source': 'fixed', 'negatives.fixed': NOWHERE},
            r'no such folder.*--config.student.pretrained',
        ),
    ],
)
def test_a_model_that_is_not_there_is_refused_before_the_data_is_read(
    overrides, said, tmp_path, monkeypatch
):
    monkeypatch.setattr(builders, 'load', None)  # to call it would be a TypeError
    config = small_config()
    config.update_from_flattened_dict(overrides)
    with pytest.raises(InputError, match=said):
        assemble(config, tmp_path)


def test_a_model_that_the_method_has_no_use_for_is_not_looked_for(tmp_path, toy_students):
    config = small_config()
    config.update(method='finetune')
    config.discriminator.pretrained = NOWHERE
    config.negatives.update(source='fixed', fixed=NOWHERE)
    assert assemble(config, tmp_path).discriminator is None


def bare_questions(path):
    records = (
        {'id': f'{split}{n}', 'split': split, 'input': f'{n} and {n}?', 'label': f'( {n} + {n} )'}
        for split in ('train', 'validation', 'test')
        for n in range(4)
    )
    files.write_jsonl(path, records)
    return str(path)


@pytest.mark.parametrize('method', ['qcrd', 'dss', 'redi', 'single_task'])
def test_a_method_of_rationales_needs_some(method, tmp_path):
    config = base_config()
    config.update(method=method)
    config.student.update(pretrained='', size='tiny')
    source = bare_questions(tmp_path / 'bare.jsonl')
    config.data.update(name='custom', answer_type='equation', source=source)
    with pytest.raises(InputError) as caught:
        assemble(config, tmp_path / 'run')
    message = str(caught.value)
    assert message.startswith(f'--config.method: {method} learns rationales, and none of the 4')
    assert '--config.data.teacher_samples' in message and 'finetune' in message
    config.method = 'finetune'
    assert assemble(config, tmp_path / 'run').corpus.encoded['train'].counts()['examples'] == 4
