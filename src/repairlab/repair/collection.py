"""collection: the front of an attempt: the tests of a bundle, or why there are none, or what would make them load."""

from collections.abc import Callable

from repairlab.repair import outcomes
from repairlab.repair.loading import Loading
from repairlab.repair.outcomes import Stop
from repairlab.trial.bundle import Bundle
from repairlab.trial.validation import Collected, Server

LEAST_COLLECT_S = 1.0  # a collection that does not end within less says nothing about the bundle
MAX_REFUSED = 5  # times that pytest refuses its options before that is the outcome


def collected(server: Server, bundle: Bundle, left_s: float) -> Collected:
    """Collect, leaving out what the bundle's configuration asks pytest for and cannot have.

    What cannot be loaded is in `errors`; everything else that keeps tests from being collected raises `Stop`.
    """
    limit = max(0.05, left_s / 2)
    found = server.collect(limit)
    for _ in range(MAX_REFUSED):
        cause = found.causes[0] if found.causes else None
        if cause is None or cause.kind != "UsageError" or not bundle.leave_out(*outcomes.refused(cause.message)):
            break
        found = server.collect(limit)
    if found.missing:
        raise Stop("pytest_missing", f"the bundle's interpreter cannot import pytest: {found.missing}")
    if found.lost and limit < LEAST_COLLECT_S:
        raise Stop("deadline", f"collecting the tests had no more than {limit:.2g} s: {found.lost}")
    if found.lost:
        raise Stop("collection_error", f"the process that collects the tests: {found.lost}")
    for path in found.files:  # whatever `python_files` calls them: no repair edits a test
        bundle.sources.pop(server.relative(path), None)
    if not found.errors and not found.ids:
        raise Stop("no_tests", "pytest collects no test; name them in the handoff's `tests`")
    return found


def loaded(server: Server, found: Collected, loading: Loading, timed: Callable[[], None]) -> None:
    """Search for texts that load; raise `Stop` with the reason why the bundle's own do not where there are none."""
    stop = outcomes.unloadable(found.causes, found.errors, loading.bundle, server.relative)
    try:
        loading.run(server, found.causes)
    finally:
        timed()
    if not loading.plausible and not loading.bases:
        tried = f"; {loading.tried} changes tried" if loading.tried else ""
        raise Stop(stop.reason, stop.details + tried)
