"""bench/fuzz: coverage-guided fuzzing of everything that reads untrusted bytes (bench/parsers.py), by atheris.

    python bench/fuzz.py [--seconds 60] [--target NAME …] [--jobs 2] [--keep DIR]

The time is shared evenly by the targets, `--jobs` run at once. Each starts from its seeds, from what was found before
(tests/documents/finds/TARGET/) and from what an earlier run kept in DIR. A finding is an input on which a target raises
what it should not, takes more than 10 s, or more than 2 GiB: it is written to DIR/TARGET/finds/. Once it is mended, its
smallest form goes to tests/documents/finds/TARGET/, from where the tests run it.

Prints executions, edges of bytecode reached, inputs worth keeping, findings. Exit 1 with findings, 69 without atheris.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from machine import table

TIMEOUT_S, MEMORY_MB, MAX_BYTES = 10, 2048, 4096
GRACE_S = 300  # on a busy machine a target takes minutes to start and to end


@dataclass
class Told:
    """What libFuzzer said of one target."""

    target: str
    executions: int
    edges: int
    corpus: int
    finds: list[Path]
    trouble: str

    def row(self) -> list[str]:
        return [self.target, f"{self.executions:,}", f"{self.edges:,}", f"{self.corpus:,}", str(len(self.finds))]


def one(target: str, arguments: list[str]) -> None:
    """Be the fuzzer of one target; never returns."""
    import atheris

    with atheris.instrument_imports(include=["repairlab", "unidiff", "xml"]):
        import parsers

    atheris.Setup([target, *arguments], parsers.TARGETS[target])
    atheris.Fuzz()


def fuzzed(target: str, seconds: int, place: Path) -> Told:
    """Fuzz one target; go on after a finding until the time is over."""
    corpus, finds = place / target / "corpus", place / target / "finds"
    corpus.mkdir(parents=True, exist_ok=True)
    finds.mkdir(exist_ok=True)
    _begin(target, corpus)
    executions = edges = 0
    trouble = ""
    end = time.monotonic() + seconds
    while (left_s := int(end - time.monotonic())) > 0 and not trouble:
        limits = [f"-max_total_time={left_s}", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB}"]
        options = [f"-dict={place / target / 'words'}", f"-artifact_prefix={finds}/", "-print_final_stats=1"]
        command = [sys.executable, __file__, "--one", target, "--", *limits, *options, f"-max_len={MAX_BYTES}"]
        before = len(list(finds.iterdir()))
        said = _said([*command, str(corpus)], left_s + GRACE_S)
        with (place / target / "log").open("a") as log:
            log.write(said)
        executions += sum(map(int, re.findall(r"number_of_executed_units: *(\d+)", said)))
        edges = max([edges, *map(int, re.findall(r"cov: (\d+)", said))])
        if len(list(finds.iterdir())) == before and "Done " not in said:
            trouble = said[-500:]
    return Told(target, executions, edges, len(list(corpus.iterdir())), sorted(finds.iterdir()), trouble)


def _begin(target: str, corpus: Path) -> None:
    """Write the seeds, and the words that inputs are made of."""
    import parsers
    import seeds

    known = [path.read_bytes() for path in parsers.found(target)]
    for number, seed in enumerate([*seeds.seeds()[target], *known]):
        (corpus / f"seed-{number}").write_bytes(seed)
    text = b"".join(seeds.seeds()[target])
    words = set(re.findall(rb"[\w$./:@+-]{2,40}", text))
    lines = [json.dumps(word.decode("ascii")) for word in sorted(words) if word.isascii()]
    (corpus.parent / "words").write_text("\n".join([*lines, '"\\xff"', '"\\x00"', '"\\xed\\xa0\\x80"']) + "\n")


def _said(command: list[str], within_s: float) -> str:
    with tempfile.TemporaryDirectory(prefix="repairlab-fuzz-") as scratch:
        environment = os.environ | {"FUZZ_SCRATCH": scratch, "PYTHONHASHSEED": "0"}
        try:
            ended = subprocess.run(
                command, capture_output=True, env=environment, cwd=scratch, timeout=within_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            return (error.stderr or b"").decode(errors="replace")
    return (ended.stderr + ended.stdout).decode(errors="replace")


def main() -> int:
    import parsers

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--target", action="append", choices=sorted(parsers.TARGETS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="corpus, findings and logs; without it only findings are kept")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: it has wheels for x86-64 Linux and Python 3.11 to 3.13 alone", file=sys.stderr)
        return os.EX_UNAVAILABLE
    targets = options.target or list(parsers.TARGETS)
    place = options.keep or Path(tempfile.mkdtemp(prefix="repairlab-fuzz-"))
    each_s = max(1, options.seconds * options.jobs // len(targets))
    with ThreadPoolExecutor(options.jobs) as pool:
        told = list(pool.map(lambda target: fuzzed(target, each_s, place), targets))
    print(table(["target", "executions", "edges", "corpus", "finds"], [found.row() for found in told]))
    print(f"{sum(found.executions for found in told):,} executions, {each_s} s a target")
    for found in told:
        print(*(f"{found.target}: {path}" for path in found.finds), sep="\n", end="\n" if found.finds else "")
        print(f"{found.target} ended early: {found.trouble}" if found.trouble else "", end="")
    failed = any(found.finds or found.trouble for found in told)
    if not failed and not options.keep:
        shutil.rmtree(place)
    return int(failed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], sys.argv[4:])
    sys.exit(main())
