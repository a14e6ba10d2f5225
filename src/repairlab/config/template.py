"""template: the commented configuration file that `repairlab config init` writes.

Every setting stands in it, commented out at its default, so that an upgrade changes what nobody has chosen.
"""

from repairlab.config.settings import Settings, default, describe, names, toml

HEAD = """\
# RepairLab's configuration. Every setting is shown at its default; remove the "# " before one to change it.
# `repairlab config check` finds mistakes, `repairlab config show --origin` says what is in force and from where.
# The environment wins over this file: REPAIRLAB_QUEUE_FAILURES=5 sets failures in [queue].
"""


def template() -> str:
    """Return the whole file as text."""
    parts = [HEAD]
    for section in Settings.__struct_fields__:
        told = (type(getattr(Settings(), section)).__doc__ or "").strip()
        parts.append(f"\n[{section}]\n# {told}\n")
        parts.extend(_entry(name) for name in names() if name.startswith(f"{section}."))
    return "".join(parts)


def _entry(name: str) -> str:
    text, schema = describe(name)
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    bounds = "" if low is None else f" ({low} to {high})"
    return f"\n# {text}{_unit(name)}{bounds}\n# {toml(name, default(name))}\n"


def _unit(name: str) -> str:
    units = {"_s": "seconds", "_mb": "MiB", "_days": "days", "_bytes": "bytes"}
    return next((f", in {unit}" for suffix, unit in units.items() if name.endswith(suffix)), "")
