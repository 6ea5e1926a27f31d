"""Writes qwen2.npz and qwen3_llama3.npz: tiny PyTorch checkpoints and what PyTorch computes.

From the root of the repository, where torch is installed:
python -m tests.golden.make_decoder_golden [name ...]
"""

import json
import pathlib
import sys

import numpy as np

from tests.support import decoder_reference as reference

FOLDER = pathlib.Path(__file__).parent

FLAVOURS = {
    'qwen2': ('qwen2', {'rope': {'rope_theta': 50.0}, 'num_hidden_layers': 3}),
    # No published model has both norms of queries and llama3's scaling; each is its own code.
    'qwen3_llama3': (
        'qwen3',
        {
            'head_dim': 10,
            'rope': {
                'rope_type': 'llama3',
                'rope_theta': 50.0,
                'factor': 4.0,
                'low_freq_factor': 1.0,
                'high_freq_factor': 3.0,
                'original_max_position_embeddings': 20,
            },
        },
    ),
}


def main() -> None:
    for name in sys.argv[1:] or FLAVOURS:
        model_type, fields = FLAVOURS[name]
        model = reference.random_model(model_type, 7, **fields)
        batch = reference.random_batch(3, source=17, rows=2, target=13)
        tensors = {f'tensor/{k}': v.numpy() for k, v in model.state_dict().items()}
        del tensors['tensor/lm_head.weight']  # tied
        config = json.dumps(model.config.to_dict())
        arrays = {**tensors, **batch, **reference.run(model, batch), 'config': np.array(config)}
        np.savez_compressed(FOLDER / f'{name}.npz', **arrays)


if __name__ == '__main__':
    main()
