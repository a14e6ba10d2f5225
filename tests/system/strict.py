"""strict: in CI nothing of this tier may be skipped, or nobody would notice that a part of it is gone.

A conftest imports the hook; it makes a failure of every skip while CI=true is in the environment, whoever skipped: a
fixture, a mark, or the test itself.
"""

import os
from collections.abc import Iterator

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Turn a skip into a failure with the same reason."""
    report = (yield).get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        *_, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"CI must not skip {item.name}: {reason.removeprefix('Skipped: ')}"
