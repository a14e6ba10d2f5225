"""documents: what is accepted, what is refused, and whether the reason names the field and the fix."""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repairlab import documents
from repairlab.documents import Challenger, Handoff, Spec, Telemetry
from repairlab.errors import BadInput
from repairlab.trial.probes import Behaviour

SCHEMAS = Path(__file__).parents[2] / "docs" / "documents"
SHA = "0" * 64


def refusal(raw: bytes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        documents.decode(raw, Handoff)
    return caught.value


def test_bundle_dir_alone_is_a_handoff() -> None:
    handoff = documents.decode(b'{"bundle_dir": "/srv/bundle"}', Handoff)
    assert handoff.bundle_dir == "/srv/bundle"
    assert handoff.priority == 0
    assert handoff.tests == []


def test_unknown_fields_are_kept_and_written_back() -> None:
    handoff = documents.decode(b'{"bundle_dir": "b", "ticket": {"id": 7}}', Handoff)
    assert handoff.unknown == {"ticket": {"id": 7}}
    assert json.loads(documents.encode(handoff)) == {"bundle_dir": "b", "ticket": {"id": 7}}


def test_an_unknown_field_cannot_pose_as_the_internal_one() -> None:
    handoff = documents.decode(b'{"bundle_dir": "b", "$unknown": {"priority": 9}}', Handoff)
    assert handoff.priority == 0
    assert handoff.unknown == {}


@pytest.mark.parametrize(
    ("raw", "field", "words"),
    [
        (b"", "", "empty"),
        (b" \n", "", "empty"),
        (b"{", "", "not JSON"),
        (b"\xff\xfe", "", "not JSON"),
        (b"[]", "", "array"),
        (b'"text"', "", "string"),
        (b"{}", "bundle_dir", "missing"),
        (b'{"bundle_dir": 1}', "bundle_dir", "Expected `str`"),
        (b'{"bundle_dir": ""}', "bundle_dir", "length"),
        (b'{"bundle_dir": "a\\u0000b"}', "bundle_dir", "regex"),
        (b'{"bundle_dir": "a", "bundle_dir": "b"}', "bundle_dir", "twice"),
        (b'{"bundle_dir": "a", "env": {"X": "1", "X": "2"}}', "X", "twice"),
        (b'{"bundle_dir": "a", "ts": NaN}', "", "not JSON"),
        (b'{"bundle_dir": "a", "ts": 1e999}', "", "not JSON"),
        (b'{"bundle_dir": "a", "limits": {"wall_s": 0}}', "limits.wall_s", "> 0"),
        (b'{"bundle_dir": "a", "tests": ["t", 1]}', "tests[1]", "Expected `str`"),
        (b'{"bundle_dir": "a", "priority": "high"}', "priority", "Expected `int`"),
        (b'{"bundle_dir": "a", "not_before": "2030-01-01T00:00:00"}', "not_before", "timezone"),
        (b'{"bundle_dir": "a", "lineage": "../../etc"}', "lineage", "regex"),
        (b'{"bundle_dir": "a", "schema": "handoff/9"}', "schema", "regex"),
    ],
)
def test_bad_input_is_refused_by_field_with_a_fix(raw: bytes, field: str, words: str) -> None:
    error = refusal(raw)
    assert error.field == field
    assert words in error.message
    assert error.fix


def test_depth_is_bounded_before_a_recursive_parser_sees_it() -> None:
    assert "nests deeper" in refusal(b'{"bundle_dir": ' + b"[" * 100_000).message


def test_brackets_inside_strings_are_not_depth() -> None:
    raw = json.dumps({"bundle_dir": '[{"\\' * 200}).encode()
    assert documents.decode(raw, Handoff).bundle_dir == '[{"\\' * 200


def test_size_is_bounded() -> None:
    assert "the bound is" in refusal(b'{"bundle_dir": "' + b"a" * documents.MAX_BYTES + b'"}').message


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_bad_input(raw: bytes) -> None:
    try:
        documents.decode(raw, Handoff)
    except BadInput as error:
        assert str(error)


@given(
    st.dictionaries(
        st.sampled_from(["bundle_dir", "tests", "limits", "ts", "not_before", "env", "x"]),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-9, 9)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=5,
        ),
    )
)
def test_whatever_decodes_encodes_to_the_same_document(value: dict[str, Any]) -> None:
    try:
        handoff = documents.decode(json.dumps(value).encode(), Handoff)
    except BadInput:
        return
    assert documents.decode(documents.encode(handoff), Handoff) == handoff


