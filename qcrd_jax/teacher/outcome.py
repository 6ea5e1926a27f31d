"""What became of many requests, and what a person can do about what is missing."""

import dataclasses

from qcrd_jax.teacher import extra
from qcrd_jax.teacher.client import Settings
from qcrd_jax.teacher.responses import Fault

_AGAIN = 'Run the same command again to resume.'

# Faults that the same request meets again, and what to change instead.
_ADVICE = {
    'rejected': (
        'The same requests would be rejected again: change what the server names (the prompt, '
        f'--config.teacher.max_tokens, {extra.FIELD}), or do without these answers.'
    ),
    'cut': (
        'The model thinks for longer than it may: raise --config.teacher.max_tokens (of a judge, '
        f'--config.judge.max_tokens), or have it think less by {extra.FIELD}.'
    ),
    'timeout': 'Raise --config.teacher.timeout, or run the same command again to resume.',
    'too_large': 'No answer has so many bytes: mend the server, or --config.teacher.base_url.',
    'html': 'A web page is no model: mend --config.teacher.base_url, or log in where it asks.',
}


@dataclasses.dataclass
class Outcome:
    """What one run did.

    Attributes:
      present: records that were there already.
      recorded: records that this run added.
      given_up: records that are missing after all attempts; the next run tries them again.
      given_up_by: of these, how many by the kind of their last fault.
      requests: sent to the server.
      retries: of these, those that were not the first for their record.
      faults: requests that brought no answer, by kind.
      last_fault: kind and words of the latest of them; '' if there was none.
      seconds: that the run took.
      stopped: why it ended before all jobs were done, and what to do; '' if it did not.
      interrupted: number of the signal that stopped it; 0: none did.
    """

    present: int = 0
    recorded: int = 0
    given_up: int = 0
    given_up_by: dict[str, int] = dataclasses.field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    faults: dict[str, int] = dataclasses.field(default_factory=dict)
    last_fault: str = ''
    seconds: float = 0.0
    stopped: str = ''
    interrupted: int = 0

    @property
    def why_missing(self) -> str:
        """Why answers are missing in the end, and what to do: to run again only where it helps."""
        if self.stopped:
            return self.stopped
        if not self.given_up:
            return _AGAIN
        return f'{self.given_up} were given up, the last fault is {self.last_fault}. {self.advice}'

    @property
    def advice(self) -> str:
        """What to do about the records that were given up."""
        advice = [_ADVICE[kind] for kind in self.given_up_by if kind in _ADVICE]
        if self.given_up_by.keys() - _ADVICE.keys():
            advice.append(_AGAIN)
        return ' '.join(advice)

    def give_up(self, kind: str) -> None:
        """Counts a record that is missing."""
        self.given_up += 1
        self.given_up_by[kind] = self.given_up_by.get(kind, 0) + 1


def explain(fault: Fault, settings: Settings) -> str:
    """Returns what to do about a fault that ends a run."""
    url, words = settings.base_url, fault.message
    if fault.kind == 'unauthorised':
        where = f'the key in ${settings.key_variable}'
        if not settings.key:
            where = f'a request without a key (${settings.key_variable} is not set)'
        return (
            f'{url} does not accept {where} ({words}). Set a valid one, then run the same command '
            'again to resume.'
        )
    if fault.kind == 'not_found':
        return (
            f'{url} has no model {settings.model!r}, or is not the address of the API, which ends '
            f'in /v1 ({words}). Mend --config.teacher.model or --config.teacher.base_url.'
        )
    if fault.kind == 'redirected':
        return (
            f'{url} sends the request elsewhere ({words}), where neither it nor the key is sent. '
            'If you trust that address, set --config.teacher.base_url to it, up to its /v1.'
        )
    if fault.kind == 'rejected':
        return (
            f'{url} does not take a field that every request has ({words}). Change it, or remove '
            f'it by null, as in {extra.FIELD}=\'{{"temperature": null}}\': what the server then '
            'does by itself decides the answers.'
        )
    return (
        f'{url} refuses requests ({words}). Mend what it names: fill the account, then run the '
        'same command again to resume; or set another --config.teacher.base_url.'
    )
