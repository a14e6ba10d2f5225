"""A scale that cannot please its two customers."""


def rounded(grams: int) -> int:
    """The weight to the next ten grams."""
    return grams // 10 * 10
