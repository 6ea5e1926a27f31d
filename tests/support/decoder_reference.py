"""PyTorch decoder-only models with random weights, and what they compute, to compare with."""

import contextlib

import numpy as np
import torch
import transformers

PAD, EOS, START = 3, 1, 2
SMALL = {  # no two sizes alike
    'vocab_size': 37,
    'hidden_size': 24,
    'intermediate_size': 20,
    'num_hidden_layers': 2,
    'num_attention_heads': 6,
    'num_key_value_heads': 2,
    'tie_word_embeddings': True,
    'pad_token_id': PAD,
    'eos_token_id': EOS,
    'answer_start_token_id': START,
}


def random_model(model_type: str, seed: int = 0, *, rope: dict | None = None, **fields):
    """Returns a model with every parameter perturbed, the norms and biases too.

    Args:
      model_type: the family, as transformers calls it.
      seed: of the weights.
      rope: kind, base and scaling of the rotary positions, as transformers 5 spells them.
      fields: of config.json, over those of `SMALL`.
    """
    torch.manual_seed(seed)
    rope = {'rope_type': 'default', 'rope_theta': 10000.0, **(rope or {})}
    config = transformers.AutoConfig.for_model(
        model_type, **{**SMALL, 'rope_parameters': rope, **fields}
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_((0.3 if 'norm' in name else 0.2) * torch.randn_like(parameter))
    return model


def random_batch(
    seed: int, *, vocab_size: int = 37, source: int = 9, rows: int = 3, target: int = 7
) -> dict[str, np.ndarray]:
    """Returns questions that end in EOS, and `rows` targets each, all of differing lengths.

    The third question has an EOS in the middle, and none at its end.
    """
    rng = np.random.default_rng(seed)
    tokens = rng.integers(4, vocab_size, (3, source)).astype(np.int32)
    lengths = np.array([[source], [max(2, source // 2)], [source - 1]])
    places = np.arange(source)
    tokens = np.where(places == lengths - 1, EOS, tokens)
    tokens[2, [2, source - 2]] = EOS, 5
    targets = rng.integers(4, vocab_size, (3, rows, target)).astype(np.int32)
    ends = rng.integers(1, target + 1, (3, rows, 1))
    targets = np.where(np.arange(target) < ends, targets, PAD).astype(np.int32)
    mask = places < lengths
    return {
        'tokens': np.where(mask, tokens, PAD).astype(np.int32),
        'mask': mask,
        'targets': targets,
    }


def run(model, batch: dict[str, np.ndarray], gradients: bool = True) -> dict[str, np.ndarray]:
    """Returns states, logits, the mean token loss, its gradients and greedy tokens.

    Every sequence is run by itself and without any padding: the prompt up to its last EOS, the
    token that starts an answer, the target. States are those of only the question, EOS included.
    """
    questions, rows, length = batch['targets'].shape
    logits = np.zeros((*batch['targets'].shape, model.config.vocab_size), np.float32)
    greedy = np.full((questions, length), PAD, np.int32)
    states = np.zeros((*batch['tokens'].shape, model.config.hidden_size), np.float32)
    losses, count = 0.0, 0
    model.zero_grad()
    with contextlib.nullcontext() if gradients else torch.no_grad():
        for b in range(questions):
            prompt = batch['tokens'][b][batch['mask'][b]].tolist()
            with torch.no_grad():
                read = model.model(torch.tensor([prompt])).last_hidden_state
            states[b, : len(prompt)] = read[0].numpy()
            prompt = (prompt[:-1] if prompt[-1] == EOS else prompt) + [START]
            for r in range(rows):
                target = batch['targets'][b, r].tolist()
                output = model(torch.tensor([prompt + target[:-1]])).logits[0, len(prompt) - 1 :]
                logits[b, r] = output.detach().numpy()
                labels = torch.tensor([token if token != PAD else -100 for token in target])
                losses += torch.nn.functional.cross_entropy(output, labels, reduction='sum')
                count += int((labels != -100).sum())
            written = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=length,
                do_sample=False,
            )[0, len(prompt) :]
            greedy[b, : len(written)] = written.numpy()
    loss = (losses / count).detach().numpy()
    result = {'states': states, 'logits': logits, 'greedy': greedy, 'loss': loss}
    if gradients:
        (losses / count).backward()
        for name, parameter in model.named_parameters():
            result[f'gradient/{name}'] = parameter.grad.numpy().copy()
    return result
