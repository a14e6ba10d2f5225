"""config: where RepairLab keeps its state, and every setting with its default, bounds and origin.

Files, later ones win over earlier ones, key by key:

    /etc/repairlab/config.toml
    $XDG_CONFIG_HOME/repairlab/config.toml   (not for root nor the service's user)
    $REPAIRLAB_CONFIG                        (must exist when set)

and over all of them the environment: REPAIRLAB_<SECTION>_<KEY> with a TOML value (REPAIRLAB_QUEUE_FAILURES=5,
REPAIRLAB_WATCHER_AGENT='["/usr/bin/agent"]'; a text needs no quotes). A missing file is no error; an unknown section,
an unknown key, a wrong type, a value out of bounds or two values that contradict each other is: `ConfigError` names
the file and line or the variable, the key and the fix. `load` raises, `resolve` collects.

The state lives under `root()`: $REPAIRLAB_ROOT, else $STATE_DIRECTORY (set by systemd), else /var/lib/repairlab for
root and the user repairlab, else $XDG_STATE_HOME/repairlab. Commands of a person ask `of_person()`.
"""

from pathlib import Path

from repairlab.config.loading import Origin, Resolution, load, origins, resolve
from repairlab.config.places import (
    SERVICE_USER,
    SYSTEM_FILE,
    SYSTEM_ROOT,
    bundles_dir,
    challengers_dir,
    champions_dir,
    escalations_dir,
    files,
    llm_requests_dir,
    llm_responses_dir,
    metrics_dir,
    of_person,
    patches_dir,
    patterns_dir,
    queue_dir,
    root,
    sbom_dir,
    specs_dir,
    system_mode,
    user_file,
)
from repairlab.config.settings import (
    Agent,
    Bundles,
    Cleanup,
    Evaluator,
    Llm,
    Queue,
    SandboxSection,
    Settings,
    Toolgen,
    Watcher,
    default,
    describe,
    names,
    toml,
)
from repairlab.config.template import template

__all__ = [
    "SERVICE_USER",
    "SYSTEM_FILE",
    "SYSTEM_ROOT",
    "Agent",
    "Bundles",
    "Cleanup",
    "Evaluator",
    "Llm",
    "Origin",
    "Queue",
    "Resolution",
    "SandboxSection",
    "Settings",
    "Toolgen",
    "Watcher",
    "bundle_roots",
    "bundles_dir",
    "challengers_dir",
    "champions_dir",
    "default",
    "describe",
    "escalations_dir",
    "files",
    "llm_requests_dir",
    "llm_responses_dir",
    "load",
    "metrics_dir",
    "names",
    "of_person",
    "origins",
    "patches_dir",
    "patterns_dir",
    "queue_dir",
    "resolve",
    "root",
    "sbom_dir",
    "specs_dir",
    "system_mode",
    "template",
    "toml",
    "user_file",
]


def bundle_roots(settings: Settings, at: Path) -> list[Path]:
    """Return the directories that a `bundle_dir` may lie in."""
    return [Path(item) for item in settings.bundles.roots] or [bundles_dir(at)]
