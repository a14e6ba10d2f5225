"""bench/program: the command line of every bench, and the run of those that let the agent attempt many cases."""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import figures


def parser(told: str) -> argparse.ArgumentParser:
    """Return the command line of a program whose docstring is `told`; --help shows it as it stands."""
    return argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)


def parser_of_attempts(told: str, *, wall_s: float, seed_of: str) -> argparse.ArgumentParser:
    """Return it with the options of a program that attempts many cases."""
    made = parser(told)
    made.add_argument("--wall", type=float, default=wall_s, help="seconds that an attempt may take")
    made.add_argument("--effort", type=int, default=1)
    made.add_argument("--seed", type=int, default=0, help=f"of {seed_of}")
    made.add_argument("--only", nargs="*", default=[], help="names of the cases to take")
    made.add_argument("--jobs", type=int, default=1, help="cases at once; more than one spoils the times")
    made.add_argument("--no-probe", action="store_true", help="do not look for the causes of misses")
    made.add_argument("--json", type=Path, help="write the rows there")
    made.add_argument("--against", type=Path, help="an earlier --json: print what was gained and lost")
    return made


def attempted(cases: Iterable, one: Callable[..., dict], line: Callable[[dict], str], jobs: int) -> list:
    """Return the row of each case, in their order; print its line as soon as it is there."""
    rows = []
    with ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(one, cases):
            rows.append(row)
            print(line(row), flush=True)
    return rows


def concluded(
    rows: Sequence[dict], options: argparse.Namespace, shares: Sequence = figures.SHARES, by: Sequence[str] = ()
) -> int:
    """Keep the rows where --json says, print the tables; return the exit status, 1 where a true fix was refused."""
    old = json.loads(options.against.read_text()) if options.against else None
    if options.json:  # first: whoever reads the tables may go away
        options.json.write_text(json.dumps(rows, indent=1))
    title = f"wall {options.wall:g} s, effort {options.effort}, seed {options.seed}"
    print(figures.report(rows, title, shares), *(figures.grouped(rows, key) for key in by), sep="\n")
    if old is not None:
        print(figures.compared(old, rows))
    return 1 if any(row["cause"] == "false reject" for row in rows) else 0
