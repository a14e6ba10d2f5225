"""bench/page: what is made of the tables that the parts print: one HTML file with plots, and figures in a document."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Plot:
    """A column of the tables with this first head; a bar is named by the cells of `label`."""

    first: str
    column: int
    label: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Section:
    """What one part printed, and why it is not whole ('' where it is)."""

    name: str
    title: str
    plots: tuple[Plot, ...]
    text: str
    why: str = ""


FIGURE = re.compile(r"(?P<value>[\d,]*\.?\d+)(?: \((?P<low>[\d,]*\.?\d+)–(?P<high>[\d,]*\.?\d+)\))?")
OURS = ("repairlab", "server")


def tables(text: str) -> list[list[list[str]]]:
    """Return the rows of each Markdown table in the text, its head first."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [
        [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in block.splitlines()
            if not line.startswith("|-")
        ]
        for block in blocks
    ]


def figure(cell: str) -> tuple[float, float, float] | None:
    """Return the number that a cell begins with, and the least and the largest, where it tells them."""
    found = FIGURE.match(cell)
    if found is None:
        return None
    value, low, high = (float(part.replace(",", "")) if part else None for part in found.group("value", "low", "high"))
    assert value is not None
    return value, value if low is None else low, value if high is None else high


def plotted(section: Section) -> list[str]:
    """Return the plots of a part as SVG; none where pygal is not installed."""
    drawn = []
    for plot, (head, *rows) in ((plot, found) for plot in section.plots for found in tables(section.text)):
        if head[0] != plot.first:
            continue
        points = [(", ".join(named(head[at], row[at]) for at in plot.label), figure(row[plot.column])) for row in rows]
        bars = [(name, found) for name, found in points if found and found[0] > 0]
        drawn += bar_chart(f"{head[0]}: {head[plot.column]}", bars) if bars else []
    return drawn


def named(head: str, cell: str) -> str:
    """Return a cell as it names a bar: a number says of what."""
    return f"{cell} {head}" if cell.replace(",", "").isdigit() else cell


def bar_chart(title: str, bars: list[tuple[str, tuple[float, float, float]]]) -> list[str]:
    """Return bars with their intervals; its colours are those of the page, light or dark."""
    try:
        import pygal
        from pygal.style import Style
    except ImportError:
        return []
    style = Style(
        **dict.fromkeys(("background", "plot_background"), "transparent"),
        **dict.fromkeys(("foreground", "foreground_strong", "foreground_subtle"), "var(--ink)"),
        **dict.fromkeys(("label_font_size", "major_label_font_size"), 13),
        colors=("var(--bar)",),
        font_family="system-ui, sans-serif",
        guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)",
        title_font_size=15,
    )
    least, most = min(value for _, (value, _, _) in bars), max(high for _, (_, _, high) in bars)
    many = most > 100 * least
    floor = least / 2 if many else 0.0
    chart = pygal.HorizontalBar(
        style=style,
        title=title,
        js=[],
        show_legend=False,
        disable_xml_declaration=True,
        logarithmic=many,
        range=(floor, most * 1.02),
        zero=floor,
        value_formatter=written,
        width=1000,
        height=90 + 26 * len(bars),
        truncate_label=-1,
    )
    if many:
        chart.y_labels = [10.0**power for power in range(-3, 9) if floor <= 10**power <= most]
    bars.reverse()  # it begins at the bottom
    chart.x_labels = [f"{name}: {written(value)}" for name, (value, _, _) in bars]
    chart.add(title, [{"value": value, **between(low, high)} for _, (value, low, high) in bars])
    return [chart.render(is_unicode=True)]


def written(value: float) -> str:
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"


def between(low: float, high: float) -> dict[str, dict[str, float]]:
    """Return the interval of a bar, where it has one."""
    return {"ci": {"low": low, "high": high}} if low < high else {}


def cell_of(text: str, tag: str = "td") -> str:
    """Return a cell; a figure stands right, its spread small below it."""
    found = FIGURE.match(text)
    if found is None or tag == "th":
        return f"<{tag}>{html.escape(text)}</{tag}>"
    value, rest = text[: found.end("value")], text[found.end("value") :]
    small = f"<small>{html.escape(rest.strip())}</small>" if rest.startswith(" (") else html.escape(rest)
    return f"<td class=figure>{html.escape(value)}{small}</td>"


def row_of(row: Sequence[str], tag: str) -> str:
    first = f"<{tag} class=name>{html.escape(row[0])}</{tag}>"
    ours = " class=ours" if row[0] in OURS else ""
    return f"<tr{ours}>{first}{''.join(cell_of(cell, tag) for cell in row[1:])}</tr>"


def as_html(text: str) -> str:
    """Return the text of a part with its tables as HTML."""
    made, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        block = []
        while at < len(lines) and lines[at].startswith("|"):
            block.append(lines[at])
            at += 1
        if block:
            head, *rows = tables("\n".join(block))[0]
            made += ["<div class=wide><table>", row_of(head, "th"), *(row_of(row, "td") for row in rows)]
            made.append("</table></div>")
        else:
            made += [f"<p>{html.escape(lines[at])}</p>"] if lines[at].strip() else []
            at += 1
    return "\n".join(made)


STYLE = """
:root{color-scheme:light dark;--ink:#222;--soft:#667;--line:#d5d5dd;--paper:#fff;--bar:#4878b8;--ours:#eef3fa}
@media(prefers-color-scheme:dark){
:root{--ink:#ddd;--soft:#99a;--line:#3c3c48;--paper:#17181c;--bar:#5b8bd0;--ours:#222c3c}}
body{font:15px/1.45 system-ui,sans-serif;max-width:76em;margin:2em auto;padding:0 1em;color:var(--ink)}
body{background:var(--paper)}h2{margin-top:2em}nav a{color:inherit;margin-right:1em}.bad{color:#d33;font-weight:600}
.wide{overflow-x:auto;margin:1em 0}table{border-collapse:collapse;font-size:14px}
th,td{border-bottom:1px solid var(--line);padding:.25em .6em;text-align:left;vertical-align:top}
th{vertical-align:bottom}.name,.figure{white-space:nowrap}.figure{font-variant-numeric:tabular-nums}
.figure small{display:block;color:var(--soft);font-size:11px}.ours{background:var(--ours)}
svg{display:block;max-width:100%;height:auto;margin:1em 0}"""


def page(told: str, sections: Sequence[Section]) -> str:
    """Return the page."""
    numbered = list(zip(count(1), sections))
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"]
    parts.append(f"<title>RepairLab: benchmarks</title><style>{STYLE}</style>")
    parts.append(f"<h1>RepairLab: benchmarks</h1><p>{html.escape(told)}</p><nav>")
    parts += [f"<a href='#p{number}'>{html.escape(each.title)}</a>" for number, each in numbered]
    parts.append("</nav>")
    for number, each in numbered:
        parts.append(f"<h2 id=p{number}>{html.escape(each.title)}</h2>")
        parts += [f"<p class=bad>not whole: {html.escape(each.why)}</p>"] if each.why else []
        parts += [as_html(each.text), *plotted(each)]
    return "\n".join(parts)


def filled(document: str, sections: Sequence[Section]) -> str:
    """Return a document with what each part printed between its two marks; a part that is not whole changes nothing."""
    for each in sections:
        if not each.why:
            marks = rf"(<!-- bench {each.name} -->\n).*?(<!-- end -->)"
            document = re.sub(
                marks, lambda found, text=each.text: f"{found[1]}{text}\n{found[2]}", document, flags=re.DOTALL
            )
    return document
