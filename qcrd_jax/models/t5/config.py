"""The architecture of a T5: v1.0, v1.1, Flan and mT5 are settings of one dataclass."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp

from qcrd_jax.models.checks import MOST_BUCKETS, MOST_POSITIONS, check_config, require

_exact_gelu = functools.partial(jax.nn.gelu, approximate=False)
_tanh_gelu = functools.partial(jax.nn.gelu, approximate=True)

# By the names that Hugging Face gives them; the tanh form of GELU has several.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    'relu': jax.nn.relu,
    'gelu': _exact_gelu,
    'gelu_python': _exact_gelu,
    'gelu_new': _tanh_gelu,
    'gelu_fast': _tanh_gelu,
    'gelu_accurate': _tanh_gelu,
    'gelu_pytorch_tanh': _tanh_gelu,
    'gelu_python_tanh': _tanh_gelu,
    'quick_gelu': lambda x: x * jax.nn.sigmoid(1.702 * x),
    'silu': jax.nn.silu,
    'swish': jax.nn.silu,
    'mish': jax.nn.mish,
    'relu2': lambda x: jnp.square(jax.nn.relu(x)),
    'relu6': jax.nn.relu6,
    'leaky_relu': jax.nn.leaky_relu,
    'hardswish': jax.nn.hard_swish,
    'tanh': jnp.tanh,
    'sigmoid': jax.nn.sigmoid,
    'linear': lambda x: x,
}

# d_model, d_kv, d_ff, num_heads, layers (of the encoder, and as many of the decoder).
_SIZES = {
    'v1.0': {
        'tiny': (128, 32, 256, 4, 2),
        'small': (512, 64, 2048, 8, 6),
        'base': (768, 64, 3072, 12, 12),
        'large': (1024, 64, 4096, 16, 24),
        'xl': (1024, 128, 16384, 32, 24),
    },
    'v1.1': {
        'tiny': (128, 32, 256, 4, 2),
        'small': (512, 64, 1024, 6, 8),
        'base': (768, 64, 2048, 12, 12),
        'large': (1024, 64, 2816, 16, 24),
        'xl': (2048, 64, 5120, 32, 24),
    },
}


@dataclasses.dataclass(frozen=True)
class T5Config:
    """Shapes and constants of a T5; the defaults are those of v1.0 small.

    Attributes:
      vocab_size: rows of the embedding.
      d_model: width of the residual stream.
      d_kv: size of one head; `num_heads * d_kv` need not be `d_model`.
      d_ff: inner width of the feed-forward layers.
      num_heads: attention heads.
      encoder_layers: layers of the encoder.
      decoder_layers: layers of the decoder.
      activation: a name in `ACTIVATIONS`, as Hugging Face calls it.
      gated: the feed-forward layer multiplies the activation by a second projection (v1.1).
      tied_head: the logits are taken against the embedding itself.
      scale_decoder_outputs: the decoder's output is multiplied by d_model^-0.5 before the head.
      relative_buckets: rows of the relative position bias.
      relative_max_distance: distances from here on share the last bucket.
      norm_epsilon: added to the mean square in the norms.
      dropout_rate: probability of dropping, where a dropout key is passed.
      pad_id: id of the padding token.
      eos_id: id that ends every sequence.
      start_id: id that the decoder starts from.
    """

    vocab_size: int = 32128
    d_model: int = 512
    d_kv: int = 64
    d_ff: int = 2048
    num_heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    activation: str = 'relu'
    gated: bool = False
    tied_head: bool = True
    scale_decoder_outputs: bool = True
    relative_buckets: int = 32
    relative_max_distance: int = 128
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.1
    pad_id: int = 0
    eos_id: int = 1
    start_id: int = 0

    model_type: ClassVar[str] = 't5'  # what folders that are written say, those read as mT5 too

    def __post_init__(self):
        check_config(self, 'encoder_layers', 'decoder_layers')
        known = self.activation in ACTIVATIONS
        require(self, 'activation', known, f'one of {", ".join(ACTIVATIONS)}')
        # Half of the buckets are for each direction, half of those for exact distances.
        fits = 4 <= self.relative_buckets <= MOST_BUCKETS and self.relative_buckets % 2 == 0
        require(self, 'relative_buckets', fits, f'an even number from 4 to {MOST_BUCKETS}')
        half = self.relative_buckets // 2
        far = half < self.relative_max_distance <= MOST_POSITIONS
        expected = f'more than relative_buckets / 2 = {half}, and at most {MOST_POSITIONS}'
        require(self, 'relative_max_distance', far, expected)

    @classmethod
    def named(cls, size: str, vocab_size: int = 32128, version: str = 'v1.0') -> 'T5Config':
        """Returns one of the published sizes, or `tiny`, which is ours.

        >>> T5Config.named('base').d_model
        768
        """
        if version not in _SIZES:
            raise ValueError(f'version: expected one of {", ".join(_SIZES)}; got {version!r}')
        if size not in _SIZES[version]:
            raise ValueError(f'size: expected one of {", ".join(_SIZES[version])}; got {size!r}')
        d_model, d_kv, d_ff, num_heads, layers = _SIZES[version][size]
        v1_0 = version == 'v1.0'
        return cls(
            vocab_size=vocab_size,
            d_model=d_model,
            d_kv=d_kv,
            d_ff=d_ff,
            num_heads=num_heads,
            encoder_layers=layers,
            decoder_layers=layers,
            activation='relu' if v1_0 else 'gelu_new',
            gated=not v1_0,
            tied_head=v1_0,
            scale_decoder_outputs=v1_0,
        )


VERSIONS = {
    version: {size: T5Config.named(size, version=version) for size in sizes}
    for version, sizes in _SIZES.items()
}
