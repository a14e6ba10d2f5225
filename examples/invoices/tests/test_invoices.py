from datetime import date
from decimal import Decimal

import pytest

from invoices import Ledger, Line, subtotal, total
from invoices.lines import articles
from invoices.pricing import discount


def order(quantity, price="2.50", article="pen"):
    return [Line(article, quantity, Decimal(price))]


def test_subtotal_adds_all_lines():
    assert subtotal([*order(3), *order(2, "10.00", "ink")]) == Decimal("27.50")


def test_articles_are_listed_once():
    assert articles([*order(1), *order(2), *order(1, article="ink")]) == ["pen", "ink"]


def test_small_orders_get_no_discount():
    assert discount(order(9)) == 0


def test_discount_starts_at_the_threshold():
    assert discount(order(10)) == Decimal("0.02")
    assert discount(order(49)) == Decimal("0.02")
    assert discount(order(50)) == Decimal("0.05")
    assert discount(order(250)) == Decimal("0.10")


@pytest.mark.parametrize(("quantity", "expected"), [(1, "2.98"), (4, "11.90")])
def test_total_includes_tax(quantity, expected):
    assert total(order(quantity)) == Decimal(expected)


@pytest.fixture
def ledger():
    book = Ledger()
    book.bill("Adler", date(2024, 3, 1), Decimal("11.90"))
    book.bill("Adler", date(2024, 3, 20), Decimal("2.98"))
    book.bill("Berg", date(2024, 3, 10), Decimal("50.00"))
    return book


def test_oldest_invoice_is_settled_first(ledger):
    assert ledger.pay("Adler", Decimal("12.00")) == Decimal("0.10")
    assert ledger.owed("Adler") == Decimal("2.98")


def test_nobody_is_overdue_within_the_payment_term(ledger):
    assert ledger.overdue(date(2024, 3, 15)) == []
    assert ledger.overdue(date(2024, 3, 16)) == ["Adler"]
    assert ledger.overdue(date(2024, 4, 30)) == ["Adler", "Berg"]
