"""Every family of decoder-only students against PyTorch, where it is installed, there and back."""

import dataclasses

import numpy as np
import pytest

from qcrd_jax.models.huggingface import load_architecture, load_encoder, load_student, save_student
from tests.support import folders, parity

LINEAR = {'rope_type': 'linear', 'factor': 3.0, 'rope_theta': 100.0}
# Of the three pairs of a head, one keeps its pace, one is blended and one is slowed down in full.
LLAMA3 = {
    'rope_type': 'llama3',
    'rope_theta': 8.0,
    'factor': 8.0,
    'low_freq_factor': 1.0,
    'high_freq_factor': 3.0,
    'original_max_position_embeddings': 24,
}

SQUARE = {'num_key_value_heads': 6}  # as many heads of keys as of queries; else a third
UNTIED = {'tie_word_embeddings': False}
SINGLE = {'num_hidden_layers': 1}  # else two; compilation is what costs here
FAMILIES = {  # the model type, and fields over those of `decoder_reference.SMALL`
    'qwen2, untied, square': ('qwen2', UNTIED | SQUARE),
    'qwen2, one head of keys, heads of another size': (
        'qwen2',
        {
            'num_key_value_heads': 1,
            'head_dim': 6,
            'rms_norm_eps': 1e-3,
            'rope': {'rope_theta': 1e6},
        },
    ),
    'qwen3, heads of another size': ('qwen3', {'head_dim': 6, 'rms_norm_eps': 1e-4}),
    'qwen3, untied, square, linear': (
        'qwen3',
        {'head_dim': 10, 'rope': LINEAR} | UNTIED | SQUARE | SINGLE,
    ),
    'llama, untied, heads of another size': ('llama', {'head_dim': 6} | UNTIED),
    'llama, square, linear': ('llama', {'rope': LINEAR} | SQUARE | SINGLE),
    'llama, llama3, heads of another size': ('llama', {'head_dim': 6, 'rope': LLAMA3} | SINGLE),
    'smollm2': (
        'llama',
        {
            'hidden_size': 36,
            'num_attention_heads': 9,
            'num_key_value_heads': 3,
            'rms_norm_eps': 1e-5,
            'rope': {'rope_theta': 100000.0},
        }
        | SINGLE,
    ),
    'mistral, untied, heads of another size': (
        'mistral',
        {'head_dim': 6, 'sliding_window': None} | UNTIED,
    ),
}
# The kept arrays have gradients as well.
WITHOUT_GRADIENTS = (
    'qwen2, one head of keys, heads of another size',
    'qwen3, untied, square, linear',
)


@pytest.mark.parametrize('flavour', FAMILIES)
def test_agrees_with_pytorch_there_and_back(flavour, tmp_path):
    pytest.importorskip('torch')
    import transformers

    from tests.support import decoder_reference as reference

    model_type, fields = FAMILIES[flavour]
    model = reference.random_model(model_type, 5, **fields)
    model.save_pretrained(tmp_path / 'theirs', max_shard_size='8KB')
    assert (tmp_path / 'theirs' / 'model.safetensors.index.json').is_file()
    batch = reference.random_batch(2, source=19, rows=2, target=12)
    gradients = flavour not in WITHOUT_GRADIENTS
    theirs = reference.run(model, batch, gradients)
    config, params = load_student(tmp_path / 'theirs')
    assert load_architecture(tmp_path / 'theirs') == config
    assert config.model_type == model_type
    # What is computed does not depend on the family's name: Llama and Mistral compile once.
    anonymous = dataclasses.replace(config, model_type='llama', max_positions=1)
    ours = parity.run(anonymous, params, batch, gradients)
    parity.assert_close(ours, theirs, batch['mask'])
    if gradients:
        parity.assert_gradients_close(config, ours['gradients'], theirs, tmp_path / 'gradients')

    save_student(tmp_path / 'ours', config, params)
    assert load_architecture(tmp_path / 'ours') == config
    again, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / 'ours', output_loading_info=True
    )
    assert not any(info.values()), info
    assert type(again) is type(model)
    assert again.config.rope_parameters == model.config.rope_parameters
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], tensor, err_msg=name)
    back = reference.run(again.eval(), batch, gradients=False)
    for name in ('states', 'logits', 'greedy'):
        np.testing.assert_array_equal(back[name], theirs[name])


@pytest.mark.parametrize('rope', [LINEAR, LLAMA3])
def test_scaled_positions_matter_at_these_lengths(rope):
    # Else the parity above would say nothing of them.
    pytest.importorskip('torch')
    from tests.support import decoder_reference as reference

    batch = reference.random_batch(2, source=19, rows=2, target=12)
    scaled, plain = (
        reference.run(reference.random_model('llama', 5, head_dim=6, rope=kind), batch, False)
        for kind in (rope, {'rope_theta': rope['rope_theta']})
    )
    assert np.abs(scaled['logits'] - plain['logits']).max() > 0.1


def test_bodies_and_encoders(tmp_path):
    pytest.importorskip('torch')
    from tests.support import decoder_reference as reference

    model = reference.random_model('qwen3', 5, tie_word_embeddings=False)
    model.save_pretrained(tmp_path / 'whole')
    model.model.save_pretrained(tmp_path / 'body')
    config, whole = load_student(tmp_path / 'whole')
    for name in ('whole', 'body'):
        architecture, params = load_encoder(tmp_path / name)
        assert architecture == config
        folders.assert_same(params, {'embedding': whole['embedding'], 'body': whole['body']})
    with pytest.raises(ValueError, match=r'missing: lm_head\.weight'):
        load_student(tmp_path / 'body')


def test_a_family_is_not_written_as_another(tmp_path):
    pytest.importorskip('torch')
    from tests.support import decoder_reference as reference

    model = reference.random_model('qwen2', 5)
    model.save_pretrained(tmp_path / 'theirs')
    config, params = load_student(tmp_path / 'theirs')
    for model_type in ('llama', 'qwen3', 'mistral'):
        other = dataclasses.replace(config, model_type=model_type)
        with pytest.raises(ValueError, match=f'qkv_bias: expected False .* {model_type}, got True'):
            save_student(tmp_path / 'ours', other, params)
    assert not (tmp_path / 'ours').exists()
