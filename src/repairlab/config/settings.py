"""settings: every setting, its type, bounds, default and the sentence that explains it.

The structs are the one source of the configuration file's comments, of `config show`, of the errors' fixes and of the
manual: a setting that is added here appears in all of them.
"""

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import msgspec


def _told(text: str, **bounds: Any) -> msgspec.Meta:
    return msgspec.Meta(description=text, **bounds)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the sections: every field's `Meta` carries its bounds and its sentence."""


class Queue(Section, frozen=True, kw_only=True):
    """When a job is tried again, and when it has failed for good."""

    failures: Annotated[int, _told("failures within the window that end in hard_fail", ge=1, le=1000)] = 3
    window_s: Annotated[float, _told("length of the sliding window of failures", gt=0, le=31_536_000)] = 600.0
    crashes: Annotated[int, _told("worker crashes within the window that end in hard_fail", ge=1, le=1000)] = 3
    orphans: Annotated[int, _told("deaths of the owner within the window that end in hard_fail", ge=1, le=1000)] = 10
    max_attempts: Annotated[int, _told("counted attempts in a job's whole life", ge=1, le=10000)] = 6
    max_orphans: Annotated[int, _told("deaths of the owner in a job's whole life", ge=1, le=1_000_000)] = 30
    backoff_base_s: Annotated[float, _told("first pause after a failure (full jitter)", gt=0, le=86400)] = 10.0
    backoff_cap_s: Annotated[float, _told("longest pause after a failure", gt=0, le=604800)] = 120.0
    rescan_s: Annotated[float, _told("pause between two scans of the directory", ge=0.05, le=3600)] = 5.0
    settle_s: Annotated[float, _told("rest that an unfinished-looking arrival gets first", ge=0, le=3600)] = 2.0
    quota_waiting: Annotated[int, _told("waiting jobs that one producer may have", ge=1, le=100_000_000)] = 200_000


class Watcher(Section, frozen=True, kw_only=True):
    """The queue watcher."""

    concurrency: Annotated[int, _told("agents at a time; 0: one a core", ge=0, le=4096)] = 0
    per_lineage: Annotated[int, _told("agents at a time of one lineage; 0: its fair share", ge=0, le=4096)] = 0
    grace_s: Annotated[float, _told("how long running agents may finish after SIGTERM", ge=0, le=3600)] = 20.0
    agent: Annotated[list[str], _told("command of another agent; empty: the built-in one, started warm")] = []
    min_free_mb: Annotated[int, _told("free disk space below which nothing is claimed", ge=0, le=1 << 30)] = 64


class Agent(Section, frozen=True, kw_only=True):
    """One attempt at a repair; a handoff may ask for other `limits`."""

    wall_s: Annotated[float, _told("wall time of one attempt", gt=0, le=86400)] = 120.0
    memory_mb: Annotated[int, _told("memory of the code under repair", ge=64, le=1 << 20)] = 1024
    patterns: Annotated[int, _told("pattern files that an attempt reads; 0: none", ge=0, le=100_000)] = 1000
    seed: Annotated[int, _told("seed of the search; the same seed tries the same patches", ge=0, le=1 << 53)] = 0


class SandboxSection(Section, frozen=True, kw_only=True):
    """What untrusted code runs in."""

    tier: Annotated[
        str,
        _told(
            'auto, systemd, bubblewrap, landlock or none; "none" runs untrusted code UNCONFINED, with your rights',
            pattern="^(auto|systemd|bubblewrap|landlock|none)$",
        ),
    ] = "auto"
    memory_mb: Annotated[int, _told("address space of each process", ge=64, le=1 << 20)] = 1024
    processes: Annotated[int, _told("processes and threads", ge=1, le=32768)] = 64
    tmpfs_mb: Annotated[int, _told("size of its work directory, kept in memory", ge=1, le=1 << 20)] = 256
    open_files: Annotated[int, _told("descriptors of each process", ge=16, le=1 << 20)] = 256
    file_mb: Annotated[int, _told("size of one file", ge=1, le=1 << 20)] = 64


class Bundles(Section, frozen=True, kw_only=True):
    """Where bundles may come from, and how large they may be."""

    roots: Annotated[
        list[str], _told("absolute directories that bundle_dir may lie in; empty: bundles/ of the state directory")
    ] = []
    max_files: Annotated[int, _told("files of one bundle", ge=1, le=10_000_000)] = 20_000
    max_bytes: Annotated[int, _told("size of one bundle", ge=1, le=1 << 40)] = 256 << 20


