"""Figures are legible with low contrast and with every common colour blindness.

Contrast is that of WCAG 2.2, https://www.w3.org/TR/WCAG22/: 3 for marks (1.4.11), 4.5
for text (1.4.3). Distances are CIEDE2000, where 1 is about the least that is seen.
"""

import ast
import io
import itertools
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from course_lib.tflite import drawing, reading
from course_lib.vision import models

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
from lessons import LESSONS, NOTEBOOKS, ROOT, SOLUTIONS
from matplotlib import colors
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

MARK, TEXT = 3, 4.5
# Okabe and Ito's first six come to 7.9: reddish purple and orange for tritanopes.
APART = 10
# The largest of a colour map's steps in lightness over the smallest. Gray has 1.6,
# viridis 1.3, inferno 2.45, hot 62.
EVEN = 2.5
GREYS = ("#767676", "#777777")  # known to just reach 4.5 on white, and to just miss it
WORDS = 8  # of an alternative text: a name is no description
STYLE = ROOT / "course_lib/course/course.mplstyle"
DRAWN_BY_LIBRARY = sorted((ROOT / "course_lib/course").glob("plotting*.py"))
DRAWN_IN_LESSONS = [
    pytest.param(cell.source, id=f"{book}, cell {cell.id}")
    for book in (*LESSONS, *SOLUTIONS)
    for cell in book.code
    if "plt.show()" in cell.source
]
IMAGES = sorted(NOTEBOOKS.glob("images/*.svg"))
PAGES = [
    page
    for folder in (".", "notebooks", "data", "examples/ci", "benchmarks")
    for page in sorted((ROOT / folder).glob("*.md"))
]
WRITERS = {"text", "annotate", "set_title", "suptitle", "bar_label"}
FILLS = {"facecolor", "fc", "colour"}
INKS = {"color", "c", "edgecolor", "ec", "ecolor", "markeredgecolor", "mec"}

# From linear RGB to linear RGB. Protanopia and deuteranopia: Machado, Oliveira and
# Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1. That model is not meant for
# tritanopia: Brettel, Viénot and Mollon 1997, doi:10.1364/JOSAA.14.002647, with the
# coefficients of https://github.com/DaltonLens/libDaltonLens (public domain).
PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
TRITANOPIA = np.array(
    [
        [
            [1.01277, 0.13548, -0.14826],
            [-0.01243, 0.86812, 0.14431],
            [0.07589, 0.80500, 0.11911],
        ],
        [
            [0.93678, 0.18979, -0.12657],
            [0.06154, 0.81526, 0.12320],
            [-0.37562, 1.12767, 0.24796],
        ],
    ]
)
TRITAN_NORMAL = np.array([0.03901, -0.02788, -0.01113])
VISIONS = {
    "normal": lambda rgb: rgb,
    "protanopia": lambda rgb: PROTANOPIA @ rgb,
    "deuteranopia": lambda rgb: DEUTERANOPIA @ rgb,
    "tritanopia": lambda rgb: TRITANOPIA[int(rgb @ TRITAN_NORMAL < 0)] @ rgb,
}


def linear(rgb) -> np.ndarray:
    """Undo the gamma of sRGB (IEC 61966-2-1)."""
    rgb = np.asarray(rgb, float)
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def gamma(rgb) -> np.ndarray:
    rgb = np.clip(rgb, 0, 1)
    return np.where(rgb <= 0.0031308, rgb * 12.92, 1.055 * rgb ** (1 / 2.4) - 0.055)


def contrast(one, other) -> np.ndarray:
    """Return the contrast of colours, rgb 0..1 in the last axis."""
    one, other = (linear(rgb) @ (0.2126, 0.7152, 0.0722) for rgb in (one, other))
    return (np.maximum(one, other) + 0.05) / (np.minimum(one, other) + 0.05)


def seen(rgb, vision: str) -> np.ndarray:
    """Return a colour as a reader with this vision sees it, in CIELAB."""
    return rgb2lab(gamma(VISIONS[vision](linear(rgb))))


def distance(one, other, *, vision: str) -> float:
    return float(deltaE_ciede2000(seen(one, vision), seen(other, vision)))


@pytest.fixture(autouse=True)
def style():
    with mpl.style.context(str(STYLE)):
        yield mpl.rcParams


def cycle() -> list:
    return [colors.to_rgb(c) for c in mpl.rcParams["axes.prop_cycle"].by_key()["color"]]


# --- the measures themselves ----------------------------------------------------------


def test_contrast_is_that_of_the_standard():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)
    assert contrast(colors.to_rgb("#767676"), (1, 1, 1)) == pytest.approx(
        4.54, abs=0.01
    )
    assert contrast(colors.to_rgb("#777777"), (1, 1, 1)) < TEXT


