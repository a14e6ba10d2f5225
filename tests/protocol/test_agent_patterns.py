"""The real repairlab-agent with a library of patterns that other repairs were mined for."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repairlab.documents import Telemetry, decode, encode
from repairlab.patterns import mined

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "bin/repairlab-agent"
LEARNT = "def by_price(items):\n    return sorted(items)\n"
TAUGHT = "def by_price(items):\n    return sorted(items, key=lambda item: (item['rank'], -item['size']))\n"
OTHER = """class Table:
    def __init__(self, rows):
        self.rows = rows

    def best(self, count):
        ordered = sorted( self.rows )[:count]  # the first
        return [row["name"] for row in ordered]
"""
TESTS = """from table import Table

ROWS = [{"name": n, "rank": r, "size": s} for n, r, s in [("a", 2, 1), ("b", 1, 1), ("c", 1, 5), ("d", 3, 9)]]


def test_best():
    assert Table(ROWS).best(2) == ["c", "b"]
    assert Table(ROWS).best(4) == ["c", "b", "a", "d"]
"""

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed"),
]


def bundle(tmp_path, files):
    path = tmp_path / "bundle"
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def attempt(bundle, tmp_path, *, root, wall_s=20, **settings):
    out = tmp_path / "out"
    (tmp_path / "handoff.json").write_text(json.dumps({"bundle_dir": str(bundle), "limits": {"wall_s": wall_s}}))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "REPAIRLAB_ROOT": str(root), **settings}
    command = [sys.executable, str(AGENT), "--handoff", str(tmp_path / "handoff.json"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, env=environ)
    assert done.returncode in (0, 1), done.stderr.decode()
    return decode(done.stdout, Telemetry), out


def library(tmp_path, before, after):
    directory = tmp_path / "root" / "patterns"
    directory.mkdir(parents=True, exist_ok=True)
    found = mined({"m.py": before}, {"m.py": after}, origin="spec-12")
    for pattern in found:
        (directory / f"{pattern.id}.json").write_bytes(encode(pattern))
    return directory.parent, found


def test_a_pattern_of_one_repair_repairs_another_bundle_under_other_names(tmp_path):
    root, (edit, *_) = library(tmp_path, LEARNT, TAUGHT)
    (root / "patterns/broken.json").write_text("{")
    failing = bundle(tmp_path, {"table.py": OTHER, "test_table.py": TESTS})
    telemetry, out = attempt(failing, tmp_path, root=root)
    assert (telemetry.ok, telemetry.strategy, telemetry.pattern_id) == (
        True,
        "pattern_transplant",
        f"spec-12:{edit.id}",
    )
    told = {run.strategy: run for run in telemetry.strategies}["pattern_transplant"]
    assert (told.plausible, told.why) == (1, "found")
    assert told.details.startswith("1 patterns left out: broken.json")
    changed = [
        line
        for line in (out / "patch.diff").read_text().splitlines()
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert len(changed) == 2
    assert changed[1].endswith("[:count]  # the first")
    control, _ = attempt(failing, tmp_path, root=root, wall_s=5, REPAIRLAB_AGENT_PATTERNS="0")
    assert not control.ok


VERIFIED = '''import re


def words(text):
    return re.findall(r"[a-z]+", text.lower())


def count_words(limit, text):
    """Count the words of a text that are longer than a limit."""
    counts = {}
    for word in words(text):
        if len(word) > limit:
            counts[word] = counts.get(word, 0) + 1
    return counts
'''
SIMILAR = '''def word_counts(sentence, limit=0):
    """Count the words longer than the limit in a sentence."""
    counts = {}
    for word in sentence:
        counts[word] = len(word)
    return counts
'''
COUNTED = """from text import word_counts


def test_word_counts():
    assert word_counts("A bee, a Bee: a wasp!") == {"a": 3, "bee": 2, "wasp": 1}
    assert word_counts("A bee, a Bee: a wasp!", limit=3) == {"wasp": 1}
"""


def test_a_verified_function_stands_in_for_a_similar_one_with_another_signature(tmp_path):
    root, _ = library(tmp_path, VERIFIED.replace("> limit", ">= limit"), VERIFIED)
    failing = bundle(tmp_path, {"text.py": SIMILAR, "test_text.py": COUNTED})
    telemetry, out = attempt(failing, tmp_path, root=root)
    assert (telemetry.ok, telemetry.strategy) == (True, "signature_adapter")
    assert telemetry.pattern_id.startswith("spec-12:")
    assert "text is sentence" in telemetry.details
    assert "+import re\n" in (out / "patch.diff").read_text()


def test_a_function_takes_the_keyword_that_its_tests_give_it_and_its_body_is_repaired_too(tmp_path):
    source = 'def total(prices, rate):\n    """Sum."""\n    return sum(prices) * (1 - rate)\n'
    tests = (
        "from shop import total\n\n\ndef test_one():\n    assert total([10, 20], tax=0.5) == 45\n\n\n"
        "def test_two():\n    assert total(prices=[4], tax=0.25) == 5\n"
    )
    failing = bundle(tmp_path, {"shop.py": source, "test_shop.py": tests})
    telemetry, out = attempt(failing, tmp_path, root=tmp_path / "none", wall_s=40)
    assert (telemetry.ok, telemetry.strategy) == (True, "multi_edit")
    told = {run.strategy: run for run in telemetry.strategies}
    assert told["signature_adapter"].tried > 0
    assert "+def total(prices, tax):" in (out / "patch.diff").read_text()
    assert "+    return sum(prices) * (1 + tax)" in (out / "patch.diff").read_text()