class Evaluator(Section, frozen=True, kw_only=True):
    """The tournament; the weights need not add up to 1."""

    correctness: Annotated[float, _told("weight of the share of tests that pass", ge=0, le=1)] = 0.40
    safety: Annotated[float, _told("weight of what the code could do and its parent could not", ge=0, le=1)] = 0.25
    performance: Annotated[float, _told("weight of time and memory beside the champion", ge=0, le=1)] = 0.15
    robustness: Annotated[float, _told("weight of generated inputs that raise nothing new", ge=0, le=1)] = 0.10
    documentation: Annotated[float, _told("weight of docstrings that are there and true", ge=0, le=1)] = 0.10
    runs: Annotated[int, _told("shuffled fresh runs that stability is taken of", ge=5, le=1000)] = 5
    pairs: Annotated[int, _told("interleaved pairs of runs that performance is taken of", ge=8, le=1000)] = 9
    wall_s: Annotated[float, _told("wall time of one run of the tests", gt=0, le=86400)] = 120.0
    push: Annotated[str, _told("git repository that promoted patches are pushed to as branches; empty: none")] = ""

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each part of a fitness."""
        names = ("correctness", "safety", "performance", "robustness", "documentation")
        return {name: getattr(self, name) for name in names}


class Toolgen(Section, frozen=True, kw_only=True):
    """Tools from specs."""

    search_s: Annotated[float, _told("how long expressions are tried on the examples", gt=0, le=86400)] = 20.0


class Cleanup(Section, frozen=True, kw_only=True):
    """How long finished things are kept; what is live, held, promoted or referenced is never removed."""

    challengers_days: Annotated[float, _told("challengers, counted from their arrival", ge=0, le=36500)] = 7.0
    processed_days: Annotated[float, _told("finished jobs, counted from the instant of their end", ge=0, le=36500)] = (
        7.0
    )
    bundles_days: Annotated[float, _told("bundles, counted from their last use", ge=0, le=36500)] = 7.0
    escalations_days: Annotated[float, _told("what is told of units that failed", ge=0, le=36500)] = 30.0
    sbom_days: Annotated[float, _told("documents of the chain that no kept bundle comes from", ge=0, le=36500)] = 90.0
    patches_days: Annotated[float, _told("patches for people of what is no champion any more", ge=0, le=36500)] = 90.0
    specs_days: Annotated[float, _told("specs that have been served, from their end", ge=0, le=36500)] = 90.0
    llm_days: Annotated[float, _told("questions to a model, and answers", ge=0, le=36500)] = 7.0
    work_days: Annotated[float, _told("work directories and staging files left behind", ge=0, le=36500)] = 7.0


class Llm(Section, frozen=True, kw_only=True):
    """A model that is asked when nothing else helps, through files that a program with a network carries."""

    enabled: Annotated[bool, _told("ask; code of bundles, and specs, then leave this machine")] = False
    wait_s: Annotated[
        float, _told("how long an answer is waited for; an attempt at a repair gives it half its time", gt=0, le=3600)
    ] = 60.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. `Settings()` is the defaults."""

    queue: Queue = Queue()
    watcher: Watcher = Watcher()
    agent: Agent = Agent()
    sandbox: SandboxSection = SandboxSection()
    bundles: Bundles = Bundles()
    llm: Llm = Llm()
    evaluator: Evaluator = Evaluator()
    toolgen: Toolgen = Toolgen()
    cleanup: Cleanup = Cleanup()


@functools.cache
def names() -> Mapping[str, msgspec.structs.FieldInfo]:
    """Return every `section.key` with its field (type, bounds, description, default), in the order of the file."""
    return MappingProxyType(
        {
            f"{section.name}.{field.name}": field
            for section in msgspec.structs.fields(Settings)
            for field in msgspec.structs.fields(section.type)
        }
    )


def default(name: str) -> Any:
    """Return the default of `section.key` (msgspec wraps an empty list in a factory)."""
    section, _, key = name.partition(".")
    return getattr(getattr(Settings(), section), key)


def describe(name: str) -> tuple[str, dict[str, Any]]:
    """Return the sentence and the JSON schema (type and bounds) of `section.key`."""
    schema = msgspec.json.schema(names()[name].type)
    return str(schema.pop("description", "")), schema


def toml(name: str, value: Any) -> str:
    """Return `key = value` as a line of TOML (JSON writes numbers, texts and lists of texts the same way)."""
    return f"{name.partition('.')[2]} = {msgspec.json.encode(value).decode()}"
