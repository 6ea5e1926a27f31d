"""Folders that somebody made to be read badly: one line each, at once, and in little memory."""

import json
import shutil
import subprocess
import sys

import jax.numpy as jnp
import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.models.architectures import student_of
from qcrd_jax.models.huggingface import (
    load_architecture,
    load_encoder,
    load_student,
    read_config,
    save_student,
)
from tests.support import hostile, parity, small
from tests.support.folders import config_of, set_config

FAMILIES = ('t5', 'llama', 'qwen2', 'qwen3', 'mistral')


def architecture(family):
    return small.t5() if family == 't5' else small.decoder(family, num_layers=2)


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """A folder of every family."""
    root = tmp_path_factory.mktemp('good')
    for family in FAMILIES:
        config = architecture(family)
        params = parity.random_params(student_of(config, jnp.float32))
        save_student(root / family, config, params)
        (root / family / 'SHA256SUMS').unlink()  # whoever changes a folder can make them fit
    return root


def message_of(read, *arguments):
    with pytest.raises(InputError) as error:
        read(*arguments)
    message = str(error.value)
    assert message.isprintable() and len(message) < 1500, message[:3000]
    return message


@pytest.mark.parametrize('case', hostile.MODELS, ids=lambda case: case[0])
def test_a_hostile_folder_is_one_line_that_names_the_file(good, tmp_path, case):
    for family in ('t5', 'llama'):
        hostile.apply(case, good / family, tmp_path / family)
        for read in (load_student, load_architecture, load_encoder):
            assert case[1] in message_of(read, tmp_path / family)


@pytest.mark.parametrize('family', FAMILIES)
def test_absurd_fields_of_a_config_are_named(good, tmp_path, family):
    shutil.copytree(good / family, tmp_path / family)
    path = tmp_path / family / 'config.json'
    whole = path.read_text()
    cases = hostile.configs(family)
    assert len(cases) > 100
    for field, value in cases:
        path.write_text(json.dumps({**json.loads(whole), field: value}))
        message = message_of(read_config, path)
        assert message.startswith(f'{path}: {field}: expected'), message
        # What reads a folder reads its config first.
        assert message_of(load_student, path.parent) == message


@pytest.mark.parametrize(
    ('field', 'value'),
    [
        ('factor', float('nan')), ('factor', float('inf')), ('factor', 0.0), ('factor', 1e300),
        ('low_freq_factor', float('nan')), ('high_freq_factor', float('inf')),
        ('original_max_position_embeddings', 10**18), ('original_max_position_embeddings', 0),
    ],
)  # fmt: skip
def test_absurd_scalings_are_named(good, field, value, tmp_path):
    shutil.copytree(good / 'llama', tmp_path / 'llama')
    scaling = {
        'rope_type': 'llama3', 'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,
        'original_max_position_embeddings': 8192, field: value,
    }  # fmt: skip
    set_config(tmp_path / 'llama', rope_scaling=scaling)
    message = message_of(read_config, tmp_path / 'llama' / 'config.json')
    assert f'config.json: rope_scaling.{field}: expected' in message


def test_heads_that_no_width_has_room_for_are_named(tmp_path):
    message = message_of(
        lambda: config_of(tmp_path, model_type='llama', hidden_size=64, num_attention_heads=128)
    )
    assert 'config.json: hidden_size / num_attention_heads: expected' in message


@pytest.mark.parametrize('read', [load_student, load_architecture, load_encoder])
@pytest.mark.parametrize('family', ['t5', 'llama'])
def test_sizes_within_bounds_are_compared_with_the_tensors_that_are_there(
    good, tmp_path, family, read
):
    name = 'num_layers' if family == 't5' else 'num_hidden_layers'
    shutil.copytree(good / family, tmp_path / family)
    set_config(tmp_path / family, **{name: 4096})
    assert 'missing: ' in message_of(read, tmp_path / family)
    width = 'd_model' if family == 't5' else 'hidden_size'
    set_config(tmp_path / family, vocab_size=1 << 24, **{width: 1 << 20})
    message = message_of(read, tmp_path / family)
    assert 'config.json: its sizes make parameters of' in message and 'GiB of memory' in message


def test_what_hostile_folders_cost(good, tmp_path):
    command = [sys.executable, '-m', 'tests.support.hostile', 'models', str(good / 't5')]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    cost = json.loads(done.stdout)
    assert cost['bytes'] < 200e6, cost
    assert cost['seconds'] < 20, cost  # a tenth of a second, on a machine with nothing else to do
