"""A model's gate for toolgen's tests: answers the questions in a spool, one behaviour a name, most of them bad.

    toolmodel.py BEHAVIOUR ROOT

Serves ROOT/llm/requests with the project's own spool. "silent" takes a question and never answers, "late" answers when
ROOT/late is there.
"""

import json
import os
import sys
import time
from pathlib import Path

from repairlab.documents import ToolRequest, decode
from repairlab.spool import Spool

RIGHT = """import math

STEPS = ((10, 9), (5, 2), (1, 5))


def sign(value):
    return {10: "X", 5: "V", 1: "I"}[value]


def roman(number):
    '''The Roman numeral.'''
    return "".join(sign(value) * math.floor(number // value % modulo) for value, modulo in STEPS)
"""
FUNCTIONS = {
    "right": [RIGHT],
    "prose": ["Sure, here it is:\n\n```python\n" + RIGHT + "```\n\nIt adds the signs up. Ask if in doubt!\n"],
    "second": [
        "I cannot help with that.", "class roman:\n    pass\n", "import numpy\n\ndef roman(n):\n    return n\n",
        "import os\nos.system('touch " + "{root}/ran" + "')\n\ndef roman(n):\n    return 'I'\n", RIGHT,
    ],
    "hostile": [
        "def roman(n):\n    open('{root}/ran', 'w').write('x')\n    import os\n    os._exit(0)\n",
        "def roman(n):\n    while True:\n        pass\n",
    ],
    "none": ["(" * 5000 + ")" * 5000, "def roman(a, b):\n    return a\n", "def latin(n):\n    return n\n", "\0"],
}  # fmt: skip


def raw(behaviour, request, root):
    """The bytes of an answer to a request."""
    functions = [text.replace("{root}", str(root)) for text in FUNCTIONS.get(behaviour, [RIGHT])]
    if behaviour == "lookup":  # knows what it was told
        known = ", ".join(f"{each.call[len('roman(') : -1]}: {each.result}" for each in request.examples)
        functions = [f"def roman(n):\n    return {{{known}}}.get(n, '?')\n"]
    made = {"schema": "llm-tool-response/1", "id": request.id, "functions": functions, "model": "peer", "cost_usd": 0.5}
    if behaviour == "other":
        made["id"] = "0" * 32
    text = json.dumps(made).encode()
    return {"torn": text[: len(text) // 2], "huge": text + b" " * (5 << 20)}.get(behaviour, text)


def served(behaviour, claim, root):
    (root / "asked.json").write_bytes(claim.read())
    request = decode(claim.read(), ToolRequest)
    if behaviour != "silent":
        while behaviour == "late" and not (root / "late").exists():
            time.sleep(0.02)
        staged = root / "llm/responses" / f".{request.id}"
        staged.write_bytes(raw(behaviour, request, root))
        os.replace(staged, staged.with_name(f"{request.id}.json"))
    claim.finish()


def main(behaviour, root):
    spool = Spool(root / "llm/requests", pattern="request*.json")
    spool.create()
    while True:
        for claim in spool.claims(limit=1):
            with claim:
                served(behaviour, claim, root)
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
