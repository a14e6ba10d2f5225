"""places: where RepairLab keeps its state and looks for its configuration.

Nothing need exist, and only `of_person` looks at the disk. `environ` defaults to the process's own environment.
"""

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

SYSTEM_ROOT = Path("/var/lib/repairlab")
SYSTEM_FILE = Path("/etc/repairlab/config.toml")
SERVICE_USER = "repairlab"


def system_mode() -> bool:
    """Whether this process serves the machine (root, or the service's user) and not one person."""
    if os.geteuid() == 0:
        return True
    try:
        return pwd.getpwuid(os.geteuid()).pw_name == SERVICE_USER
    except KeyError:  # a uid without a name: a container
        return False


def root(environ: Mapping[str, str] | None = None) -> Path:
    """Return the absolute state directory."""
    environ = os.environ if environ is None else environ
    if explicit := environ.get("REPAIRLAB_ROOT"):
        return Path(explicit).absolute()
    if states := environ.get("STATE_DIRECTORY"):
        return Path(states.split(":")[0])
    return SYSTEM_ROOT if system_mode() else _xdg(environ, "XDG_STATE_HOME", ".local/state") / "repairlab"


def of_person(environ: Mapping[str, str] | None = None) -> Path:
    """Return the state directory that a person's commands mean: `root`, where that is told or holds jobs already.

    Somebody who has none, and whom the machine's queue lets in, means that one. Only commands ask this: a watcher that
    such a person starts by hand serves a directory of the person's own.
    """
    environ = os.environ if environ is None else environ
    own = root(environ)
    told = environ.get("REPAIRLAB_ROOT") or environ.get("STATE_DIRECTORY")
    if told or own == SYSTEM_ROOT or (own / "spool").is_dir():
        return own
    return SYSTEM_ROOT if os.access(queue_dir(SYSTEM_ROOT), os.R_OK | os.X_OK) else own


def queue_dir(at: Path) -> Path:
    """Return the repair queue of the state directory `at`."""
    return at / "spool" / "repair"


def challengers_dir(at: Path) -> Path:
    """Return the challengers' queue of the state directory `at`."""
    return at / "spool" / "challengers"


def bundles_dir(at: Path) -> Path:
    """Return the bundle store of the state directory `at`."""
    return at / "bundles"


def escalations_dir(at: Path) -> Path:
    """Return where the state directory `at` tells of units that have failed."""
    return at / "escalations"


def patterns_dir(at: Path) -> Path:
    """Return the library of patterns of the state directory `at`."""
    return at / "patterns"


def llm_requests_dir(at: Path) -> Path:
    """Return the queue of questions for a model of the state directory `at`."""
    return at / "llm" / "requests"


def llm_responses_dir(at: Path) -> Path:
    """Return where the answers are put, each by one rename."""
    return at / "llm" / "responses"


def metrics_dir(at: Path) -> Path:
    """Return where the state directory `at` keeps the log of evaluations."""
    return at / "metrics"


def champions_dir(at: Path) -> Path:
    """Return where the state directory `at` keeps the champions, a directory a lineage."""
    return at / "champions"


def patches_dir(at: Path) -> Path:
    """Return where the state directory `at` keeps the patches for people, a directory a lineage."""
    return at / "patches"


def specs_dir(at: Path) -> Path:
    """Return the queue of specs of the state directory `at`."""
    return at / "spool" / "specs"


def sbom_dir(at: Path) -> Path:
    """Return where the state directory `at` keeps the documents that tell where bundles come from."""
    return at / "sbom"


def user_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the configuration file of whoever asks: the machine's for root and the service, else the person's own."""
    environ = os.environ if environ is None else environ
    return SYSTEM_FILE if system_mode() else _xdg(environ, "XDG_CONFIG_HOME", ".config") / "repairlab" / "config.toml"


def files(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Return the configuration files in the order in which they are read, whether they exist or not."""
    environ = os.environ if environ is None else environ
    found = [SYSTEM_FILE] if system_mode() else [SYSTEM_FILE, user_file(environ)]
    if explicit := environ.get("REPAIRLAB_CONFIG"):
        found.append(Path(explicit).absolute())
    return found


def _xdg(environ: Mapping[str, str], name: str, default: str) -> Path:
    value = environ.get(name, "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return Path(value) if value.startswith("/") else Path(environ.get("HOME") or Path.home()) / default
