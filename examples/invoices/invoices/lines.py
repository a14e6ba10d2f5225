"""The lines of an invoice."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Line:
    """`quantity` pieces of an article at `price` each."""

    article: str
    quantity: int
    price: Decimal

    def amount(self) -> Decimal:
        return self.price * self.quantity


def subtotal(lines: list[Line]) -> Decimal:
    """The sum of all lines, before discount and tax."""
    return sum((line.amount() for line in lines), Decimal(0))


def articles(lines: list[Line]) -> list[str]:
    """The distinct articles, in order of appearance."""
    seen: list[str] = []
    for line in lines:
        if line.article not in seen:
            seen.append(line.article)
    return seen
