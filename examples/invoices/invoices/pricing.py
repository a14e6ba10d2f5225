"""Discount and tax."""

from decimal import ROUND_HALF_UP, Decimal

from invoices.lines import Line, subtotal

CENT = Decimal("0.01")
VAT = Decimal("0.19")

# (pieces from which it holds, discount)
DISCOUNTS = [(100, Decimal("0.10")), (50, Decimal("0.05")), (10, Decimal("0.02"))]


def discount(lines: list[Line]) -> Decimal:
    """The share of the subtotal that a large order saves: 2 % from 10 pieces, 5 % from 50, 10 % from 100."""
    pieces = sum(line.quantity for line in lines)
    for threshold, share in DISCOUNTS:
        if pieces > threshold:
            return share
    return Decimal(0)


def total(lines: list[Line]) -> Decimal:
    """What the customer pays, rounded to the cent."""
    net = subtotal(lines) * (1 - discount(lines))
    return (net * (1 + VAT)).quantize(CENT, rounding=ROUND_HALF_UP)
