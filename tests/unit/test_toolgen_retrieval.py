"""repairlab.toolgen.retrieval: functions that won before, as the body of the function that a spec asks for."""

import pytest

from repairlab.documents import Pattern, PatternKind, Spec, encode
from repairlab.documents.patterns import pattern_id
from repairlab.documents.specs import Example
from repairlab.patterns import function_pattern
from repairlab.toolgen import bundle
from repairlab.toolgen.retrieval import retrieved
from repairlab.toolgen.wishes import wish

SLUG = '''import re
WORD = re.compile(r"[a-z]+")


def words(text):
    return WORD.findall(text.lower())


def slug(text, between="-"):
    """Make a slug of a title."""
    found = words(text)
    return found[0] + between + slug(" ".join(found[1:]), between) if found[1:] else "".join(found)
'''


@pytest.fixture
def library(tmp_path):
    def put(source, name):
        function = function_pattern(source, name)
        pattern = Pattern(id=pattern_id(function), origin="won", kind=PatternKind.FUNCTION, function=function)
        (tmp_path / f"{pattern.id}.json").write_bytes(encode(pattern))
        return tmp_path

    return put


def tool(directory, signature, *arguments):
    """Return what the tool made of the one pattern returns."""
    spec = Spec(
        id="x", task="Make a slug of a title.", signature=signature, examples=[Example(input=list(arguments), output=0)]
    )
    wanted = wish(spec)
    ((_, body),) = retrieved(wanted, directory)
    room: dict = {}
    exec(bundle.files(wanted, body)[f"{wanted.name}.py"], room)
    return room[wanted.name](*arguments)


@pytest.mark.parametrize(
    ("signature", "arguments"),
    [
        ("slugged(text: str) -> str", ("Hello Big World",)),
        ("slug(text: str) -> str", ("Hello Big World",)),
        ("slug(title: str) -> str", ("Hello Big World",)),
        ("slug(between: str, text: str) -> str", ("-", "Hello Big World")),
        ("words(text: str) -> str", ("Hello Big World",)),
        ("slugged(words: str) -> str", ("Hello Big World",)),
        ("slugged(slug: str) -> str", ("Hello Big World",)),
    ],
)
def test_a_function_that_won_is_called_whatever_the_wanted_one_is_called(library, signature, arguments):
    assert tool(library(SLUG, "slug"), signature, *arguments) == "hello-big-world"