def test_encode_refuses_what_the_constructor_let_through() -> None:
    with pytest.raises(BadInput, match="priority"):
        documents.encode(Handoff(bundle_dir="b", priority=10_000))
    telemetry = Telemetry(
        ok=True,
        attempts=0,
        strategy=documents.Strategy.NOOP,
        pattern_id=None,
        details="",
        bundle_sha256=SHA,
        parent_sha256=SHA,
        candidates_per_s=float("nan"),
    )
    with pytest.raises(BadInput, match="candidates_per_s"):
        documents.encode(telemetry)


def test_results_carry_every_field_for_jq_also_those_at_their_default() -> None:
    telemetry = Telemetry(
        ok=False,
        attempts=0,
        strategy=documents.Strategy.EXHAUSTED,
        pattern_id=None,
        details="",
        bundle_sha256=SHA,
        parent_sha256=SHA,
    )
    wire = json.loads(documents.encode(telemetry))
    assert (wire["effort"], wire["candidates"], wire["pattern_id"]) == (1, [], None)
    assert "$unknown" not in wire


def test_fixed_field_names_are_on_the_wire() -> None:
    """People's jq lines use them."""
    wanted = {
        Handoff: "bundle_dir ts source spec_path epoch impl_style reason metrics lineage tests editable held_out "
        "benchmark targets retired_tests python env limits priority not_before idempotency_key",
        Telemetry: "ok attempts strategy pattern_id details bundle_sha256 correct confidence clusters question",
        Challenger: "ts source bundle_dir spec_path lineage original_epoch original_fitness repair_strategy "
        "repair_pattern_id repair_attempts repair_details bundle_sha256 meta_repair patch parent_sha256",
    }
    for kind, names in wanted.items():
        assert set(names.split()) <= set(kind.__struct_encode_fields__)


def test_committed_schemas_are_those_of_the_code() -> None:
    """`make schemas` writes them."""
    assert {path.name: path.read_bytes() for path in SCHEMAS.glob("*.schema.json")} == documents.schemas()


def test_a_misspelled_field_is_named_beside_the_one_that_is_missing():
    with pytest.raises(BadInput, match=r"missing; is it what 'bundel_dir' means\?"):
        documents.decode(b'{"bundel_dir": "/x", "note": "y"}', Handoff)
    with pytest.raises(BadInput) as caught:
        documents.decode(b'{"note": "y"}', Handoff)
    assert caught.value.message == "the field is missing"


def pattern_fields():
    """Every type with a pattern below the documents, by that pattern."""

    def within(found):
        if getattr(found, "pattern", None):
            yield found.pattern
        for name in ("type", "item_type", "key_type", "value_type"):
            if hasattr(found, name):
                yield from within(getattr(found, name))
        for inner in getattr(found, "types", ()):
            yield from within(inner)
        for field in getattr(found, "fields", ()):
            yield from within(field.type)

    roots = [msgspec.inspect.type_info(kind) for kind in (*documents.KINDS, Behaviour)]
    return sorted({pattern for root in roots for pattern in within(root)})


@pytest.mark.parametrize("pattern", pattern_fields())
@given(data=st.data())
def test_no_pattern_lets_a_newline_at_the_end_through(pattern, data) -> None:
    assert pattern.endswith(r"\Z")
    kind = Annotated[str, msgspec.Meta(pattern=pattern)]
    text = data.draw(st.from_regex(pattern))
    assert msgspec.convert(text, kind) == text
    if pattern != r"^[^\x00]*\Z":  # a path may end so
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text + "\n", kind)


def test_there_are_patterns_and_the_schemas_have_them_as_ecma_does() -> None:
    assert len(pattern_fields()) >= 12
    told = {match for text in documents.schemas().values() for match in re.findall(rb'"pattern": "(.*)"', text)}
    assert {pattern.endswith(b"$") and rb"\Z" not in pattern for pattern in told} == {True}
    assert {json.loads(b'"' + pattern + b'"') for pattern in told} <= {
        pattern.removesuffix(r"\Z") + "$" for pattern in pattern_fields()
    }


@pytest.mark.parametrize("end", ["\n", "\r", "\u2028", "\0", " "])
def test_a_lineage_is_a_name_to_its_last_character(end) -> None:
    document = json.dumps({"bundle_dir": "b", "lineage": f"line{end}"})
    assert refusal(document.encode()).field == "lineage"


def test_a_field_that_is_missing_within_another_is_named_with_its_place():
    raw = b'{"id": "x", "task": "t", "inputs": 1, "examples": [{"input": 1, "output": 2}, {"args": [2], "output": 4}]}'
    with pytest.raises(BadInput) as caught:
        documents.decode(raw, Spec)
    assert (caught.value.field, caught.value.message) == ("examples[1].input", "the field is missing")
    assert "see examples in docs/documents/spec.schema.json" in caught.value.fix
