"""A report as one HTML file: headings, text, tables, figures and code, nothing else.

The file needs nothing beside it: no script, no font, no network. Every text is escaped,
so that a name in somebody's model file stays a name. It prints on A4.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from course_lib.errors import UnusableInput

_PNG = b"\x89PNG\r\n\x1a\n"
# Contrast of text to background is 7:1 or more (WCAG 2.2, level AAA) for each pair.
_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 182mm; padding: 8mm 4mm; background: #fff;
  color: #1a1a1a; font: 10pt/1.4 system-ui, "Segoe UI", "Liberation Sans", Arial,
  sans-serif; }
h1 { font-size: 16pt; line-height: 1.2; margin: 0 0 2mm; overflow-wrap: anywhere; }
h2 { font-size: 11.5pt; margin: 5mm 0 1.5mm; padding-bottom: .5mm;
  border-bottom: .3mm solid #595959; break-after: avoid; }
p, ul { margin: 0 0 1.5mm; overflow-wrap: anywhere; }
ul { padding-left: 5mm; }
.note { border-left: 1.2mm solid #b33c00; background: #fdf1e7; padding: 1.2mm 2.5mm; }
table { border-collapse: collapse; width: 100%; margin: 0 0 2mm; font-size: 9pt; }
caption { text-align: left; color: #404040; padding-bottom: 1mm; }
th, td { text-align: left; vertical-align: top; padding: .6mm 3mm .6mm 0;
  border-bottom: .2mm solid #bfbfbf; overflow-wrap: anywhere; }
thead th { border-bottom: .4mm solid #595959; }
tbody th { font-weight: 600; min-width: 10.5em; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f4f4f4; padding: 1.5mm 2.5mm; margin: 0 0 2mm; font-size: 8.5pt;
  white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: 0 0 2mm; break-inside: avoid; }
figure img { display: block; width: 100%; height: auto; }
figcaption { color: #404040; font-size: 9pt; }
tr { break-inside: avoid; }
@page { size: A4; margin: 10mm 14mm; }
@media print { body { max-width: none; padding: 0; font-size: 9pt; line-height: 1.3; }
  h1 { font-size: 14pt; } h2 { margin-top: 3.5mm; } table { font-size: 8.5pt; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; } }
"""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text.

    Introduced in notebook 13.
    """

    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph that must not be overlooked, such as a warning.

    Introduced in notebook 13.
    """

    text: str


@dataclass(frozen=True)
class Items:
    """A list of short texts.

    Introduced in notebook 13.
    """

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of a row names the row.

    Attributes:
        rows: Texts or numbers; columns whose cells are all numbers, or "", stand to
            the right.
        header: One text for each column; may be empty.
        caption: What the table shows.

    Introduced in notebook 13.
    """

    rows: Sequence[Sequence[Any]]
    header: Sequence[str] = ()
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        content: A PNG file, or an SVG file as bytes; see `drawn`.
        alternative: What it shows, for those who do not see it.
        caption: Text below it.

    Introduced in notebook 13.
    """

    content: bytes
    alternative: str
    caption: str = ""


@dataclass(frozen=True)
class Code:
    """Lines that keep their breaks: a command, a log.

    Introduced in notebook 13.
    """

    text: str


Part = Paragraph | Note | Items | Table | Figure | Code


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; "" for no heading.

    Introduced in notebook 13.
    """

    heading: str
    parts: Sequence[Part]


def page(title: str, sections: Sequence[Section], *, language: str = "en") -> str:
    """Return a whole HTML page.

    Args:
        title: The page's heading, and its name in the browser.
        sections: From top to bottom.
        language: Of the text, as HTML's `lang` takes it.

    Returns:
        HTML that loads nothing and runs nothing; its policy forbids both.

    Raises:
        UnusableInput: When a figure is neither PNG nor SVG or has no alternative text,
            or a table's row has another number of cells than its header.

    Example:
        >>> text = page("a < b", [Section("Times", [Table([["load", 1.5]])])])
        >>> "<h1>a &lt; b</h1>" in text, '<td class="number">1.5</td>' in text
        (True, True)

    Introduced in notebook 13.
    """
    body = "\n".join(_section(section) for section in sections)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head>\n'
        '<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>{_text(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def drawn(figure: Any) -> bytes:
    """Return a matplotlib figure as SVG, the same bytes for the same figure.

    Introduced in notebook 13.
    """
    import io

    import matplotlib

    picture = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "course", "svg.fonttype": "path"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def _section(section: Section) -> str:
    heading = f"<h2>{_text(section.heading)}</h2>\n" if section.heading else ""
    parts = "\n".join(_part(part) for part in section.parts)
    return f"<section>\n{heading}{parts}\n</section>"


def _part(part: Part) -> str:
    match part:
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Note(text):
            return f'<p class="note">{_text(text)}</p>'
        case Items(texts):
            return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>"
        case Code(text):
            lines = "\n".join(_text(line) for line in text.split("\n"))
            return f'<pre tabindex="0">{lines}</pre>'
        case Table():
            return _table(part)
        case Figure():
            return _figure(part)
    raise UnusableInput(f"{part!r}: expected one of the parts of this module")


def _table(table: Table) -> str:
    widths = {len(row) for row in (*table.rows, *([table.header] * bool(table.header)))}
    if len(widths) > 1:
        raise UnusableInput(
            f"a table has rows of {sorted(widths)} cells: expected the same number in "
            "each, and in the header"
        )
    marks = [
        ' class="number"' if _are_numbers([row[place] for row in table.rows]) else ""
        for place in range(max(widths, default=0))
    ]
    parts = ["<table>"]
    if table.caption:
        parts.append(f"<caption>{_text(table.caption)}</caption>")
    if table.header:
        cells = "".join(
            f'<th scope="col"{mark}>{_text(name)}</th>'
            for name, mark in zip(table.header, marks, strict=True)
        )
        parts.append(f"<thead><tr>{cells}</tr></thead>")
    parts.append("<tbody>")
    for first, *others in table.rows:
        cells = "".join(
            f"<td{mark}>{_text(cell)}</td>"
            for cell, mark in zip(others, marks[1:], strict=True)
        )
        parts.append(f'<tr><th scope="row"{marks[0]}>{_text(first)}</th>{cells}</tr>')
    return "\n".join([*parts, "</tbody></table>"])


def _are_numbers(cells: Sequence[Any]) -> bool:
    return any(map(_is_number, cells)) and all(c == "" or _is_number(c) for c in cells)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _figure(figure: Figure) -> str:
    if not figure.alternative.strip():
        raise UnusableInput("a figure has no alternative text: say what it shows")
    if figure.content.startswith(_PNG):
        kind = "png"
    elif b"<svg" in figure.content[:1000]:
        kind = "svg+xml"  # as an image, where no script of it can run
    else:
        raise UnusableInput("a figure is neither PNG nor SVG: save it as one of them")
    data = base64.b64encode(figure.content).decode("ascii")
    caption = f"<figcaption>{_text(figure.caption)}</figcaption>"
    return (
        f'<figure><img alt="{_text(figure.alternative)}" '
        f'src="data:image/{kind};base64,{data}">'
        f"{caption if figure.caption else ''}</figure>"
    )


def _text(content: Any) -> str:
    """Escape for HTML; control characters have no place in it."""
    shown = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(content)
    )
    return escape(shown)
