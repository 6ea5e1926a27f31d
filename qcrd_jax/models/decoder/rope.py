"""The rotary positions of a config.json, as transformers 4 and 5 write them, in and out."""

from typing import Any, NoReturn

from qcrd_jax.models.config_fields import Fields
from qcrd_jax.models.decoder.config import SCALINGS, DecoderConfig, RopeScaling

# What a config.json calls the fields of a `RopeScaling`.
_FIELDS = {
    'factor': 'factor',
    'low_turns': 'low_freq_factor',
    'high_turns': 'high_freq_factor',
    'original_positions': 'original_max_position_embeddings',
}


def read_theta(fields: Fields) -> float:
    """Returns the base of the wavelengths."""
    whole = fields.get('rope_theta', float, 10000.0)
    return _within(fields).get('rope_theta', float, whole)


def read_scaling(fields: Fields, max_positions: int) -> RopeScaling | None:
    """Returns how rotary positions are stretched.

    Raises:
      InputError: naming the field where they are of a kind that is not computed, or turn only a
        part of each head.
    """
    rope = _within(fields)
    if fields.get('partial_rotary_factor', float, 1.0) != 1.0:
        fields.refuse('partial_rotary_factor', '1, rotary positions of whole heads')
    if rope.get('partial_rotary_factor', float, 1.0) != 1.0:
        _refuse(fields, 'partial_rotary_factor 1, rotary positions of whole heads')
    if any(isinstance(value, dict) for value in rope.raw.values()):
        _refuse(fields, 'one set of rotary positions for all layers')
    kind = rope.get('rope_type', str, 'default', alias='type')
    if kind == 'default':
        return None
    if kind not in SCALINGS:
        _refuse(
            fields,
            f'rope_type default, {" or ".join(SCALINGS)}; others are not computed. Without scaling '
            "a model is as it was trained, up to that training's length",
        )
    factor = _number(fields, rope, 'factor')
    names = {ours: f'{_name(fields)}.{theirs}' for ours, theirs in _FIELDS.items()}
    if kind == 'linear':
        return fields.build(RopeScaling, names, kind=kind, factor=factor)
    original = rope.get('original_max_position_embeddings', int, max_positions)
    return fields.build(
        RopeScaling,
        names,
        kind=kind,
        factor=factor,
        low_turns=_number(fields, rope, 'low_freq_factor'),
        high_turns=_number(fields, rope, 'high_freq_factor'),
        original_positions=fields.get('original_max_position_embeddings', int, original),
    )


def to_json(config: DecoderConfig) -> dict[str, Any]:
    """Returns the fields of a config.json in the form of transformers 4, which 5 reads as well."""
    scaling = config.rope_scaling
    if scaling is None:
        return {'rope_theta': config.rope_theta}
    written = {'rope_type': scaling.kind, 'factor': scaling.factor}
    if scaling.kind == 'llama3':
        written |= {
            'low_freq_factor': scaling.low_turns,
            'high_freq_factor': scaling.high_turns,
            'original_max_position_embeddings': scaling.original_positions,
        }
    return {'rope_theta': config.rope_theta, 'rope_scaling': written}


def _within(fields: Fields) -> Fields:
    """Returns what the object says that counts: where there are two, that of transformers 4."""
    return Fields(fields.path, fields.get(_name(fields), dict, {}))


def _name(fields: Fields) -> str:
    return 'rope_scaling' if fields.raw.get('rope_scaling') else 'rope_parameters'


def _number(fields: Fields, rope: Fields, name: str) -> float:
    value = rope.get(name, float, None)
    if value is None:
        _refuse(fields, f'a number {name}')
    return value


def _refuse(fields: Fields, expected: str) -> NoReturn:
    fields.refuse(_name(fields), expected)
