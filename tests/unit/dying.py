"""dying: a death between two system calls, as a hook of `Disk` that does not end the process of the tests."""

from collections.abc import Callable


class Died(BaseException):
    """The process ends here."""


def dies_at(number: int) -> Callable[[str], None]:
    """Return a hook that raises `Died` at its call of that number, counted from 0, and never again."""
    left = iter(range(number + 1))

    def hook(_step: str) -> None:
        if next(left, None) == number:
            raise Died

    return hook
