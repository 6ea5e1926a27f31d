"""Whether a difference is more than chance."""


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided sign test: were wins and losses tossed by a fair coin?

    Args:
      wins: pairs that the one side won; ties are left out.
      losses: pairs that the other side won.

    Returns:
      the probability of a split at least as uneven; 1 where nothing was won.

    Examples:
      >>> sign_test(5, 0)
      0.0625
    """
    if wins < 0 or losses < 0:
        raise ValueError(f'expected counts, got {wins} and {losses}.')
    number = wins + losses
    ways = tail = 1  # of tossing k heads, and at most k
    for k in range(min(wins, losses)):
        ways = ways * (number - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**number)
