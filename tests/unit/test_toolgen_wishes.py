"""What a spec asks for, or the field that does not say it."""

import pytest

from repairlab.documents import Spec
from repairlab.documents.specs import Example
from repairlab.errors import BadInput
from repairlab.toolgen.wishes import wish


def asked(benchmark):
    told = [Example(input=1, output=2)]
    return wish(Spec(id="more", task="Add one.", signature="more(n)", examples=told, benchmark=benchmark))


@pytest.mark.parametrize(
    "text", ["print(", "return more(1)", "from __future__ import annotations\nprint(more(1))", "break", "x = '\0'"]
)
def test_a_benchmark_that_cannot_run_after_the_import_is_refused_with_its_field(text):
    with pytest.raises(BadInput) as told:
        asked(text)
    assert told.value.field == "benchmark"


def test_a_benchmark_may_be_any_program():
    assert asked("import time\nfor n in range(9):\n    print(more(n))").spec.benchmark
