"""syntax_lines: what `syntax` proposes for one place where the parser gave up: (prior, whole new text, note).

Lines are 1-based, columns are character offsets. What the parser's message names comes with a prior near 1; the blind
insertions and deletions around the place with less, the further away the less.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

Proposal = tuple[float, str, str]

_TOKEN = re.compile(r"\w+|'[^'\n]*'|\"[^\"\n]*\"|\*\*=?|//=?|<<|>>|[-+*/%&|^<>=!:]=|->|\S")
_CLOSER = {"(": ")", "[": "]", "{": "}"}
_OPENER = {closer: opener for opener, closer in _CLOSER.items()}
_INSERTED = {":": 0.5, ")": 0.5, "(": 0.3, ",": 0.45, "]": 0.4, "[": 0.25, "}": 0.35, "=": 0.3, ".": 0.25}
_INSERTED |= {"==": 0.2}
_INSERTED |= {'"': 0.3, "'": 0.3, "+": 0.15, " in ": 0.2, " and ": 0.1, "{": 0.15, "*": 0.1, "0": 0.05, "None": 0.1}
_EXCHANGED = {
    "=": ("==",), "==": ("=",), ":": ("=", ","), ";": (",", ":"), ".": (",",), ",": (".", ":"), "(": ("[",),
    "[": ("(",),
    ")": ("]", "}", "):"), "]": (")", "}"), "}": (")", "]"), "=>": (">=",), "->": (":",), "&": ("and",), "|": ("or",),
}  # fmt: skip
_FOREIGN: tuple[tuple[str, str], ...] = (
    (r"&&", "and"),
    (r"\|\|", "or"),
    (r"!(?!=)\s*", "not "),
    (r"=>", ">="),
    (r"=<", "<="),
    (r"<>", "!="),
)
_FOREIGN += ((r"!==", "!="), (r"===", "=="), (r"(\w+)\+\+", r"\1 += 1"), (r"(\w+)--", r"\1 -= 1"))
_FOREIGN += ((r"\belse\s+if\b", "elif"), (r"\b(?:elseif|elsif)\b", "elif"), (r"^(\s*)(?:func|function)\b", r"\1def"))
_FOREIGN += ((r":=", "="), (r"(\w+)\s*\+\s*=", r"\1 +="), (r"\bcatch\b", "except"))
_OLD = (
    (r"^(\s*(?:.*:\s+)?)print\s+>>\s*([\w.]+)\s*,\s*(.+?)\s*$", r"\1print(\3, file=\2)"),
    (r"^(\s*(?:.*:\s+)?)print\s+(?![\s(])(.+?)\s*,\s*$", r'\1print(\2, end=" ")'),
    (r"^(\s*(?:.*:\s+)?)print\s+(?=\S)(.+?)\s*$", r"\1print(\2)"),
    (r"^(\s*(?:.*:\s+)?)exec\s+(?=\S)(.+?)\s+in\s+(?=\S)(.+?)\s*$", r"\1exec(\2, \3)"),
    (r"^(\s*(?:.*:\s+)?)exec\s+(?=\S)(.+?)\s*$", r"\1exec(\2)"),
    (r"\bexcept\s+([\w.]+|\([^)]*\))\s*,\s*(\w+)\s*:", r"except \1 as \2:"),
    (r"\braise\s+([\w.]+)\s*,\s*(.+?)\s*$", r"raise \1(\2)"),
    (r"`([^`]+)`", r"repr(\1)"), (r"<>", "!="), (r"\b0([0-7]+)\b", r"0o\1"), (r"\b(\d+)[lL]\b", r"\1"),
    (r"\b[uU][rR](?=['\"])", "r"), (r"\blambda\s*\(([\w, ]*)\)\s*:", r"lambda \1:"),
)  # fmt: skip
_KEYWORDS: tuple[str, ...] = (
    "def",
    "class",
    "return",
    "import",
    "from",
    "for",
    "while",
    "if",
    "elif",
    "else",
    "try",
    "except",
    "with",
)
_KEYWORDS += ("finally", "raise", "yield", "assert", "lambda", "global", "del", "pass", "in", "not", "and", "or", "is")
_KEYWORDS += ("as", "async", "await", "nonlocal", "break", "continue", "None", "True", "False")
_SIMILAR = {
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "′": "'",
    "″": '"',
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "*",
    "÷": "/",
}
_SIMILAR |= {"≤": "<=", "≥": ">=", "≠": "!=", "…": "...", "，": ",", "：": ":", "；": ";", "。": ".", "、": ","}
_MARKER = re.compile(r"^(<{7}|={7}|>{7}|\|{7})(\s.*)?$")
REACH = 2  # lines before the place that are looked at too: an error is often noticed late
AHEAD = 25  # lines after an opened bracket or string where it may be closed
MAX_LINE = 1000  # characters; on longer ones (data, or meant to be slow) patterns take the square of them
MAX_WIDE = 200  # characters of a line that is changed along with all that are like it
MAX_REPLACED = 6_000_000  # characters that patterns are held against on all lines, in all; a clock would not repeat
MAX_TOKENS = 60  # of a line that are inserted at or exchanged


@dataclass
class Account:
    """What is left of `MAX_REPLACED` for one file."""

    left: int = MAX_REPLACED

    def replaced(self, pattern: str, new: str, lines: list[str]) -> list[str]:
        """Return lines with a pattern replaced on all, or as they are where the account does not suffice."""
        self.left -= sum(map(len, lines)) if self.left > 0 else 0
        if self.left <= 0:
            return lines
        return [re.sub(pattern, new, line) if len(line) <= MAX_WIDE else line for line in lines]


def proposals(text: str, line: int, column: int, message: str, account: Account) -> Iterator[Proposal]:
    """Yield all proposals for one place, by and large the likeliest first; some do not parse either."""
    lines = text.split("\n")
    at = min(line, len(lines)) - 1
    if any(len(each) > MAX_LINE for each in lines[max(0, at - REACH) : at + AHEAD]):
        return
    foreign = partial(_foreign, account)
    for kind in (_markers, foreign, _colons, _brackets, _strings, _indents, _suites, _misspelt, _characters, _tokens):
        for prior, changed, note in kind(lines, at, column, message):
            yield prior, "\n".join(changed), note


Lines = list[str]
Change = tuple[float, Lines, str]


def _with(lines: Lines, at: int, *new: str) -> Lines:
    return [*lines[:at], *new, *lines[at + 1 :]]


def _markers(lines: Lines, at: int, _column: int, _message: str) -> Iterator[Change]:
    """Merge markers: one side, the other, or all lines without the markers."""
    marked = [(number, found.group(1)[0]) for number, line in enumerate(lines) if (found := _MARKER.match(line))]
    if not any(abs(number - at) <= 1 for number, _ in marked):
        return
    for kept, prior in (("<", 1.0), (">", 0.95), ("<>", 0.6)):
        side, out = "<>", []
        for line in lines:
            found = _MARKER.match(line)
            if found:
                side = {"<": "<", "|": "|", "=": ">", ">": "<>"}[found.group(1)[0]]
            elif side == "<>" or side in kept:
                out.append(line)
        yield prior, out, "merge marker removed"


def _foreign(account: Account, lines: Lines, at: int, _column: int, _message: str) -> Iterator[Change]:
    """Operators and statements of other languages and of Python 2: on this line, and on all lines like it."""
    for table, note in ((_OLD, "Python 2"), (_FOREIGN, "another language's token")):
        for near in (at, at - 1):
            for pattern, new in table:
                if 0 <= near < len(lines) and (changed := re.sub(pattern, new, lines[near])) != lines[near]:
                    yield 0.9 if near == at else 0.5, _with(lines, near, changed), note
                    yield 0.85, account.replaced(pattern, new, lines), f"{note}, on all lines"
    old = lines
    for pattern, new in _OLD:
        old = account.replaced(pattern, new, old)
    if old != lines:
        yield 0.8, old, "Python 2, on all lines"


def _colons(lines: Lines, at: int, _column: int, message: str) -> Iterator[Change]:
    for near in (at, at - 1):
        if near < 0 or not re.match(
            r"\s*(?:async\s+)?(?:def|class|if|elif|else|for|while|try|except|finally|with|match|case)\b", lines[near]
        ):
            continue
        code, comment = _without_comment(lines[near])
        prior = 1.0 if "expected ':'" in message and near == at else 0.7
        if not code.endswith(":"):
            yield prior, _with(lines, near, code + ":" + comment), "colon added"
        if code.endswith((";", ",", ".", "=", "{")):
            yield prior * 0.95, _with(lines, near, code[:-1].rstrip() + ":" + comment), "colon added"


def _without_comment(line: str) -> tuple[str, str]:
    """Split a line into code without trailing blanks, and the comment with the blanks before it."""
    quote = ""
    for index, character in enumerate(line):
        if quote:
            quote = "" if character == quote and line[index - 1] != "\\" else quote
        elif character in "'\"":
            quote = character
        elif character == "#":
            code = line[:index].rstrip()
            return code, line[len(code) :]
    code = line.rstrip()
    return code, line[len(code) :]


def _ends(line: str) -> list[int]:
    """Return the offsets before and after each token of a line, the last first."""
    code, _ = _without_comment(line)
    found = {0 + len(code) - len(code.lstrip())}
    for token in list(_TOKEN.finditer(code))[:MAX_TOKENS]:
        found |= {token.start(), token.end()}
    return sorted(found, reverse=True)


def _brackets(lines: Lines, at: int, column: int, message: str) -> Iterator[Change]:
    """A bracket never closed, never opened, or closed by another kind."""
    line = lines[at]
    if found := re.search(r"'([\[({])' was never closed", message):
        closer = _CLOSER[found.group(1)]
        for near in range(at, min(len(lines), at + AHEAD)):
            far = 0.97 ** (near - at)
            for rank, end in enumerate(_ends(lines[near])):
                if near > at or end > column:
                    new = lines[near][:end] + closer + lines[near][end:]
                    yield far * (1 - 0.02 * rank), _with(lines, near, new), "bracket closed"
        yield 0.5, _with(lines, at, line[:column] + line[column + 1 :]), "bracket removed"
    if found := re.search(r"unmatched '([\])}])'", message):
        opener = _OPENER[found.group(1)]
        yield 1.0, _with(lines, at, line[:column] + line[column + 1 :]), "bracket removed"
        for rank, end in enumerate(reversed(_ends(line))):
            if end <= column:
                yield 0.8 - 0.01 * rank, _with(lines, at, line[:end] + opener + line[end:]), "bracket opened"
    if found := re.search(r"parenthesis '(.)' does not match opening parenthesis '(.)'", message):
        wanted = _CLOSER[found.group(2)]
        yield 0.95, _with(lines, at, line[:column] + wanted + line[column + 1 :]), "bracket exchanged"
        yield 1.0, _with(lines, at, line[:column] + wanted + line[column:]), "bracket closed"
        yield 0.6, _with(lines, at, line[:column] + line[column + 1 :]), "bracket removed"
        for rank, end in enumerate(_ends(line[:column])):
            yield 0.9 - 0.01 * rank, _with(lines, at, line[:end] + wanted + line[end:]), "bracket closed"


def _strings(lines: Lines, at: int, column: int, message: str) -> Iterator[Change]:
    """A string that does not end where it should, or ends too soon."""
    if "unterminated" not in message and "EOL" not in message and "f-string" not in message:
        return
    line = lines[at]
    if "triple" in message:
        quote = next((q for q in ('"""', "'''") if q in line[column:]), '"""')
        for near in range(at, min(len(lines), at + AHEAD)):
            code = lines[near].rstrip()
            far = 0.97 ** (near - at)
            if near > at or code.rstrip("'\"")[column + 3 :].strip():
                yield far, _with(lines, near, code.rstrip("'\"") + quote), "string closed"
            if near > at:
                yield far * 0.9, [*lines[:near], _blank(lines[at]) + quote, *lines[near:]], "string closed"
        return
    quotes = [character for character in line[column:] if character in "'\""] or ['"']
    quote = quotes[0]
    for rank, end in enumerate(end for end in [len(line.rstrip()), *_ends(line)] if end > column):
        yield 1.0 - 0.02 * rank, _with(lines, at, line[:end] + quote + line[end:]), "string closed"
    places = [index for index, character in enumerate(line) if character in "'\""]
    for index in places:
        other = '"' if line[index] == "'" else "'"
        yield 0.85, _with(lines, at, line[:index] + other + line[index + 1 :]), "quote exchanged"
        yield 0.6, _with(lines, at, line[:index] + line[index + 1 :]), "quote removed"
        yield 0.9, _with(lines, at, line[:index] + "\\" + line[index:]), "quote escaped"
    if line.rstrip().endswith("\\"):
        yield 0.9, _with(lines, at, line.rstrip()[:-1]), "backslash removed"


