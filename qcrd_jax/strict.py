"""What JSON allows and nothing of ours does: a name twice in an object, and half a character."""

from typing import Any

_LONGEST = 80  # characters of a name that an error shows


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns an object, as `object_pairs_hook`: JSON would keep the last of two values of a name.

    Raises:
      ValueError: if a name is there twice; it says which.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        twice = repr(next(name for name, _ in pairs if name in seen or seen.add(name)))
        shown = twice if len(twice) <= _LONGEST else f'{twice[: _LONGEST - 3]}...'
        raise ValueError(f'the name {shown} is there twice')
    return value


def is_unicode(text: str) -> bool:
    """Returns whether UTF-8 can hold the text: there is no half of a surrogate pair in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