def test_red_and_green_meet_for_those_who_confuse_them():
    red, green = (0.75, 0.35, 0.2), (0.5, 0.5, 0.2)
    apart = {v: distance(red, green, vision=v) for v in VISIONS}
    assert apart["deuteranopia"] < APART < min(apart["normal"], apart["tritanopia"])
    blue, teal = (0.0, 0.45, 0.55), (0.1, 0.45, 0.35)
    assert distance(blue, teal, vision="tritanopia") < APART
    for vision in VISIONS:  # greys look as they are
        assert distance((0.2,) * 3, (0.4,) * 3, vision=vision) == pytest.approx(
            distance((0.2,) * 3, (0.4,) * 3, vision="normal"), abs=0.5
        )


# --- the style ------------------------------------------------------------------------


def test_every_colour_of_the_style_stands_out_from_the_paper(style):
    for paper in (style["figure.facecolor"], style["axes.facecolor"]):
        for number, rgb in enumerate(cycle()):
            found = contrast(rgb, colors.to_rgb(paper))
            assert found >= MARK, f"C{number}: {found:.2f}"


def test_text_of_the_style_stands_out_from_the_paper(style):
    for name in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"):
        ink, paper = colors.to_rgb(style[name]), colors.to_rgb(style["axes.facecolor"])
        assert contrast(ink, paper) >= TEXT, name


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_of_the_style_stay_apart(vision):
    for (a, one), (b, other) in itertools.combinations(enumerate(cycle()), 2):
        found = distance(one, other, vision=vision)
        assert found >= APART, f"C{a} and C{b}: {found:.1f}"


def test_the_colour_map_of_the_style_rises_evenly(style):
    assert steps(style["image.cmap"]) <= EVEN
    assert steps("jet") == np.inf  # it goes up and down


def steps(colormap: str) -> float:
    """Return the largest of 16 steps of lightness over the smallest; inf for a turn."""
    lightness = rgb2lab(mpl.colormaps[colormap](np.linspace(0, 1, 17))[:, :3])[:, 0]
    sizes = np.diff(lightness) * np.sign(lightness[-1] - lightness[0])
    return sizes.max() / sizes.min() if (sizes > 0).all() else np.inf


# --- what code draws ------------------------------------------------------------------


def typed_colours(source: str) -> Iterator[tuple[str, str]]:
    """Yield every colour that code names, as what it serves and the name."""
    tree, known = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            writes = getattr(node.func, "attr", "") in WRITERS
            pairs = [(word.arg, word.value) for word in node.keywords]
        elif isinstance(node, ast.Dict):
            writes = False
            keys = [getattr(key, "value", None) for key in node.keys]
            pairs = list(zip(keys, node.values, strict=True))
        else:
            continue
        for name, value in pairs:
            if isinstance(value, ast.Constant) and name in FILLS | INKS:
                known.add(value)
                kind = "fill" if name in FILLS else "text" if writes else "mark"
                yield kind, value.value
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and node not in known and is_named(text):
            yield "mark", text


def is_named(text: str) -> bool:
    named = {**colors.CSS4_COLORS, **colors.TABLEAU_COLORS, **colors.XKCD_COLORS}
    return text in named or bool(re.fullmatch(r"#[0-9a-fA-F]{3,8}|C\d", text))


def faults(source: str) -> list[str]:
    """Return the colours in code that stand out too little, or are not the style's."""
    found = []
    for kind, name in typed_colours(source):
        rgb = colors.to_rgb(name)
        if kind == "fill":  # black text stands on it
            good = contrast(rgb, (0, 0, 0)) >= TEXT
        elif kind == "mark" and name == "white" and "imshow(" in source:
            good = True  # the seam of a line that is drawn on a photograph
        else:
            of_the_style = rgb in cycle() or len(set(rgb)) == 1
            enough = contrast(rgb, (1, 1, 1)) >= (TEXT if kind == "text" else MARK)
            good = of_the_style and enough
        if not good:
            found.append(f"{kind} {name}")
    return found


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("axes.plot(x, y, color='C1')", []),
        ("axes.plot(x, y, color='C1', label='red')", ["mark red"]),
        ("axes.text(0, 0, 'x', color='grey')", ["text grey"]),
        ("axes.axhline(0, color='grey')", []),
        ("axes.plot(x, y, **{'color': '0.7'})", ["mark 0.7"]),
        ("styles = {'kept': 'C0', 'free': 'lightgrey'}", ["mark lightgrey"]),
        ("axes.text(0, 0, 'x', color='C1')", ["text C1"]),
        ("axes.plot(x, y, color='white')", ["mark white"]),
        ("axes.imshow(photo); axes.plot(x, y, color='white')", []),
        ("axes.imshow(photo); axes.text(0, 0, 'x', color='white')", ["text white"]),
        ("axes.add_patch(Box(facecolor='#332288'))", ["fill #332288"]),
        ("axes.add_patch(Box(facecolor='#e8f1f8'))", []),
    ],
)
def test_faults_of_colours_in_code_are_found(code, told):
    assert faults(code) == told


