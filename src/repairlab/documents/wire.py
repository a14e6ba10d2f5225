"""wire: from bytes to a typed document and back; the types that the documents share."""

import json
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Annotated, Any, TypeVar, get_args

import msgspec
import orjson

from repairlab.errors import BadInput

MAX_BYTES = 1 << 20  # a handoff is a page, not an archive; a larger one is a mistake or an attack
MAX_DEPTH = 32
INSTANT_CHARS = 64  # msgspec takes a fraction of any length, and rounds it


def matching(pattern: str, min_length: int | None = None, max_length: int | None = None) -> msgspec.Meta:
    """Return what makes a text match as a whole, a newline at its end included, which Python's `$` lets through."""
    return msgspec.Meta(pattern=rf"^{pattern}\Z", min_length=min_length, max_length=max_length)


Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}")]
HexId = Annotated[str, matching(r"[0-9a-f]{32}")]  # sd-id128(3)
Instant = Annotated[datetime, msgspec.Meta(tz=True, extra_json_schema={"maxLength": INSTANT_CHARS})]
Name = Annotated[str, matching(r"[A-Za-z0-9_][A-Za-z0-9._:@+-]*", min_length=1, max_length=128)]
Text = Annotated[str, msgspec.Meta(max_length=65536)]
Targets = Annotated[dict[str, float], msgspec.Meta(max_length=50)]  # such as fitness: at least; median_ms: at most
PathText = Annotated[str, matching(r"[^\x00]*", min_length=1, max_length=4096)]


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every document. `unknown` holds the fields of the wire object that the type does not name."""

    unknown: dict[str, Any] = msgspec.field(default_factory=dict, name="$unknown")


D = TypeVar("D", bound=Document)

_JSON_NAMES = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}


def parse(raw: bytes, *, what: str = "document", max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the one JSON object in `raw`, or raise `BadInput` saying what is wrong with the bytes and where."""
    if not raw.strip():
        raise BadInput(f"the {what} is empty", fix="write one JSON object")
    if len(raw) > max_bytes:
        raise BadInput(f"the {what} has {len(raw)} bytes, the bound is {max_bytes}", fix="refer to files, not contents")
    _check_depth(raw, what)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"the {what} is not JSON: {error}", fix="write one object of strict UTF-8 JSON") from None
    if not isinstance(value, dict):
        raise BadInput(f"the {what} is a JSON {_JSON_NAMES[type(value)]}, not an object", fix="wrap it in { … }")
    json.loads(raw, object_pairs_hook=_unique)  # orjson keeps the last of two equal keys without a word
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        names = [key for key, _ in pairs]
        twice = next(key for key in names if names.count(key) > 1)
        raise BadInput("the key stands twice in one object", field=twice, fix="keep one of them")
    return seen


def _check_depth(raw: bytes, what: str) -> None:
    """Bound the nesting before a recursive parser sees it (brackets inside strings make this an upper bound)."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    in_string = escaped = False
    for byte in raw:
        if in_string:
            escaped, in_string = (byte == 0x5C and not escaped), (byte != 0x22 or escaped)
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BadInput(f"the {what} nests deeper than {MAX_DEPTH}", fix="flatten it")
        elif byte in b"]}":
            depth -= 1


def decode(raw: bytes, kind: type[D], *, max_bytes: int = MAX_BYTES) -> D:
    """Return `raw` as a valid `kind`, its unknown fields in `.unknown`; raise `BadInput` naming the field otherwise."""
    return convert(parse(raw, what=kind.__name__.lower(), max_bytes=max_bytes), kind)


@cache
def _names(kind: type[Document]) -> frozenset[str]:
    """Return the wire names of the fields; asking msgspec evaluates every annotation anew."""
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind))


@cache
def _instants(kind: type[Document]) -> frozenset[str]:
    """Return the wire names of the fields that hold one instant, or none."""
    instants = (Instant, Instant | None)
    return frozenset(field.encode_name for field in msgspec.structs.fields(kind) if field.type in instants)


def _check_instants(named: dict[str, Any], kind: type[Document]) -> None:
    for field in _instants(kind) & named.keys():
        length = len(named[field]) if isinstance(named[field], str) else 0
        if length > INSTANT_CHARS:
            message = f"the instant has {length} characters, the bound is {INSTANT_CHARS}"
            raise BadInput(message, field=field, fix=_fix(kind, field))


def convert(value: dict[str, Any], kind: type[D]) -> D:
    """Validate an already parsed object as a `kind`; raise `BadInput` naming the field."""
    known = _names(kind)
    unknown = {key: item for key, item in value.items() if key not in known}
    named = {key: item for key, item in value.items() if key in known and not key.startswith("$")}
    _check_instants(named, kind)
    try:
        document = msgspec.convert(named, kind, strict=True)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        field = path.rstrip("`").removeprefix("$").lstrip(".")
        if "missing required field" in message:
            inner = message.split("`")[1]
            message = "the field is missing" + ("" if field else _misspelled(inner, unknown))
            field = f"{field}.{inner}" if field else inner
        raise BadInput(message, field=field, fix=_fix(kind, field)) from None
    return msgspec.structs.replace(document, unknown=unknown) if unknown else document


def _misspelled(field: str, unknown: Iterable[str]) -> str:
    """Name the unknown field that was perhaps meant as `field`."""
    import difflib

    short = [name for name in unknown if len(name) <= 2 * len(field)]
    return "".join(f"; is it what {name!r} means?" for name in difflib.get_close_matches(field, short[:100], n=1))


def _fix(kind: type[Document], field: str) -> str:
    """What a person does about a bad `field`: the type and bounds that it must have."""
    head = field.split(".", 1)[0].split("[", 1)[0]
    for known in msgspec.structs.fields(kind):
        if known.encode_name == head:
            return f"see {head} in docs/documents/{kind.__name__.lower()}.schema.json ({_describe(known.type)})"
    return f"see docs/documents/{kind.__name__.lower()}.schema.json"


def schema_of(annotation: Any) -> dict[str, Any]:
    """Return the JSON schema of a type; its patterns are ECMA-262's, where the end is `$` and nothing else."""
    found: dict[str, Any] = json.loads(json.dumps(msgspec.json.schema(annotation)), object_hook=_ecma)
    return found


def _ecma(schema: dict[str, Any]) -> dict[str, Any]:
    pattern = schema.get("pattern")
    return schema | {"pattern": pattern.removesuffix(r"\Z") + "$"} if isinstance(pattern, str) else schema


def _describe(annotation: Any) -> str:
    schema = schema_of(annotation)
    if "anyOf" in schema:
        schema = next((s for s in schema["anyOf"] if s.get("type") != "null"), schema)
    known = ("type", "format", "minimum", "maximum", "minLength", "maxLength", "maxItems", "pattern")
    parts = [f"{key} {schema[key]}" for key in known if key in schema]
    return ", ".join(parts) or " ".join(str(a) for a in get_args(annotation)) or "object"


def encode(document: Document) -> bytes:
    """Return the document as one line of JSON, proved to decode; known fields win over unknown of the same name."""
    value = msgspec.to_builtins(document)
    value.pop("$unknown", None)
    raw = orjson.dumps({**document.unknown, **value})
    decode(raw, type(document), max_bytes=1 << 26)
    return raw + b"\n"
