"""Who still owes what."""

from datetime import date, timedelta
from decimal import Decimal

PAYMENT_DAYS = 14


class Ledger:
    """Open invoices by customer."""

    def __init__(self) -> None:
        self._open: dict[str, list[tuple[date, Decimal]]] = {}

    def bill(self, customer: str, on: date, amount: Decimal) -> None:
        self._open.setdefault(customer, []).append((on, amount))

    def pay(self, customer: str, amount: Decimal) -> Decimal:
        """Settle the oldest invoices first; return what is left of the payment."""
        invoices = self._open.get(customer, [])
        while invoices and amount >= invoices[0][1]:
            amount -= invoices.pop(0)[1]
        return amount

    def owed(self, customer: str) -> Decimal:
        return sum((amount for _, amount in self._open.get(customer, [])), Decimal(0))

    def overdue(self, today: date) -> list[str]:
        """Customers with an invoice that should have been paid before today, alphabetically."""
        late = []
        for customer, invoices in self._open.items():
            if any(day - timedelta(days=PAYMENT_DAYS) < today for day, _ in invoices):
                late.append(customer)
        return sorted(late)
