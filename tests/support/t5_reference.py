"""PyTorch T5 models with random weights, and what they compute, for the tests to compare with."""

import contextlib

import numpy as np
import torch
import transformers

SMALL = {  # no two sizes alike, and heads * d_kv is not d_model
    'vocab_size': 37,
    'd_model': 12,
    'd_kv': 4,
    'd_ff': 20,
    'num_heads': 5,
    'num_layers': 2,
    'num_decoder_layers': 3,
    'decoder_start_token_id': 0,
}


def random_model(seed: int = 0, **fields) -> transformers.T5ForConditionalGeneration:
    """Returns a model with every parameter perturbed, the norms and position biases too."""
    torch.manual_seed(seed)
    config = transformers.T5Config(**{**SMALL, **fields})
    model = transformers.T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if 'layer_norm' in name:
                parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
            elif 'relative_attention_bias' in name:
                parameter.add_(torch.randn_like(parameter))
    return model


def untie(model: transformers.T5ForConditionalGeneration) -> None:
    """Gives the model a head of its own."""
    weight = torch.randn_like(model.shared.weight) * model.config.d_model**-0.5
    model.lm_head.weight = torch.nn.Parameter(weight)


def random_batch(
    seed: int, *, vocab_size: int = 37, source: int = 9, rows: int = 3, target: int = 7
) -> dict[str, np.ndarray]:
    """Returns two questions of differing length and `rows` targets each, padded with 0."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(2, vocab_size, (2, source)).astype(np.int32)
    mask = np.arange(source) < np.array([[source], [max(1, source // 2)]])
    targets = rng.integers(2, vocab_size, (2, rows, target)).astype(np.int32)
    lengths = rng.integers(1, target + 1, (2, rows, 1))
    targets = np.where(np.arange(target) < lengths, targets, 0).astype(np.int32)
    return {'tokens': np.where(mask, tokens, 0).astype(np.int32), 'mask': mask, 'targets': targets}


def run(model, batch: dict[str, np.ndarray], gradients: bool = True) -> dict[str, np.ndarray]:
    """Returns encoder states, logits, the mean token loss, its gradients and greedy tokens."""
    rows, target = batch['targets'].shape[1:]
    tokens, mask, targets = (torch.tensor(batch[k]) for k in ('tokens', 'mask', 'targets'))
    repeat = {
        'input_ids': tokens.long().repeat_interleave(rows, 0),
        'attention_mask': mask.long().repeat_interleave(rows, 0),
    }
    labels = targets.long().reshape(-1, target)
    labels = torch.where(labels == model.config.pad_token_id, -100, labels)
    with contextlib.nullcontext() if gradients else torch.no_grad():
        output = model(**repeat, labels=labels)
    states = output.encoder_last_hidden_state[::rows].detach().numpy()
    result = {
        'states': states,
        'logits': output.logits.detach().numpy().reshape(*batch['targets'].shape, -1),
        'loss': output.loss.detach().numpy(),
    }
    if gradients:
        model.zero_grad()
        output.loss.backward()
        for name, parameter in model.named_parameters():
            result[f'gradient/{name}'] = parameter.grad.numpy()
    greedy = model.generate(
        input_ids=tokens.long(),
        attention_mask=mask.long(),
        max_new_tokens=target,
        do_sample=False,
        num_beams=1,
        use_cache=False,  # transformers 5.23 sizes the cache by the encoder's layers
    )[:, 1:].numpy()
    result['greedy'] = np.pad(greedy, ((0, 0), (0, target - greedy.shape[1])))
    return result
