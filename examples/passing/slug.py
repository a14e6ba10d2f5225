"""Titles for addresses."""

import re


def slug(title: str) -> str:
    """The title in lower case, its words joined by hyphens."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))
