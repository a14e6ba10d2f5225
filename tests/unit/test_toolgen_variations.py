"""Variations of a spec: what they keep must hold for them too."""

import pytest

from repairlab.documents import Spec
from repairlab.documents.specs import Example, Io
from repairlab.toolgen.variations import variations
from repairlab.toolgen.wishes import wish

EXAMPLES = [Example(input=given, output=given + 1) for given in range(4)]
INTS = Io(inputs={"n": "int"}, output="int")


@pytest.mark.parametrize(
    "told", [{"signature": "def more(n: int) -> int"}, {"io": INTS}], ids=["signature", "name of the id"]
)
def test_a_benchmark_goes_along_where_the_function_that_it_calls_does(told):
    spec = Spec(id="more", task="Add one.", examples=EXAMPLES, benchmark="print(more(3))", **told)
    other = Spec(id="other", task="Add one.", examples=EXAMPLES, **told)
    made = list(variations(spec, [other], "plateau"))
    assert len(made) == 3
    for each in made[:2]:  # narrowed and widened
        assert (each.benchmark is not None) == (wish(each).name == "more"), each.id
    assert made[2].benchmark is None
