"""What honest tests of other people do still works in the sandbox: the filter and the limits refuse attacks alone."""

import json
import subprocess
import sys
from pathlib import Path

SUITE = Path(__file__).parents[1] / "attacks/suite"


def test_an_honest_test_run_passes():
    argv = [sys.executable, SUITE, "bubblewrap", "--honest"]
    told = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=50).stdout)
    assert told["failed"] == [], told["said"]
    assert told["passed"] == (SUITE / "honest.py").read_text().count("\ndef test_")
