"""A report is one page that needs nothing, runs nothing, and hides no text."""

import re
from html.parser import HTMLParser

from course_lib.course import report
from course_lib.errors import UnusableInput

import matplotlib
import pytest

matplotlib.use("agg")
import matplotlib.pyplot as plt

HOSTILE = "<script>alert('1')</script> & \"quoted\" \x1b[31m\x00"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collect tags and texts; refuse tags that do not close each other."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def svg():
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot([1, 2])
    content = report.drawn(figure)
    again = report.drawn(figure)
    plt.close(figure)
    assert content == again
    return content


@pytest.fixture(scope="module")
def whole(svg):
    parts = [
        report.Paragraph(HOSTILE),
        report.Note(HOSTILE),
        report.Items([HOSTILE, "second"]),
        report.Table([[HOSTILE, 1.5], ["b", ""]], header=(HOSTILE, "n"), caption="c"),
        report.Figure(svg, HOSTILE, caption=HOSTILE),
        report.Code(f"first\n{HOSTILE}"),
    ]
    return report.page(HOSTILE, [report.Section(HOSTILE, parts)])


def test_every_text_is_escaped_and_kept(whole):
    page = Page(whole)
    assert page.all("script") == []
    shown = HOSTILE.replace("\x1b", "\ufffd").replace("\x00", "\ufffd")
    # title, h1, h2, paragraph, note, item, two cells and the caption of the figure
    assert sum(text == shown for text in page.texts) == 9
    assert "first\n" + shown in page.texts
    assert page.all("img")[0]["alt"] == shown
    assert "\x1b" not in whole
    assert "\x00" not in whole


def test_nothing_is_loaded_from_anywhere(whole):
    page = Page(whole)
    sources = [v for _, a in page.tags for k, v in a.items() if k in ("src", "href")]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "url(" not in whole
    assert "@import" not in whole
    policy = next(a for a in page.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy["content"]


def test_it_is_a_page_that_people_can_read_and_print(whole):
    page = Page(whole)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(a["scope"] in ("col", "row") for a in page.all("th"))
    assert "size: A4" in whole
    style = whole[whole.index("<style>") : whole.index("</style>")]
    background = re.findall(r"background: (#\w+)", style)
    inks = re.findall(r"[^-]color: (#\w+)", style)
    assert min(contrast(ink, "#fff") for ink in inks) >= 7
    assert min(contrast("#1a1a1a", paper) for paper in background) >= 7


def contrast(one, other):
    """Return WCAG's contrast ratio."""

    def luminance(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
        parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_columns_of_numbers_stand_to_the_right():
    table = report.Table([["a", 1, "x"], ["b", "", 2]], header=("name", "n", "mixed"))
    page = Page(report.page("t", [report.Section("", [table])]))
    assert [a.get("class") for a in page.all("td")] == ["number", None, "number", None]
    assert page.all("h2") == []
    empty = report.page("t", [report.Section("", [report.Table([])])])
    assert Page(empty).all("td") == []


def test_a_png_is_told_from_an_svg():
    png = b"\x89PNG\r\n\x1a\n..."
    text = report.page("t", [report.Section("h", [report.Figure(png, "a plot")])])
    assert "data:image/png;base64," in text
    assert "figcaption>" not in text.replace("figcaption {", "")


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (report.Figure(b"GIF89a", "a plot"), "neither PNG nor SVG"),
        (report.Figure(b"<svg/>", "  "), "no alternative text"),
        (report.Table([["a", 1], ["b"]]), "rows of [1, 2] cells"),
        (report.Table([["a", 1]], header=("one",)), "rows of [1, 2] cells"),
        ("text", "expected one of the parts"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(part, words):
    with pytest.raises(UnusableInput) as caught:
        report.page("t", [report.Section("h", [part])])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
