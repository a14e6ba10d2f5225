"""A model's gate for the agent's tests: answers what is asked in a spool, one behaviour a name, most of them bad.

    llm.py BEHAVIOUR ROOT

Serves one request of ROOT/llm/requests with the project's own spool and puts the answer where the agent looks for it.
"""

import json
import os
import sys
import time
from pathlib import Path

from repairlab.documents import LlmRequest, decode
from repairlab.spool import Spool


def diff(path, old, new, other=None):
    return f"--- a/{path}\n+++ b/{other or path}\n@@ -9,2 +9,2 @@\n def roman(number):\n-{old}\n+{new}\n"


RIGHT = "    return ''.join(s * (number // v % m) for s, v, m in (('X', 10, 9), ('V', 5, 2), ('I', 1, 5)))"
OLD = "    return number"
PATCHES = {
    "tests": "--- a/test_roman.py\n+++ b/test_roman.py\n@@ -5 +5 @@\n-    assert roman(7) == 'VII'\n+    pass\n",
    "upwards": diff("../roman.py", OLD, RIGHT),
    "absolute": diff("/etc/passwd", OLD, RIGHT),
    "renames": diff("roman.py", OLD, RIGHT, "other.py"),
    "huge": diff("roman.py", OLD, RIGHT) + "+x\n" * 50_000,
    "garbage": "Sure! Here is the patch:\n```diff\n",
    "elsewhere": diff("roman.py", "    return nothing", RIGHT),
    "wrong": diff("roman.py", OLD, "    return 'I'"),
    "right": diff("roman.py", OLD, RIGHT),
}


def answer(behaviour, request):
    """The bytes of an answer to a request."""
    patches = list(PATCHES.values()) if behaviour == "all" else [PATCHES[behaviour]]
    made = {"schema": "llm-response/1", "id": request.id, "patches": patches, "model": "peer", "cost_usd": 0.25}
    return json.dumps(made).encode()


def main(behaviour, root):
    spool = Spool(root / "llm/requests", pattern="request*.json")
    spool.create()
    while True:
        for claim in spool.claims(limit=1):
            with claim:
                request = decode(claim.read(), LlmRequest)
                (root / "asked.json").write_bytes(claim.read())
                raw = {"nonsense": b'{"patches": 7', "other": answer("right", request).replace(b'"id": "', b'"id": "0')}
                staged = root / "llm/responses" / f".{request.id}"
                staged.write_bytes(raw.get(behaviour) or answer(behaviour, request))
                os.replace(staged, staged.with_name(f"{request.id}.json"))
                claim.finish(b"{}")
                return
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
