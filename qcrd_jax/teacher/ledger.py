"""What has been spent, what may be spent by the requests in flight, and where to stop."""

import dataclasses

from ml_collections import config_dict

from qcrd_jax.errors import InputError
from qcrd_jax.teacher.responses import Usage

_PER = 1_000_000  # tokens that a price is for


@dataclasses.dataclass(frozen=True)
class Limits:
    """Prices and what may be spent in all, over every run of a journal.

    Attributes:
      input_price: USD per million tokens sent.
      output_price: USD per million tokens written.
      budget: USD; 0: no limit.
      max_tokens_total: tokens sent and written; 0: no limit.
    """

    input_price: float = 0.0
    output_price: float = 0.0
    budget: float = 0.0
    max_tokens_total: int = 0

    def __post_init__(self):
        if self.budget and not (self.input_price or self.output_price):
            raise InputError(
                '--config.teacher.budget: a budget in USD needs prices; set '
                '--config.teacher.input_price and --config.teacher.output_price (USD per million '
                'tokens), or limit tokens by --config.teacher.max_tokens_total.'
            )

    @classmethod
    def from_config(cls, teacher: config_dict.ConfigDict) -> 'Limits':
        """Reads `config.teacher`."""
        return cls(
            input_price=float(teacher.input_price),
            output_price=float(teacher.output_price),
            budget=float(teacher.budget),
            max_tokens_total=teacher.max_tokens_total,
        )


class Ledger:
    """Adds up usage, and says whether one more request fits even if every answer is the longest.

    A request is reserved at its worst before it is sent and settled at what it was charged. As no
    request costs more than its reservation, `reserve` only where `fits` keeps the limits exactly.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.estimated_tokens = 0  # of the two above, those that nobody counted
        self._reserved_prompt = 0
        self._reserved_completion = 0

    @property
    def tokens(self) -> int:
        """Tokens charged, sent and written."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float:
        """USD charged, at the limits' prices."""
        return self._price(self.prompt_tokens, self.completion_tokens)

    def charge(self, usage: Usage) -> None:
        """Adds what a request was charged."""
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
        if usage.estimated:
            self.estimated_tokens += usage.prompt_tokens + usage.completion_tokens

    def fits(self, worst: Usage) -> bool:
        """Whether a request of at most so many tokens can be sent beside those in flight."""
        prompt = self.prompt_tokens + self._reserved_prompt + worst.prompt_tokens
        completion = self.completion_tokens + self._reserved_completion + worst.completion_tokens
        limits = self.limits
        if limits.budget and self._price(prompt, completion) > limits.budget:
            return False
        return not limits.max_tokens_total or prompt + completion <= limits.max_tokens_total

    def reserve(self, worst: Usage) -> None:
        """Counts a request as in flight."""
        self._reserved_prompt += worst.prompt_tokens
        self._reserved_completion += worst.completion_tokens

    def settle(self, worst: Usage, usage: Usage | None) -> None:
        """Counts a request as done, at what it was charged (None: nothing)."""
        self._reserved_prompt -= worst.prompt_tokens
        self._reserved_completion -= worst.completion_tokens
        if usage is not None:
            self.charge(usage)

    def describe(self) -> str:
        """Returns what was spent and of how much, in words."""
        limits = self.limits
        spent = f'{self.tokens} tokens'
        if limits.max_tokens_total:
            spent += f' of {limits.max_tokens_total}'
        if limits.input_price or limits.output_price:
            spent += f', ${self.cost:.4f}' + (f' of ${limits.budget:g}' if limits.budget else '')
        return spent

    def _price(self, prompt_tokens: int, completion_tokens: int) -> float:
        limits = self.limits
        price = prompt_tokens * limits.input_price + completion_tokens * limits.output_price
        return price / _PER
