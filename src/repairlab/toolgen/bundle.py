"""bundle: what a tool consists of: its module, tests from examples and properties, a page, its SBOM, its spec.

The same spec and body make the same bytes, so that a spec that is handed in again makes no second tool.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from repairlab.documents import encode
from repairlab.spool.disk import remove_tree
from repairlab.toolgen.synthesis import Body
from repairlab.toolgen.wishes import Wish

INDENT = "    "
SPEC = "spec.json"


def written(wish: Wish, body: Body, place: Path) -> Path:
    """Write the bundle as the new directory `place`, replacing what an earlier try left there; return it."""
    if place.exists():
        remove_tree(str(place))
    for name, text in files(wish, body).items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return place


def files(wish: Wish, body: Body) -> dict[str, str]:
    """Return path → text of the bundle."""
    timed = {name: "\n".join(_benchmark(wish)) + "\n"} if (name := benchmark(wish)) else {}
    return timed | {
        f"{wish.name}.py": "\n".join(_module(wish, body)) + "\n",
        f"tests/test_{wish.name}.py": "\n".join(_tests(wish)) + "\n",
        "README.md": "\n".join(_page(wish, body)) + "\n",
        "sbom.cdx.json": _sbom(wish),
        SPEC: encode(wish.spec).decode(),
    }


def benchmark(wish: Wish) -> str | None:
    """Return the path of the benchmark in the bundle, None where the spec has none."""
    return f"benchmarks/time_{wish.name}.py" if wish.spec.benchmark else None


def _benchmark(wish: Wish) -> Iterator[str]:
    yield from (f'"""Benchmark of {wish.name}, from its spec."""', "", f"from {wish.name} import {wish.name}", "")
    yield wish.spec.benchmark or ""


def _module(wish: Wish, body: Body) -> Iterator[str]:
    task = _words(wish.spec.task) or wish.spec.id
    yield from (f'"""{task}"""', "", "from __future__ import annotations", "")
    if body.imports:
        yield from (*body.imports, "")
    yield ""
    for text in body.before:
        yield from (*text.splitlines(), "", "")
    yield wish.header
    yield f'{INDENT}"""{task}"""'
    yield from (INDENT + line for line in body.lines)


def _tests(wish: Wish) -> Iterator[str]:
    yield from (f'"""Tests of {wish.name}, from the examples and properties of its spec."""', "")
    yield from ("import copy", "", "import pytest", "", f"from {wish.name} import {wish.name}", "")
    yield "EXAMPLES = ["
    yield from (f"{INDENT}({arguments!r}, {result!r})," for arguments, result in wish.examples)
    yield from ("]", "", "")
    yield '@pytest.mark.parametrize(("arguments", "expected"), EXAMPLES)'
    yield "def test_example(arguments, expected):"
    yield f"{INDENT}result = {wish.name}(*copy.deepcopy(arguments))"
    yield f"{INDENT}assert result == expected"
    yield f"{INDENT}assert type(result) is type(expected)"
    for number, text in enumerate(wish.spec.properties, 1):
        yield from ("", "")
        yield '@pytest.mark.parametrize("arguments", [arguments for arguments, _ in EXAMPLES])'
        yield f"def test_property_{number}(arguments):"
        yield f"{INDENT}{', '.join(wish.parameters)}, = copy.deepcopy(arguments)"
        yield f"{INDENT}result = {wish.name}(*copy.deepcopy(arguments))"
        yield f"{INDENT}assert {text}"


def _page(wish: Wish, body: Body) -> Iterator[str]:
    yield from (f"# {wish.name}", "", wish.spec.task, "", "```python", wish.header.removesuffix(":"), "```", "")
    yield from ("| input | output |", "|---|---|")
    yield from (f"| `{arguments!r}` | `{result!r}` |" for arguments, result in wish.examples[:20])
    if wish.spec.constraints:
        yield from ("", "Constraints:", "", *(f"- {_words(text)}" for text in wish.spec.constraints))
    if wish.spec.targets:
        yield from ("", "Targets:", "", *(f"- {_words(name)}: {value:g}" for name, value in wish.spec.targets.items()))
    yield from (
        "",
        f"Made from the spec `{wish.spec.id}`: {body.how}.",
    )


def _sbom(wish: Wish) -> str:
    """Return the CycloneDX document of a tool that needs nothing but Python."""
    import uuid

    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, f"repairlab spec {wish.spec.id}"))
    bom.metadata.component = Component(
        type=ComponentType.LIBRARY, name=wish.name, description=_words(wish.spec.task), bom_ref=wish.spec.id
    )
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)  # the same spec, the same bytes
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _words(text: str) -> str:
    """Return text of a spec as one line that may stand in a docstring."""
    return " ".join(text.replace("\\", " ").replace('"', "'").split())[:500]
