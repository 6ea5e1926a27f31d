"""A secret is hidden where a server repeats it, and nothing else of what it says is changed."""

import re

HIDDEN = '<key>'

_SHORTEST = 8  # characters of a key, or of its beginning, that stand nowhere by chance


class Redaction:
    """Hides one key.

    Args:
      key: the secret; '' where there is none.

    Examples:
      >>> redaction = Redaction('sk-12345678')
      >>> redaction.answer('Bearer sk-12345678, sk-123456789')
      'Bearer <key>, sk-123456789'
      >>> Redaction('42').answer('It is 42.'), Redaction('42').message('wrong: Bearer 42')
      ('It is 42.', 'wrong: Bearer <key>')
    """

    def __init__(self, key: str):
        self._key = key
        # Whole: no part of a longer word or of a longer number. Letters beyond ASCII stand in no
        # key, and may stand right beside one.
        word = rf'(?<![\w-]){re.escape(key)}(?![\w-])'
        if key.isdigit():
            word = rf'(?<!\d[.,]){word}(?![.,]\d)'
        self._short = len(key) < _SHORTEST
        self._word = re.compile(word, re.ASCII) if key else None
        self._header = re.compile(rf'(?i:bearer)\s+{word}', re.ASCII) if key else None

    def answer(self, text: str) -> str:
        """Returns what a model wrote without the key; a short one may be a word of the answer."""
        return text if self._word is None or self._short else self._word.sub(HIDDEN, text)

    def message(self, text: str) -> str:
        """Returns what a server says without the key, or the part of it before a cut."""
        if self._word is None or self._header is None:
            return text
        if self._short:
            return self._header.sub(f'Bearer {HIDDEN}', text)
        text = self._word.sub(HIDDEN, text)
        for length in range(len(self._key), _SHORTEST - 1, -1):
            end = f'{self._key[:length]}...'
            if text.endswith(end):
                return text.removesuffix(end) + f'{HIDDEN}...'
        return text
