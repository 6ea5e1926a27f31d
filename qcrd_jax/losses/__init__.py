"""The losses of QCRD and its baselines as pure functions on arrays.

Nothing here knows a model, a config or a random key: bring logits or cross-entropies from any
student, scores from any discriminator. Shapes: `B` questions, `R` rationales of a question (`M`
positive, `K` negative), `T` target tokens, `L` label tokens, `V` vocabulary. Cross-entropies are in
nats. Masks are bool, True is real. Inputs of any float type are widened to float32 first, and no
mask makes a NaN, in values or in gradients. Arrays whose shapes do not belong together are a
ValueError that names the argument; nothing broadcasts.

References: QCRD is Wang et al., "Quality-guided Contrastive Rationale Distillation for Large
Language Models", EMNLP 2025; equation and table numbers are its own. DSS is Hsieh et al., 2023
(arXiv:2305.02301). MI is Chen et al., 2024 (arXiv:2403.03348).
"""

from qcrd_jax.losses.baselines import (
    MUTUAL_INFORMATION_VARIANTS,
    MutualInformationVariant,
    dss_loss,
    mutual_information_loss,
    pooled_mutual_information,
)
from qcrd_jax.losses.contrastive import (
    SCHEMES,
    SELECTING_SCHEMES,
    SIDES,
    ContrastiveLoss,
    Scheme,
    Side,
    contrastive_loss,
    margin_loss,
    rationale_weights,
    select,
    total_loss,
)
from qcrd_jax.losses.discriminator import (
    DISCRIMINATOR_LOSSES,
    DiscriminatorLoss,
    DiscriminatorTerms,
    discriminator_loss,
)
from qcrd_jax.losses.linear import linear_cross_entropy, max_probabilities
from qcrd_jax.losses.preference import (
    advantage_weights,
    dpo_loss,
    kto_divergence,
    kto_loss,
    orpo_loss,
    redi_loss,
    simpo_loss,
    spin_loss,
    unlikelihood_loss,
)
from qcrd_jax.losses.tokens import (
    masked_mean,
    seq2seq_loss,
    sequence_cross_entropy,
    sequence_mean,
    token_cross_entropy,
)

__all__ = [
    'DISCRIMINATOR_LOSSES',
    'MUTUAL_INFORMATION_VARIANTS',
    'SCHEMES',
    'SELECTING_SCHEMES',
    'SIDES',
    'ContrastiveLoss',
    'DiscriminatorLoss',
    'DiscriminatorTerms',
    'MutualInformationVariant',
    'Scheme',
    'Side',
    'advantage_weights',
    'contrastive_loss',
    'discriminator_loss',
    'dpo_loss',
    'dss_loss',
    'kto_divergence',
    'kto_loss',
    'linear_cross_entropy',
    'margin_loss',
    'masked_mean',
    'max_probabilities',
    'mutual_information_loss',
    'orpo_loss',
    'pooled_mutual_information',
    'rationale_weights',
    'redi_loss',
    'select',
    'seq2seq_loss',
    'sequence_cross_entropy',
    'sequence_mean',
    'simpo_loss',
    'spin_loss',
    'token_cross_entropy',
    'total_loss',
    'unlikelihood_loss',
]
