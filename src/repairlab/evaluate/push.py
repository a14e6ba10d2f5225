"""push: offer a promoted patch as a branch `repairlab/LINEAGE/ID` of a git repository on this machine.

The configured repository is cloned into a temporary directory, the mail is applied there by `git am`, and the branch is
pushed back. Nothing but that branch is made, and one that is there already is left as it is: it is this very patch, or
what a person has made of it. What cannot be pushed (the project has moved on) is told in the journal and fails nothing:
the patch itself is in patches/.

No hook runs, neither of the clone nor of the repository, and no command that the repository's configuration names for
its references; git sees no configuration, no credentials and no agent of whoever runs this, and is never asked for any.
It refuses a repository of another user (git-config(1), safe.directory). Where paths of the patch may lead is git's to
refuse, after `sandbox.patch` has: nothing above the clone, nothing behind a link, nothing in .git.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from repairlab import journal, process
from repairlab.documents import Champion
from repairlab.journal import Priority

TIMEOUT_S = 120.0  # for all steps together
MISSING = 2  # of ls-remote --exit-code
HARMLESS = ("-c", "core.hooksPath=/dev/null", "-c", "core.alternateRefsCommand=:", "-c", "gc.auto=0")
NOT_IN_A_REFERENCE = re.compile(r"[:@]|\.(?=\.|$|lock$)")  # of what a lineage may have, git-check-ref-format(1)


def branch_of(champion: Champion) -> str:
    """Return the name of a champion's branch."""
    return f"repairlab/{NOT_IN_A_REFERENCE.sub('_', champion.lineage)}/{champion.id}"


def pushed(repository: str, path: Path, champion: Champion) -> bool:
    """Push the mail at `path`; return whether the branch is there now."""
    branch, until = branch_of(champion), time.monotonic() + TIMEOUT_S
    with tempfile.TemporaryDirectory() as place:
        said = ""
        for step, argv in _steps(os.path.abspath(repository), path, f"{place}/clone", branch):
            done = process.run(argv, timeout=max(1.0, until - time.monotonic()), env=_environment(place), cwd=place)
            if step == "look":
                if done.code == 0:
                    return True
                done_well = done.code == MISSING
            else:
                done_well = done.code == 0
            if not done_well:
                said = "it took too long" if done.timed_out else done.err.decode("utf-8", "replace").strip()[-300:]
                break
        else:
            return True
    message = f"{branch} was not pushed to {repository}: {said}"
    journal.say(message, priority=Priority.WARNING, LINEAGE=champion.lineage, JOB_ID=champion.id)
    return False


def _steps(repository: str, path: Path, clone: str, branch: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (name, command) of each step."""
    url, reference = f"file://{repository}", f"refs/heads/{branch}"
    upload, receive = (f"git {' '.join(HARMLESS)} {end}" for end in ("upload-pack", "receive-pack"))
    git = ["git", *HARMLESS]
    yield "look", [*git, "ls-remote", "--exit-code", f"--upload-pack={upload}", url, reference]
    alone = ["--quiet", "--template=", "--depth", "1", "--no-tags", "--no-recurse-submodules"]
    yield "clone", [*git, "clone", *alone, f"--upload-pack={upload}", url, clone]
    yield "apply", [*git, "-C", clone, "am", "--quiet", "--keep-cr", "--no-gpg-sign", str(path.absolute())]
    new = f"--force-with-lease={reference}:"  # it must not be there
    yield "push", [*git, "-C", clone, "push", "--quiet", "--no-verify", new, f"--receive-pack={receive}", "origin",
                   f"HEAD:{reference}"]  # fmt: skip


def _environment(home: str) -> dict[str, str]:
    """Return the environment of git: nobody's configuration, and one author."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "RepairLab"), ("EMAIL", "repairlab@localhost"))}  # fmt: skip
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file", "LC_ALL": "C.UTF-8", **who}  # fmt: skip
