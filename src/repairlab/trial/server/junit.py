"""junit: what a JUnit report says, for both programs that run plain pytest inside a sandbox.

One part of the program that `repairlab.trial.server` assembles (Python 3.8 or newer).
"""

import xml.etree.ElementTree as ET


def junit_cases(path):
    """Return [[class name, name, outcome], …] of a JUnit report, or None where there is no complete one."""
    try:
        tree = ET.parse(path)  # noqa: S314  expat bounds entities, and this process is confined
    except (OSError, ET.ParseError, LookupError, ValueError):  # the last two: of an encoding that expat cannot read
        return None
    cases = []
    for case in tree.iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        outcome = "f" if "failure" in kinds else "e" if "error" in kinds else "s" if kinds else "p"
        cases.append([case.get("classname") or "", case.get("name") or "", outcome])
    return cases
