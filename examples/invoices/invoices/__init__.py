"""Invoices for a small shop: lines, tax and rounding, payment reminders."""

from invoices.ledger import Ledger
from invoices.lines import Line, subtotal
from invoices.pricing import total

__all__ = ["Ledger", "Line", "subtotal", "total"]
