"""checks: what `repairlab doctor` tries, one function a subject: programs, state (our directories), machine."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """`fail`: jobs will not run. `warn`: they run worse or less safely."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    """The result of one check: what was found, and what a person does about it."""

    name: str
    status: Status
    why: str
    fix: str = ""
