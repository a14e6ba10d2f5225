"""push: offer a promoted patch as a branch `repairlab/LINEAGE/ID` of a repository on this machine.

The configured repository is cloned into a temporary directory, the mail is applied there by `git am`, and the branch is
pushed back. Nothing but that branch changes; one that is there already is this very patch, since its name says so. What
cannot be pushed (the project has moved on) is told in the journal and fails nothing: the patch itself is in patches/.
"""

import os
import tempfile
from pathlib import Path

from repairlab import journal, process
from repairlab.documents import Champion
from repairlab.journal import Priority

TIMEOUT_S = 120.0


def pushed(repository: str, path: Path, champion: Champion) -> bool:
    """Push the mail at `path`; return whether the branch is there now."""
    branch = f"repairlab/{champion.lineage}/{champion.id}"
    with tempfile.TemporaryDirectory() as place:
        clone = f"{place}/clone"
        steps = (
            ["git", "clone", "--quiet", "--depth", "1", "--no-tags", f"file://{os.path.abspath(repository)}", clone],
            ["git", "-C", clone, "-c", "core.hooksPath=/dev/null", "am", "--quiet", str(path)],
            ["git", "-C", clone, "push", "--quiet", "--no-verify", "origin", f"+HEAD:refs/heads/{branch}"],
        )
        for argv in steps:
            done = process.run(argv, timeout=TIMEOUT_S, env=_environment(place))
            if done.code != 0:
                said = done.err.decode("utf-8", "replace").strip()[-300:]
                message = f"{branch} was not pushed to {repository}: {said}"
                journal.say(message, priority=Priority.WARNING, LINEAGE=champion.lineage, JOB_ID=champion.id)
                return False
    return True


def _environment(home: str) -> dict[str, str]:
    """Return the environment of git: nobody's configuration, and one author."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "RepairLab"), ("EMAIL", "repairlab@localhost"))}  # fmt: skip
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", **who}  # fmt: skip
