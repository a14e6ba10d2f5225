"""Everything of ours that reads bytes of others keeps its promise on seeds, old finds, and mutations of both."""

import itertools
import random

import parsers
import pytest
import seeds

MUTATIONS = 150
FINDS = [(target, path) for target in parsers.TARGETS for path in parsers.found(target)]


@pytest.fixture(autouse=True)
def _scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("FUZZ_SCRATCH", str(tmp_path))
    parsers._scratch.cache_clear()


def mutated(raw: bytes, words: list[bytes], dice: random.Random) -> bytes:
    """Cut, double, replace, or put a word of the seeds somewhere, a few times."""
    for _ in range(dice.randint(1, 4)):
        at, end = sorted(dice.choices(range(len(raw) + 1), k=2))
        at = max(at, end - 40)
        put = dice.choice(
            [b"", raw[at:end] * 2, dice.randbytes(2), dice.choice(words), b'"', b"\n", b"[" * 70, b"\xff"]
        )
        raw = raw[:at] + put + raw[end:]
    return raw


@pytest.mark.parametrize("target", parsers.TARGETS)
def test_nothing_but_a_promised_refusal_comes_of_mutated_input(target):
    dice = random.Random(random.getrandbits(32))  # of the seed that the whole run tells
    known = [*seeds.seeds()[target], *(path.read_bytes() for path in parsers.found(target))]
    words = [word for raw in known for word in raw.split()[:50]] or [b"x"]
    for raw in itertools.chain(known, (mutated(dice.choice(known), words, dice) for _ in range(MUTATIONS))):
        try:
            parsers.TARGETS[target](raw)
        except BaseException as error:
            raise AssertionError(f"{target} on {raw!r}") from error


@pytest.mark.parametrize(("target", "path"), FINDS, ids=lambda part: getattr(part, "name", part))
def test_what_was_found_before_is_mended(target, path):
    parsers.TARGETS[target](path.read_bytes())


def test_every_target_has_seeds_that_it_takes_and_every_find_has_a_target():
    assert seeds.seeds().keys() == parsers.TARGETS.keys()
    assert {path.name for path in (seeds.CORPUS / "finds").iterdir()} <= parsers.TARGETS.keys()
    assert all(seeds.seeds().values())
