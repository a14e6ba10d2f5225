"""testrun: what one test of a bundle did in the sandbox, in the bundle's own terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Line = tuple[str, int]
PASSING = ("p", "s", "x")  # passed, skipped, failed as expected


@dataclass(frozen=True)
class TestRun:
    """What one test did at baseline: `lines` hits per line, `crash` the editable frames, innermost last.

    `earlier`, of a failing test that calls the code more than once: whether the last call ran a line, and how many of
    the calls before it, which came back and disappointed nobody.
    """

    __test__ = False  # not a test itself, whatever pytest makes of its name

    id: str
    outcome: str
    cpu_s: float = 0.0
    message: str = ""
    lines: Mapping[Line, int] = field(default_factory=dict)
    crash: tuple[Line, ...] = ()
    earlier: Mapping[Line, tuple[bool, int]] = field(default_factory=dict)

    @property
    def failing(self) -> bool:
        """True for failed, error, hang and died; a skipped or expectedly failing test is none."""
        return self.outcome not in PASSING
