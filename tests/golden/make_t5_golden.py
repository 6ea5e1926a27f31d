"""Writes t5_*.npz: tiny PyTorch T5 checkpoints and what PyTorch computes with them.

From the root of the repository, where torch is installed: python -m tests.golden.make_t5_golden
"""

import json
import pathlib

import numpy as np

from tests.support import t5_reference as reference

FOLDER = pathlib.Path(__file__).parent

FLAVOURS = {
    # The last bucket starts at distance 20, and the sequences are longer.
    'v1_0': {'relative_attention_num_buckets': 8, 'relative_attention_max_distance': 20},
    'v1_1': {'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False},
}


def main() -> None:
    for name, fields in FLAVOURS.items():
        model = reference.random_model(7, **fields)
        if name == 'v1_1':
            reference.untie(model)
        batch = reference.random_batch(3, source=27, rows=2, target=25)
        tensors = {f'tensor/{k}': v.numpy() for k, v in model.state_dict().items()}
        for alias in ('encoder.embed_tokens', 'decoder.embed_tokens'):
            del tensors[f'tensor/{alias}.weight']
        config = json.dumps(model.config.to_dict())
        arrays = {**tensors, **batch, **reference.run(model, batch), 'config': np.array(config)}
        np.savez_compressed(FOLDER / f't5_{name}.npz', **arrays)


if __name__ == '__main__':
    main()
