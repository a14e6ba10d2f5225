"""Hand back files that would lie elsewhere: absolute, with .., twice, as a symlink, or not files at all."""
import struct


def entry(path, kind=b"f", content=b"x", size=None):
    name = path.encode()
    return struct.pack(">cIQ", kind, len(name), len(content) if size is None else size) + name + content


stream.send(
    {
        "absolute": entry("/etc/cron.d/evil"),
        "dotdot": entry("a/../../evil"),
        "dot": entry("./evil"),
        "empty": entry(""),
        "nul": entry("a\0b"),
        "twice": entry("a") + entry("a"),
        "symlink": entry("a", b"l", b"/etc/shadow"),
        "device": entry("a", b"c"),
        "cut": entry("a")[:-1],
        "longer": entry("a", size=1 << 40),
        "garbage": b"\xff" * 64,
        "many": b"".join(entry("f%d" % count) for count in range(2000)),
        "latin": struct.pack(">cIQ", b"f", 1, 0) + b"\xe9",
        "honest": entry("a/b.py"),
    }[parameters["case"]]
)
stream.send(b"")