@pytest.mark.parametrize("path", DRAWN_BY_LIBRARY, ids=lambda path: path.name)
def test_the_library_draws_in_the_colours_of_the_style(path):
    assert not faults(path.read_text("utf-8"))


@pytest.mark.parametrize("source", DRAWN_IN_LESSONS)
def test_lessons_draw_in_the_colours_of_the_style(source):
    assert not faults(source), 'use "C0" to "C5", or a grey: "0.4" for text'


@pytest.mark.parametrize("book", [*LESSONS, *SOLUTIONS], ids=str)
def test_what_plots_uses_the_style(book):
    code = "\n".join(cell.source for cell in book.code)
    used = 'plt.style.use("course_lib.course.course")' in code
    assert used or "plt.show()" not in code


@pytest.mark.parametrize("source", DRAWN_IN_LESSONS)
def test_lessons_use_colour_maps_that_rise_evenly(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "cmap":
            assert steps(ast.literal_eval(node.value)) <= EVEN


# --- drawings -------------------------------------------------------------------------


def drawings() -> dict[str, str]:
    model = reading.read(models.DATA / "person_per_channel.tflite")
    targets = list(itertools.islice(itertools.cycle(drawing.TARGETS), 32))
    labels = dict.fromkeys(range(32), "a remark")
    return {
        **{path.name: path.read_text("utf-8") for path in IMAGES},
        "a plain graph": drawing.svg(model),
        "a graph with targets": drawing.svg(
            model, targets=targets, title="title", labels=labels
        ),
    }


DRAWINGS = drawings()
each_drawing = pytest.mark.parametrize("name", DRAWINGS)


def inherited(root) -> Iterator[tuple]:
    """Yield each element with what it inherits."""

    def below(element, before):
        attributes = {**before, **element.attrib}
        yield element, attributes
        for child in element:
            yield from below(child, attributes)

    return below(root, {})


def texts(root) -> Iterator[tuple[str, tuple, tuple]]:
    """Yield each text with its colour and its box (left, top, right, bottom).

    A letter is taken to be half as wide as it is high.
    """
    for element, of in inherited(root):
        told = "".join(element.itertext())
        if not element.tag.endswith("}text") or not told.strip():
            continue
        x, y, size = (float(of[key]) for key in ("x", "y", "font-size"))
        wide = 0.5 * size * len(told)
        anchor = of.get("text-anchor", "start")
        left = x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        yield told, colors.to_rgb(of["fill"]), (left, y - 0.7 * size, left + wide, y)


def without_text(root) -> np.ndarray:
    """Return the picture without its text, rgb 0..1, one pixel for each unit."""
    for parent in root.iter():
        for child in [c for c in parent if c.tag.endswith("}text")]:
            parent.remove(child)
    width = int(root.get("viewBox").split()[2])
    content = drawing.png(ET.tostring(root, "unicode"), width=width)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) / 255


@each_drawing
def test_text_in_drawings_stands_out_from_what_lies_behind(name):
    found = list(texts(ET.fromstring(DRAWINGS[name])))
    picture = without_text(ET.fromstring(DRAWINGS[name]))
    assert found, name
    for told, ink, box in found:
        left, top, right, bottom = (round(edge) for edge in box)
        behind = picture[max(top, 0) : bottom, max(left, 0) : right]
        legible = contrast(behind, ink) >= TEXT
        # A thin line may cross a letter; a background may not be too close.
        assert legible.mean() >= 0.9, f"{name}, «{told}»: {contrast(behind, ink).min()}"


@each_drawing
def test_outlines_and_lines_in_drawings_stand_out(name):
    root = ET.fromstring(DRAWINGS[name])
    for element, of in inherited(root):
        stroked = element.tag.rpartition("}")[2] in ("rect", "line")
        ink = of.get("stroke", "none")
        if stroked and ink != "none":
            assert contrast(colors.to_rgb(ink), (1, 1, 1)) >= MARK, f"{name}: {ink}"


def test_targets_in_a_drawing_stay_apart_for_all_readers():
    inks = [drawing._LOOKS[target]["ink"] for target in drawing.TARGETS]
    for vision in VISIONS:
        for one, other in itertools.combinations(map(colors.to_rgb, inks), 2):
            assert distance(one, other, vision=vision) >= APART, vision


# --- words ----------------------------------------------------------------------------


def alternative_texts() -> Iterator:
    sources = [
        (str(b), cell.source) for b in (*LESSONS, *SOLUTIONS) for cell in b.prose
    ]
    sources += [(str(p.relative_to(ROOT)), p.read_text("utf-8")) for p in PAGES]
    for where, source in sources:
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", source):
            yield pytest.param(text, id=f"{where}: {target}")


@pytest.mark.parametrize("text", list(alternative_texts()))
def test_alternative_texts_say_what_an_image_shows(text):
    assert len(text.split()) >= WORDS
