"""Writes qwen2.npz: a tiny PyTorch Qwen2 checkpoint and what PyTorch computes with it.

From the root of the repository, where torch is installed: python -m tests.golden.make_qwen2_golden
"""

import json
import pathlib

import numpy as np

from tests.support import qwen2_reference as reference

FOLDER = pathlib.Path(__file__).parent


def main() -> None:
    model = reference.random_model(7, theta=50.0)
    batch = reference.random_batch(3, source=17, rows=2, target=13)
    tensors = {f'tensor/{k}': v.numpy() for k, v in model.state_dict().items()}
    del tensors['tensor/lm_head.weight']  # tied
    config = json.dumps(model.config.to_dict())
    arrays = {**tensors, **batch, **reference.run(model, batch), 'config': np.array(config)}
    np.savez_compressed(FOLDER / 'qwen2.npz', **arrays)


if __name__ == '__main__':
    main()
