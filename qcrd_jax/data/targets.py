"""Rationale and label in one target, as Single-Task has them.

A student of one task writes its reasoning first and then its answer, after words that say where
the answer begins: `Take 3 from 8. 8 - 3 = 5. The answer is ( 8 - 3 )`.
"""

ANSWER = 'The answer is'


def join(rationale: str, label: str) -> str:
    """Returns the one target; without a rationale it is only the answer, '' without a label.

    Examples:
      >>> join('8 - 3 = 5.', '( 8 - 3 )')
      '8 - 3 = 5. The answer is ( 8 - 3 )'
    """
    if not label:
        return ''
    return f'{rationale} {ANSWER} {label}'.strip()


def split(text: str) -> tuple[str, str]:
    """Returns the rationale and the answer of what a student wrote; the answer '' if it gave none.

    The last statement counts, for a rationale may name an answer on its way.

    Examples:
      >>> split('8 - 3 = 5. The answer is ( 8 - 3 )')
      ('8 - 3 = 5.', '( 8 - 3 )')
      >>> split('8 - 3 = 5.')
      ('8 - 3 = 5.', '')
    """
    rationale, found, answer = text.rpartition(ANSWER)
    return (rationale.strip(), answer.strip()) if found else (text.strip(), '')
