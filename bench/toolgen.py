#!/usr/bin/env python3
"""How many specs toolgen solves without a model and without a library.

    .venv/bin/python bench/toolgen.py [--specs bench/specs.jsonl] [--search-s 20] [--only NAME ...]

Each line of the file is a spec with `held_out` examples besides. Printed per spec: "right" where the body that was
found answers the held-out examples too, "overfits" where it answers the spec's own alone, else what share of these it
has right; how many expressions were built, and how many a second. The counts repeat as long as no search ends by its
time.
"""

import copy
import time
from pathlib import Path

import program

from repairlab.documents import Spec, decode
from repairlab.documents.specs import Example
from repairlab.toolgen.synthesis import synthesised
from repairlab.toolgen.wishes import wish

SPECS = Path(__file__).with_name("specs.jsonl")


def answers(made, body, examples):
    """Whether the body, which consists of our own expressions, gives the results of the examples."""
    names = {}
    exec("\n".join([*body.imports, made.header, *(f"    {line}" for line in body.lines)]), {"Any": object}, names)
    space = dict(names)
    function = space.pop(made.name)
    function.__globals__.update(space)
    try:
        return all(repr(function(*copy.deepcopy(arguments))) == repr(result) for arguments, result in examples)
    except Exception:
        return False


def main():
    parser = program.parser(__doc__)
    parser.add_argument("--specs", type=Path, default=SPECS)
    parser.add_argument("--search-s", type=float, default=20.0)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    found, built, wall_s, count = {"right": 0, "overfits": 0}, 0, 0.0, 0
    for line in options.specs.read_bytes().splitlines():
        spec = decode(line, Spec)
        if options.only and spec.id not in options.only:
            continue
        made = wish(spec)
        held_out = [Example(input=each["input"], output=each["output"]) for each in spec.unknown["held_out"]]
        begun = time.monotonic()
        body = synthesised(made, options.search_s)
        took_s = time.monotonic() - begun
        verdict = f"{body.share:.0%}"
        if body.share == 1:
            from msgspec.structs import replace

            judged = wish(replace(spec, examples=held_out)).examples
            verdict = "right" if answers(made, body, judged) else "overfits"
            found[verdict] += 1
        count, built, wall_s = count + 1, built + body.tried, wall_s + took_s
        rate = f"{body.tried:8} {body.tried / took_s:8.0f}/s {took_s:5.1f} s"
        print(f"{spec.id:20} {verdict:8} {rate}  {'; '.join(body.lines)}")
    print(
        f"{found['right']} of {count} right, {found['overfits']} overfit, {built} expressions, {built / wall_s:.0f}/s"
    )


if __name__ == "__main__":
    main()
