"""Commands and configurations as they may be shown: without any value that may hold a secret.

Keys belong into environment variables, and nothing asks for one elsewhere; but nothing keeps a
person from writing one into a field that takes any text.
"""

import os
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence

PRIVATE = ('teacher.base_url', 'teacher.extra', 'teacher.key_variable')
"""Fields of the configuration whose values may hold a secret; no page and no command shows them."""

HIDDEN = 'HIDDEN'
"""Stands for a value that is not shown."""

_SECRETIVE = re.compile(
    r'(?:^|[._-])(?:api_?key|key|token|secret|password|passwd|credentials?|auth(?:orization)?)'
    r'(?:$|[._-])',
    re.IGNORECASE,
)
_SECRET = re.compile(
    r'://[^/\s]*@|://\S*\?|\bbearer\b|(?<!\w)(?:sk-|hf_|gh[opsur]_|xox[abp]-)[\w-]{8}',
    re.IGNORECASE,
)
_SHORTEST = 8  # characters of a secret in the environment, which stand nowhere by chance


def is_private(field: str) -> bool:
    """Returns whether the value of a field, or of a flag, may hold a secret.

    Examples:
      >>> is_private('teacher.extra'), is_private('api-key'), is_private('teacher.max_tokens')
      (True, True, False)
    """
    # A whole group, and what is in a field, count as the field.
    named = any(f'{field}.'.startswith(f'{each}.') for each in PRIVATE)
    return named or field == 'teacher' or bool(_SECRETIVE.search(field))


def without_secrets(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> str:
    """Returns a command as a shell takes it, without any value that may hold a secret.

    Args:
      argv: the program's name and its arguments.
      environ: whose secrets are hidden wherever they stand.

    Examples:
      >>> without_secrets(['/home/me/run.py', '--config.teacher.extra={"key": 1}'], {})
      'python run.py --config.teacher.extra=HIDDEN'
      >>> without_secrets(['run.py', '--config.data.source', 'my data', '--mode=train'], {})
      "python run.py --config.data.source 'my data' --mode=train"
    """
    known = [
        value
        for name, value in environ.items()
        if _SECRETIVE.search(name) and len(value) >= _SHORTEST
    ]
    shown, follows = ['python', pathlib.Path(argv[0]).name if argv else ''], False
    for argument in argv[1:]:
        flag, equals, _ = argument.partition('=') if argument.startswith('-') else ('', '', '')
        private = bool(flag) and is_private(flag.lstrip('-').removeprefix('config.'))
        secret = bool(_SECRET.search(argument)) or any(each in argument for each in known)
        if follows or (secret and not equals):
            shown.append(HIDDEN)
        elif equals and (secret or private):
            shown.append(f'{flag}={HIDDEN}')
        else:
            shown.append(argument)
        follows = private and not equals and not follows  # `--flag value`
    return shlex.join(shown)