def _blank(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _indents(lines: Lines, at: int, _column: int, message: str) -> Iterator[Change]:
    """Another indentation of the line, or of the block that it begins."""
    if "tabs" in message:
        for width in (8, 4):
            expanded = [_blank(line).expandtabs(width) + line[len(_blank(line)) :] for line in lines]
            yield 1.0 - width / 100, expanded, "tabs expanded"
    if "indent" not in message:
        return
    prior_lines = [line for line in lines[:at] if line.strip()]
    here = _blank(lines[at])
    unit = next((_blank(line) for line in lines if _blank(line) and not line.strip().startswith("#")), "    ")
    unit = unit if len(unit) in (1, 2, 3, 4, 8) else "    "
    levels: dict[str, None] = {}
    if prior_lines:
        last = _blank(prior_lines[-1])
        deeper = prior_lines[-1].rstrip().endswith(":")
        levels = dict.fromkeys([last + unit, last] if deeper else [last, last + unit])
        levels |= dict.fromkeys(_blank(line) for line in reversed(prior_lines))
    levels |= dict.fromkeys(["", unit])
    block = next(
        (n for n in range(at + 1, len(lines)) if lines[n].strip() and len(_blank(lines[n])) < len(here)), len(lines)
    )
    same = next(
        (n for n in range(at + 1, len(lines)) if lines[n].strip() and not lines[n].startswith(here)), len(lines)
    )
    for rank, level in enumerate(list(levels)[:8]):
        for end in dict.fromkeys((at + 1, block, same, _paragraph(lines, at))):
            moved = [level + line[len(here) :] if line.startswith(here) else line for line in lines[at:end]]
            moved = [line if line.strip() else "" for line in moved]
            yield 0.95 - 0.06 * rank - (0.03 if end != at + 1 else 0), [*lines[:at], *moved, *lines[end:]], "indented"


def _paragraph(lines: Lines, at: int) -> int:
    return next((n for n in range(at + 1, len(lines)) if not lines[n].strip()), len(lines))


def _suites(lines: Lines, at: int, _column: int, message: str) -> Iterator[Change]:
    """A body or a handler that is missing."""
    if found := re.search(r"expected an indented block after .* on line (\d+)", message):
        head = min(int(found.group(1)), len(lines)) - 1
        body = _blank(lines[head]) + "    "
        yield 0.6, [*lines[: head + 1], body + "pass", *lines[head + 1 :]], "body added"
    if "'except' or 'finally'" in message:
        opened = next((n for n in range(at - 1, -1, -1) if re.match(r"\s*try\s*:", lines[n])), None)
        if opened is None:
            return
        level = _blank(lines[opened])
        end = next(
            (n for n in range(opened + 1, len(lines)) if lines[n].strip() and len(_blank(lines[n])) <= len(level)),
            len(lines),
        )
        for handler, prior in (("except Exception:", 0.7), ("finally:", 0.65)):
            yield prior, [*lines[:end], level + handler, level + "    pass", *lines[end:]], "handler added"
        inner = [level + line.removeprefix(level)[4:] for line in lines[opened + 1 : end]]
        yield 0.75, [*lines[:opened], *inner, *lines[end:]], "try removed"


def _misspelt(lines: Lines, at: int, _column: int, _message: str) -> Iterator[Change]:
    """Words within one slip of a keyword."""
    for near in (at, at - 1):
        if near < 0:
            continue
        for word in list(re.finditer(r"\b[A-Za-z]{2,10}\b", lines[near]))[:MAX_TOKENS]:
            for keyword in _KEYWORDS:
                if word.group() != keyword and one_slip(word.group(), keyword):
                    new = lines[near][: word.start()] + keyword + lines[near][word.end() :]
                    yield 0.8 if word.start() == len(_blank(lines[near])) else 0.5, _with(lines, near, new), "keyword"
        for keyword in _KEYWORDS:  # `returnx`, `defname(`
            if (found := re.match(rf"(\s*){keyword}(?=[A-Za-z_\"'\[({{])(\S)", lines[near])) and keyword != "as":
                cut = found.end() - 1
                yield 0.5, _with(lines, near, lines[near][:cut] + " " + lines[near][cut:]), "keyword"


def one_slip(word: str, other: str) -> bool:
    """True where one letter is missing, doubled, wrong, or two neighbours are exchanged."""
    if len(word) == len(other):
        wrong = [index for index, (a, b) in enumerate(zip(word, other, strict=True)) if a != b]
        swapped = len(wrong) == 2 and wrong[1] == wrong[0] + 1 and word[wrong[0]] == other[wrong[1]]
        return (len(wrong) == 1 and len(word) > 2) or (swapped and word[wrong[1]] == other[wrong[0]])
    short, long = sorted((word, other), key=len)
    return len(long) - len(short) == 1 and any(long[:n] + long[n + 1 :] == short for n in range(len(long)))


def _characters(lines: Lines, at: int, _column: int, message: str) -> Iterator[Change]:
    """Characters that look like Python's and are not, on this line and on all."""
    if "character" not in message:
        return
    for first, last in ((at, at + 1), (0, len(lines))):
        plain = ["".join(_plain(character) for character in line) for line in lines[first:last]]
        yield 0.95, [*lines[:first], *plain, *lines[last:]], "look-alike character"
    odd = [character for character in lines[at] if not character.isascii() or character in "$?`"]
    for character in dict.fromkeys(odd):
        yield 0.8, _with(lines, at, lines[at].replace(character, "")), "stray character"


def _plain(character: str) -> str:
    if character.isascii():
        return character if character >= " " or character in "\t\f" else ""
    if character in _SIMILAR:
        return _SIMILAR[character]
    if unicodedata.category(character) in ("Zs", "Cf", "Cc"):
        return " " if unicodedata.category(character) == "Zs" else ""
    wide = unicodedata.normalize("NFKC", character)
    return wide if wide.isascii() and unicodedata.category(character)[0] in "PSN" else character


def _tokens(lines: Lines, at: int, column: int, message: str) -> Iterator[Change]:
    """Each insertion, deletion and exchange of one token, on this line and the few before it."""
    near = [n for n in range(at, -1, -1) if lines[n].strip()][: 1 + REACH]
    for far, number in enumerate(near):
        line = lines[number]
        code, _ = _without_comment(line)
        place = column if number == at else len(code)
        weigh = 0.6**far
        for end in sorted(_ends(line), key=lambda end: (abs(end - place), end)):
            close = weigh / (1 + 0.1 * abs(end - place))
            for text, prior in _INSERTED.items():
                boost = 2.0 if text == "," and "comma" in message else 1.0
                new = line[:end] + text + (" " if text == "," and line[end : end + 1] != " " else "") + line[end:]
                yield prior * close * boost, _with(lines, number, new), f"{text.strip()} added"
        for token in list(_TOKEN.finditer(code))[:MAX_TOKENS]:
            close = weigh / (1 + 0.1 * abs(token.start() - place))
            rest = line[: token.start()] + line[token.end() :]
            yield 0.4 * close, _with(lines, number, rest), f"{token.group()[:20]} removed"
            for other in _EXCHANGED.get(token.group(), ()):
                boost = 2.0 if other in ("==", "=") and "==" in message else 1.0
                new = line[: token.start()] + other + line[token.end() :]
                yield 0.6 * close * boost, _with(lines, number, new), f"{token.group()} to {other}"
    yield 0.2, _with(lines, at), "line removed"
