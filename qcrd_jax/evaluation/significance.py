"""Whether a difference is more than chance."""

from scipy import stats


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
    if wins < 0 or losses < 0:
        raise ValueError(f'expected counts, got {wins} and {losses}.')
    if not wins + losses:
        return 1.0
    return float(stats.binomtest(wins, wins + losses).pvalue)
