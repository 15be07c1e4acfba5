"""Draw the graph of a .tflite file as a static picture, SVG or PNG.

A network is nearly a chain. Its operators stand in newspaper columns: read down, then
go to the top of the next column. Parallel branches stand side by side, a residual
connection runs beside the chain, and a connection to a distant column is written at
both of its ends ("to 58", "from 7"). Where an operator runs is shown three times: by
the colour, by the fill (plain, hatched, dotted) and by the outline (round, square and
thick, dashed), so that the picture also reads in grey.

Netron, https://netron.app, is the interactive view. Introduced in notebook 11.
"""

import importlib.util
import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate, count, groupby
from pathlib import Path

from course_lib.errors import UnusableInput
from course_lib.tflite.reading import CHANNEL_AXIS, Model, Operator, Tensor

# A picture of 600 operators is 1000 x 5000 px and takes up to 0.7 s. Real networks have
# at most 2 lines for each operator; a hostile file may have thousands.
LIMIT, LINES = 600, 2400
PIXELS = 50_000_000  # 200 MB of memory
TARGETS = {"dlpu": "DLPU", "cpu": "CPU", "unknown": "unknown"}
# Blue and vermilion of Okabe and Ito's palette, which colour-blind readers tell apart:
# https://jfly.uni-koeln.de/color/
_LOOKS = {
    "dlpu": {"ink": "#0072b2", "fill": "#e4f1fa", "round": 7, "line": 'width="1.2"'},
    "cpu": {
        "ink": "#b34700",
        "fill": "#ffe9d6",
        "band": "#f5a25d",
        "round": 0,
        "line": 'width="2.4"',
    },
    "unknown": {
        "ink": "#4d4d4d",
        "fill": "#fff",
        "band": "#c4c4c4",
        "round": 0,
        "line": 'width="1.4" stroke-dasharray="5 3"',
    },
    None: {"ink": "#4d4d4d", "fill": "#f2f2f2", "round": 7, "line": 'width="1.2"'},
}
_SHORT = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "TRANSPOSE_CONV": "transposed conv",
    "AVERAGE_POOL_2D": "avg pool",
    "MAX_POOL_2D": "max pool",
    "L2_POOL_2D": "L2 pool",
    "CONCATENATION": "concat",
}
_FONT = "DejaVu Sans, Verdana, Geneva, sans-serif"
_NAME, _SMALL = 11.0, 9.5  # font sizes: at least 9 when 1060 px shrink to 1000
_SIZES = (_NAME, _SMALL, _SMALL)  # of a box's lines
_WIDTH = 1000  # what a README or a notebook shows without shrinking
_TAB = 24  # the cell with the operator's number
_MARGIN, _GAP, _TRACK, _PAD = 20, 15, 7, 11
_TRACKS, _LEVELS = 7, 6  # lines side by side in a channel, one above another in a gap


@dataclass(frozen=True)
class _Node:
    """A box: what it says, and which boxes it reads and feeds."""

    kind: str  # "input", "operator", "output"
    number: int
    lines: list[str]
    tip: str
    target: str | None = None
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    @property
    def height(self) -> float:
        return 7 + 12.5 * len(self.lines)

    @property
    def called(self) -> str:
        """Return how the distant end of a line calls it."""
        return str(self.number) if self.kind == "operator" else self.lines[0]


@dataclass
class _Wire:
    """A line: by which channel (column, lane) and gap (column, row) it goes."""

    start: int
    end: int
    channel: tuple[int, int] | None = None
    gap: tuple[int, int] | None = None
    track: int = 0
    level: int = 0


def svg(
    model: Model,
    *,
    targets: Sequence[str] | None = None,
    title: str = "",
    labels: Mapping[int, str] | None = None,
) -> str:
    """Draw the main subgraph as SVG.

    The same arguments give the same text. All text from the file is escaped; what
    cannot be printed becomes U+FFFD. A shape stands without its leading 1, the batch.

    Args:
        model: A file as read by `course_lib.tflite.reading`.
        targets: "dlpu", "cpu" or "unknown" for each operator in file order. None draws
            all alike, without a legend.
        title: Stands above the picture.
        labels: A short remark by operator index, drawn in its box.

    Returns:
        An SVG document, about 1000 px wide, whose smallest type is 9.5 px.

    Raises:
        UnusableInput: When `targets` has the wrong length or another word; when the
            model has more than 600 operators, inputs and outputs, or more lines between
            them than a picture can show.

    Introduced in notebook 11.
    """
    boxes = len(model.operators) + len(model.inputs) + len(model.outputs)
    if boxes > LIMIT:
        raise UnusableInput(
            f"{boxes} operators, inputs and outputs: a picture shows at most {LIMIT}: "
            "open the file in Netron instead"
        )
    if targets is not None:
        targets = list(targets)
        if len(targets) != len(model.operators):
            raise UnusableInput(
                f"{len(targets)} targets for {len(model.operators)} operators: give "
                "one for each, in file order"
            )
        for index, word in enumerate(targets):
            if word not in TARGETS:
                raise UnusableInput(
                    f"target {word!r} of operator {index}: use dlpu, cpu or unknown"
                )
    nodes, missing = _graph(model, targets, labels or {})
    if sum(len(node.after) for node in nodes) > LINES:
        raise UnusableInput(
            f"more than {LINES} lines between operators: no picture can show them: "
            "open the file in Netron instead"
        )
    header = _Header(len(model.operators), targets, title, missing)
    layouts = (
        _Layout(nodes, row, lane, columns, header)
        for row, lane in (_arrange(nodes, lanes) for lanes in (4, 3, 2, 1))
        for columns in range(1, 8)
    )
    return min(layouts, key=lambda layout: layout.cost).text()


def png(svg_text: str, *, width: int = 1200) -> bytes:
    """Turn a drawing into PNG.

    The type is matplotlib's DejaVu Sans where matplotlib is installed, so that the
    picture is the same on every machine; otherwise it is what the system has.

    Args:
        svg_text: What `svg` returned.
        width: Of the picture in pixels, 16 to 8192, and 50 million pixels in all.

    Raises:
        UnusableInput: When the width is out of range, the text is no SVG, resvg-py is
            not installed, or there is no font.

    Introduced in notebook 11.
    """
    if not 16 <= width <= 8192:
        raise UnusableInput(f"width {width}: a PNG is 16 to 8192 pixels wide")
    try:
        import resvg_py
    except ImportError:
        raise UnusableInput(
            "a PNG needs resvg-py: pip install resvg-py, or keep the SVG"
        ) from None
    size = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg_text)
    if size and width**2 * int(size[2]) > PIXELS * int(size[1]):
        raise UnusableInput(
            f"a PNG {width} pixels wide would have more than {PIXELS} pixels: choose "
            "a smaller width, or keep the SVG"
        )
    fonts = _fonts()
    options = {"skip_system_fonts": bool(fonts), "font_files": fonts or None}
    probe = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">{}</svg>'
    letter = f'<text y="9" font-size="9" font-family="{_FONT}">M</text>'
    try:
        blank, lettered = (
            resvg_py.svg_to_bytes(svg_string=probe.format(inner), **options)
            for inner in ("", letter)
        )
        if blank == lettered:
            raise UnusableInput(
                "no font for the PNG's text: install DejaVu Sans, or matplotlib, which "
                "carries it"
            )
        return bytes(resvg_py.svg_to_bytes(svg_string=svg_text, width=width, **options))
    except UnusableInput:
        raise
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UnusableInput(
            f"not an SVG picture ({reason}): give what svg() returned"
        ) from None


def _fonts() -> list[str]:
    """Find matplotlib's fonts without importing it."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.origin:
        return []
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    files = [folder / f"DejaVuSans{style}.ttf" for style in ("", "-Bold")]
    return [str(file) for file in files if file.is_file()]


# --- what is drawn --------------------------------------------------------------------


def _graph(
    model: Model, targets: list[str] | None, labels: Mapping[int, str]
) -> tuple[list[_Node], int]:
    """Return boxes in the order of execution; count inputs that nothing has written.

    A line goes to the last operator before that wrote the tensor. So every line points
    forward, whatever a hostile file says.
    """
    nodes: list[_Node] = []
    writer: dict[int, int] = {}
    missing = 0

    def add(node: _Node, reads: Iterable[int], writes: Iterable[int]) -> None:
        node.before.extend(sorted({writer[t] for t in reads if t in writer}))
        for before in node.before:
            nodes[before].after.append(len(nodes))
        writer.update(dict.fromkeys(writes, len(nodes)))
        nodes.append(node)

    for number, tensor in enumerate(model.inputs):
        add(_end("input", number, model.inputs), (), [tensor.index])
    written = {t for operator in model.operators for t in operator.outputs}
    for operator in model.operators:
        missing += sum(
            t in written and t not in writer for t in set(operator.inputs) if t >= 0
        )
        outputs = [model.tensors[t] for t in operator.outputs if t >= 0]
        shape = _shape(outputs[0]) if outputs else "no output"
        more = f" +{len(outputs) - 1}" if len(outputs) > 1 else ""
        activation = str(operator.options.get("fused_activation_function", "NONE"))
        activation = "" if activation == "NONE" else f" {activation.lower()}"
        target = targets[operator.index] if targets else None
        label = labels.get(operator.index)
        tip = [f"operator {operator.index}: {operator.name} version {operator.version}"]
        tip += [f"{t.dtype} {_full(t)} {t.name}" for t in outputs[:4]]
        tip += [TARGETS[target]] if target else []
        tip += [label] if label else []
        lines = [_short(model, operator), f"{shape}{more}{activation}"]
        lines += [label] if label else []
        node = _Node("operator", operator.index, lines, "\n".join(tip), target)
        add(node, operator.inputs, (t for t in operator.outputs if t >= 0))
    for number, tensor in enumerate(model.outputs):
        add(_end("output", number, model.outputs), [tensor.index], ())
    return nodes, missing


def _end(kind: str, number: int, tensors: Sequence[Tensor]) -> _Node:
    tensor = tensors[number]
    name = kind if len(tensors) == 1 else f"{kind} {number}"
    facts = f"{tensor.dtype} {_full(tensor)}"
    return _Node(kind, number, [name, facts], f"{name}: {tensor.name}\n{facts}")


def _full(tensor: Tensor) -> str:
    sizes = ("?" if size < 0 else str(size) for size in tensor.shape_signature)
    return "x".join(sizes) or "scalar"


def _shape(tensor: Tensor) -> str:
    text = _full(tensor)
    return text[2:] if text.startswith("1x") else text


def _short(model: Model, operator: Operator) -> str:
    """Name an operator as people do: conv 3x3 /2."""
    if operator.is_custom:
        return operator.name
    name = _SHORT.get(operator.name, operator.name.lower().replace("_", " "))
    get = operator.options.get
    kernel = (get("filter_height"), get("filter_width"))
    if operator.name in CHANNEL_AXIS and len(operator.inputs) > 1:
        weights = operator.inputs[1]
        shape = model.tensors[weights].shape if weights >= 0 else ()
        kernel = shape[1:3] if len(shape) == 4 else (None, None)
    if None not in kernel:
        name += f" {kernel[0]}x{kernel[1]}"
    for mark, pair in (
        (" /", (get("stride_h", 1), get("stride_w", 1))),
        (" d", (get("dilation_h_factor", 1), get("dilation_w_factor", 1))),
    ):
        if pair != (1, 1):
            name += mark + (
                str(pair[0]) if pair[0] == pair[1] else "x".join(map(str, pair))
            )
    return name


# --- text -----------------------------------------------------------------------------


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _wide(text: str, size: float) -> float:
    """Estimate a text's width in DejaVu Sans, the widest of the fonts asked for."""
    em = 0.0
    for c in text:
        if ord(c) >= 0x1100:
            em += 1.0
        elif c in "ijlftrI.,:;|!'()[]/ ":
            em += 0.38
        elif c in "mwMW@%":
            em += 0.95
        else:
            em += 0.7 if c.isupper() else 0.63
    return em * size


def _cut(text: str, size: float, room: float) -> str:
    text = _clean(text[:400])
    if _wide(text, size) <= room:
        return text
    while text and _wide(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(x: float, y: float, content: str, **attributes: object) -> str:
    extra = "".join(
        f' {key.replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    return f'<text x="{_n(x)}" y="{_n(y)}"{extra}>{escape(content)}</text>'


# --- rows and lanes -------------------------------------------------------------------


def _arrange(nodes: list[_Node], lanes: int) -> tuple[list[int], list[int]]:
    """Give each box a row, below all that it reads, and one of the lanes."""
    if lanes == 1:
        return list(range(len(nodes))), [0] * len(nodes)
    ahead = [0] * len(nodes)  # boxes on the longest way to an end
    for index in reversed(range(len(nodes))):
        ahead[index] = max((ahead[a] + 1 for a in nodes[index].after), default=0)
    row = _rows(nodes, lanes, ahead)
    lane = [0] * len(nodes)
    held: dict[int, tuple[int, int]] = {}  # lane: by which box, down to which row
    order = sorted(range(len(nodes)), key=lambda i: (row[i], -ahead[i], i))
    for here, group in groupby(order, key=row.__getitem__):
        taken: set[int] = set()
        for index in group:
            node = nodes[index]
            # Continue the box just above, else one whose lane was kept free.
            parents = sorted(node.before, key=lambda b: (-row[b], lane[b]))
            wishes = [lane[b] for b in parents if row[b] == here - 1]
            wishes += [own for own, (by, _) in held.items() if by in parents]
            free = [
                own
                for own in range(lanes)
                if own not in held or held[own][1] <= here or held[own][0] in parents
            ]
            choice = [*(w for w in wishes if w in free), *free, *range(lanes)]
            lane[index] = next(own for own in choice if own not in taken)
            taken.add(lane[index])
            until = row[node.after[0]] if len(node.after) == 1 else here + 1
            held[lane[index]] = (index, until)
    return row, lane


def _rows(nodes: list[_Node], lanes: int, ahead: list[int]) -> list[int]:
    anchored = [False] * len(nodes)
    rank = [0] * len(nodes)
    for index, node in enumerate(nodes):
        rank[index] = max((rank[b] + 1 for b in node.before), default=0)
        anchored[index] = any(
            anchored[b] or nodes[b].kind == "input" for b in node.before
        )
    # What depends on no input, such as unpacked weights, stands just above its use.
    for index in reversed(range(len(nodes))):
        if not anchored[index] and nodes[index].after:
            rank[index] = min(rank[a] for a in nodes[index].after) - 1
    # Row by row: the box with the longest way ahead, then what continues a branch.
    row = [-1] * len(nodes)
    left = [len(node.before) for node in nodes]
    ready = {index for index, number in enumerate(left) if number == 0}
    here = turn = 0
    main: set[int] = set()
    while ready:
        fit = [index for index in ready if rank[index] <= turn]
        order = sorted(fit, key=lambda i: (-ahead[i], i))
        rest = sorted(
            order[1:],
            key=lambda i: (
                all(row[b] != here - 1 or b in main for b in nodes[i].before),
                rank[i],
                i,
            ),
        )
        chosen = [*order[:1], *rest[: lanes - 1]]
        main = set(order[:1])
        for index in chosen:
            row[index] = here
            ready.remove(index)
        for index in chosen:
            for after in nodes[index].after:
                left[after] -= 1
                if left[after] == 0:
                    ready.add(after)
        here += bool(chosen)
        turn += 1
    return row


def _fold(
    nodes: list[_Node], row: list[int], weight: list[float], columns: int
) -> list[int]:
    """Return each column's first row: columns of like height that cut few lines."""
    rows = len(weight)
    if rows <= columns:
        return list(range(max(rows, 1)))
    steps = [0] * (rows + 1)
    for index, node in enumerate(nodes):
        if node.after:
            steps[row[index] + 1] += 1
            steps[max(row[a] for a in node.after) + 1] -= 1
    cut = list(accumulate(steps))  # boxes above a row that some box from it on reads
    down = [0.0, *accumulate(weight)]
    even = down[-1] / columns
    near = max(even / 2, *weight)  # how far from even a cut may be
    # The cheapest way to fill so many columns with the rows above each row.
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for column in range(1, columns + 1):
        low = bisect_left(down, column * even - near)
        high = min(bisect_right(down, column * even + near), rows + 1)
        reached: dict[int, tuple[float, tuple[int, ...]]] = {}
        for end in [rows] if column == columns else range(low, high):
            cuts = 0.3 * min(cut[end] - 1, 5) if end < rows else 0
            reached[end] = min(
                (
                    (
                        cost + 4 * ((down[end] - down[start]) / even - 1) ** 2 + cuts,
                        (*starts, start),
                    )
                    for start, (cost, starts) in best.items()
                    if start < end
                ),
                default=(math.inf, (0,)),
            )
        best = reached
    return list(best[rows][1])


# --- the header -----------------------------------------------------------------------


class _Header:
    """Title, facts and legend above the graph."""

    def __init__(
        self, operators: int, targets: list[str] | None, title: str, missing: int
    ) -> None:
        self.title = title
        self.facts = f"{operators} operator{'s' * (operators != 1)}."
        if missing:
            many = "inputs are" if missing > 1 else "input is"
            self.facts += f" {missing} {many} read before anything is written there."
        self.entries: list[tuple[str, str, str]] = []
        for word, name in TARGETS.items() if targets is not None else ():
            runs = _runs(i for i, t in enumerate(targets) if t == word)
            where = "" if word == "dlpu" or not runs else f"({runs})"
            self.entries.append((word, f"{name} {targets.count(word)}", where))
        wide = [_wide(_clean(title[:80]), 17), _wide(self.facts, _SMALL) + 190]
        wide.append(sum(self._length(entry) for entry in self.entries))
        self.width = max(wide)
        self.height = 26 * bool(title) + 18 + 28 * bool(self.entries)

    def _length(self, entry: tuple[str, str, str]) -> float:
        return 66 + _wide(entry[1], 13) + _wide(entry[2], _SMALL)

    def text(self, width: float, columns: int) -> list[str]:
        y, out = float(_MARGIN), []
        if self.title:
            title = _cut(self.title, 17, width - 2 * _MARGIN)
            out.append(_text(_MARGIN, y + 12, title, font_size=16, font_weight="bold"))
            y += 26
        hint = " Read down, then go to the next column." * (columns > 1)
        facts = self.facts + hint
        out.append(_text(_MARGIN, y + 8, facts, font_size=_SMALL, fill="#555"))
        x, y = float(_MARGIN), y + 18
        for entry in self.entries:
            word, text, where = entry
            out.append(_box(x, y + 4, 26, 17, word))
            out.append(
                f'<text x="{_n(x + 33)}" y="{_n(y + 17)}" font-size="12" font-weight='
                f'"bold">{text}<tspan dx="5" font-size="{_SMALL}" font-weight='
                f'"normal">{where}</tspan></text>'
            )
            x += self._length(entry)
        return out


def _runs(indexes: Iterable[int]) -> str:
    """Write 1, 2, 3, 7 as 1-3, 7; at most three runs, the longest.

    Example:
        >>> _runs([1, 2, 3, 7])
        '1-3, 7'
    """
    runs: list[list[int]] = []
    for index in indexes:
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    kept = sorted(sorted(runs, key=lambda run: run[0] - run[1])[:3])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in kept)
    return text + (f" and {len(runs) - 3} more runs" if len(runs) > 3 else "")


def _box(
    x: float, y: float, w: float, h: float, target: str | None, clear: float = 0
) -> str:
    look = _LOOKS[target]
    inside = (x + 1.2, y + 1.2, w - 2.4, h - 2.4)  # within the outline
    return (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(w)}" height="{_n(h)}" '
        f'rx="{look["round"]}" fill="{look["fill"]}" stroke="{look["ink"]}" '
        f"stroke-{look['line']}/>{_filling(*inside, target, clear)}"
    )


def _filling(
    x: float, y: float, w: float, h: float, target: str | None, clear: float
) -> str:
    """Hatch a box, or dot it beside its text.

    An SVG pattern would show seams, and needs an id that is free in the whole page.
    """
    if target == "cpu":
        lines = (
            f"M{_n(x + max(c, 0))} {_n(y + h + min(c, 0))}"
            f"L{_n(x + min(c + h, w))} {_n(y + max(c + h - w, 0))}"
            for c in range(9 - math.floor(h), math.floor(w), 9)
        )
        return f'<path d="{"".join(lines)}" stroke="#f4ae78" stroke-width="2"/>'
    if target == "unknown":
        rows = (
            f"M{_n(x + 4 + clear)} {_n(y + c)}h{_n(w - 8 - clear)}"
            for c in range(5, int(h), 7)
        )
        return (
            f'<path d="{"".join(rows)}" stroke="#8c8c8c" stroke-width="2" '
            'stroke-linecap="round" stroke-dasharray="0.1 6.9"/>'
        )
    return ""


# --- columns, lines, picture ----------------------------------------------------------


class _Layout:
    """The graph folded into a number of columns, and what that costs the reader."""

    def __init__(
        self,
        nodes: list[_Node],
        row: list[int],
        lane: list[int],
        columns: int,
        header: _Header,
    ) -> None:
        self.nodes, self.row, self.lane, self.header = nodes, row, lane, header
        self.tall = [0.0] * (max(row, default=-1) + 1)
        for node, here in zip(nodes, row, strict=True):
            self.tall[here] = max(self.tall[here], node.height)
        self.starts = _fold(nodes, row, [t + _GAP for t in self.tall], columns)
        self.column = [bisect_right(self.starts, here) - 1 for here in row]
        self.box = max((_room(node) for node in nodes), default=100.0)
        self._route()
        self._down()
        self._across()
        ratio = self.width / self.height
        area = self.width * self.height / (max(len(nodes), 1) * self.box * 45)
        # Weights judged by eye on MobileNetV2, EfficientNet-Lite0, DeepLab, PoseNet and
        # on graphs shaped like U-Net, Inception and SSD.
        self.cost = (
            abs(math.log(ratio / 1.35))
            + 0.5 * math.log(area)
            + 0.03 * sum(map(len, self.to.values()))
            + 0.07 * self._strangers()
            + 0.12 * len(self.starts)
            + 20 * max(0.0, self.width / (1.06 * _WIDTH) - 1)
        )

    def _strangers(self) -> int:
        """Count boxes that stand just below a box that they do not continue."""
        at = {
            p: i
            for i, p in enumerate(zip(self.column, self.lane, self.row, strict=True))
        }
        return sum(
            (column, lane, row - 1) in at
            and at[column, lane, row - 1] not in self.nodes[index].before
            for (column, lane, row), index in at.items()
        )

    def _route(self) -> None:
        """Choose for each line how it goes; what cannot go is tagged at both ends."""
        self.stand: dict[tuple[int, int], list[int]] = defaultdict(list)
        for place in sorted(zip(self.column, self.lane, self.row, strict=True)):
            self.stand[place[:2]].append(place[2])
        self.lanes: dict[int, list[int]] = defaultdict(list)
        for column, lane in self.stand:
            self.lanes[column].append(lane)
        self.wires: list[_Wire] = []
        self.to: dict[int, list[int]] = defaultdict(list)
        self.source: dict[int, list[int]] = defaultdict(list)
        for start, node in enumerate(self.nodes):
            for end in node.after:
                wire = self._way(start, end)
                if wire is None:
                    self._tag(start, end)
                else:
                    self.wires.append(wire)

    def _tag(self, start: int, end: int) -> None:
        self.to[start].append(end)
        self.source[end].append(start)

    def _way(self, start: int, end: int) -> _Wire | None:
        (top, bottom), lane = (self.row[start], self.row[end]), self.lane[start]
        column, last = self.column[start], self.column[end]
        if column != last:
            lanes = self.lanes[column]
            if last != column + 1 or not self._alone(start, 1):
                return None
            aside = None if self._alone(end, -1) else (last, bottom)
            return _Wire(start, end, (column, lanes[-1]), aside)
        if lane == self.lane[end]:
            clear = self._clear(column, lane, top, bottom)
            return _Wire(start, end, None if clear else (column, lane))
        if self._clear(column, lane, top, bottom):
            return _Wire(start, end, None, (column, bottom))
        if self._clear(column, self.lane[end], top, bottom):
            return _Wire(start, end, None, (column, top + 1))
        return None

    def _clear(self, column: int, lane: int, top: int, bottom: int) -> bool:
        """Tell whether no box stands in the lane strictly between two rows."""
        rows = self.stand[column, lane]
        place = bisect_right(rows, top)
        return place == len(rows) or rows[place] >= bottom

    def _alone(self, index: int, towards: int) -> bool:
        """Tell whether nothing stands in its row between it and the gutter."""
        column, row = self.column[index], self.row[index]
        return not any(
            (lane - self.lane[index]) * towards > 0 and row in self.stand[column, lane]
            for lane in self.lanes[column]
        )

    def _down(self) -> None:
        """Give lines in gaps their levels, and rows their y."""
        gaps: dict[tuple[int, int], list] = defaultdict(list)
        for wire in self.wires:
            if wire.gap:
                low = -1 if wire.channel else self.lane[wire.start]
                low, high = sorted((low, self.lane[wire.end]))
                gaps[wire.gap].append((low, high, wire))
        levels = {gap: _share(spans, "level") for gap, spans in gaps.items()}
        self._refuse("level", _LEVELS)
        self.named = {self.row[end] for end in self.source}
        tagged = {self.row[start] for start in self.to}
        self.y = [0.0] * len(self.tall)
        top = bottom = _MARGIN + self.header.height + 14.0
        for column, first in enumerate(self.starts):
            end = [*self.starts[1:], len(self.tall)][column]
            y = top
            for row in range(first, end):
                lines = min(levels.get((column, row), 0), _LEVELS)
                if row == first:
                    y += 8 * (row in self.named) + (5 + 5 * lines) * bool(lines)
                else:
                    y += _GAP + 6 * (row in self.named) + 5 * max(lines - 1, 0)
                self.y[row] = y
                y += self.tall[row] + 8 * (row in tagged)
            bottom = max(bottom, y)
        self.height = bottom + _MARGIN

    def _across(self) -> None:
        """Give lines in channels their tracks, and boxes their x."""
        spans: dict[tuple[int, int], list] = defaultdict(list)
        for wire in self.wires:
            if wire.channel:
                into = self._level(wire) if wire.gap else self._middle(wire.end) - 6
                low, high = sorted((self._middle(wire.start) + 6, into))
                spans[wire.channel].append((low, high, wire))
        tracks = {}
        for channel, lines in spans.items():
            # Short lines get the near tracks, those to the next column the far ones.
            lines.sort(
                key=lambda s: (
                    self.column[s[2].end],
                    s[1] - s[0],
                    s[2].start,
                    s[2].end,
                )
            )
            tracks[channel] = _share(lines, "track")
        self._refuse("track", _TRACKS)
        self.left: dict[tuple[int, int], float] = {}
        x = edge = float(_MARGIN)
        for place in self.stand:
            self.left[place] = x
            used = min(tracks.get(place, 0), _TRACKS)
            edge = max(edge, x + self.box + (_PAD + _TRACK * (used - 1)) * bool(used))
            x += self.box + 2 * _PAD + _TRACK * max(used - 1, 0)
        # A legend wider than a small graph: the graph stands in the middle.
        wide = self.header.width + _MARGIN
        if wide > edge:
            move = (wide - edge) / 2
            self.left = {place: x + move for place, x in self.left.items()}
        self.width = max(wide, edge) + _MARGIN

    def _refuse(self, name: str, most: int) -> None:
        """Tag the lines for which there is no room."""
        for wire in self.wires:
            if getattr(wire, name) >= most:
                self._tag(wire.start, wire.end)
        self.wires = [wire for wire in self.wires if getattr(wire, name) < most]

    def _corner(self, index: int) -> tuple[float, float]:
        left = self.left[self.column[index], self.lane[index]]
        return left, self.y[self.row[index]]

    def _middle(self, index: int) -> float:
        return self.y[self.row[index]] + self.nodes[index].height / 2

    def _level(self, wire: _Wire) -> float:
        row = wire.gap[1]
        return self.y[row] - 10 - 6 * (row in self.named) - 5 * wire.level

    def _points(self, wire: _Wire) -> list[tuple[float, float]]:
        """Return where the line turns. It leaves a box low and enters it high."""
        (ax, ay), (bx, by) = self._corner(wire.start), self._corner(wire.end)
        below = (ax + self.box / 2, ay + self.nodes[wire.start].height)
        above = (bx + self.box / 2, by)
        level = self._level(wire) if wire.gap else 0
        if wire.channel is None:
            if wire.gap is None:
                return [below, above]
            return [below, (below[0], level), (above[0], level), above]
        x = self.left[wire.channel] + self.box + _PAD + _TRACK * wire.track
        out = self._middle(wire.start) + 6
        points = [(ax + self.box, out), (x, out)]
        if wire.gap:
            return [*points, (x, level), (above[0], level), above]
        into = self._middle(wire.end) - 6
        return [*points, (x, into), (bx if bx > x else bx + self.box, into)]

    def text(self) -> str:
        """Write the SVG."""
        title = _clean(self.header.title[:200]) or "Graph of a .tflite file"
        spoken = "; ".join([self.header.facts, *(e[1] for e in self.header.entries)])
        w, h = math.ceil(self.width), math.ceil(self.height)
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" '
            f'viewBox="0 0 {w} {h}" font-family="{_FONT}" fill="#1a1a1a" role="img">',
            f"<title>{escape(title)}</title><desc>{escape(spoken)}</desc>",
            f'<path d="M0 0h{w}v{h}h-{w}z" fill="#fff"/>',
            *self.header.text(self.width, len(self.starts)),
            *self._bands(),
            *self._lines(),
            *self._tags(),
            *(
                _drawn(node, *self._corner(index), self.box)
                for index, node in enumerate(self.nodes)
            ),
            "</svg>\n",
        ]
        return "\n".join(out)

    def _bands(self) -> Iterable[str]:
        """Lay a band behind neighbours in one lane that do not run on the DLPU."""
        order = zip(self.column, self.lane, self.row, self.nodes, count(), strict=False)
        lanes = [
            (*p[:2], p[3].target, p[4]) for p in sorted(order, key=lambda p: p[:3])
        ]
        for (_, _, target), group in groupby(lanes, key=lambda place: place[:3]):
            run = [place[3] for place in group]
            band = _LOOKS[target].get("band")
            if band:
                x, top = self._corner(run[0])
                bottom = self._corner(run[-1])[1] + self.nodes[run[-1]].height
                yield (
                    f'<path d="M{_n(x - 6)} {_n(top - 5)}h{_n(self.box + 12)}'
                    f'v{_n(bottom - top + 10)}h{_n(-self.box - 12)}z" fill="{band}"/>'
                )

    def _lines(self) -> Iterable[str]:
        heads = []
        yield '<g fill="none" stroke="#444" stroke-width="1.3">'
        for wire in self.wires:
            points = self._points(wire)
            (x, y), (before, _) = points[-1], points[-2]
            way = "-3.5 -6h7" if x == before else f"{6 if x < before else -6} -3.5v7"
            heads.append(f"M{_n(x)} {_n(y)}l{way}z")
            yield f'<path d="{_rounded(points)}"/>'
        yield f'</g>\n<path d="{"".join(heads)}" fill="#444"/>'

    def _tags(self) -> Iterable[str]:
        room = self.box / 2 - 8
        yield f'<g font-size="{_SMALL}" fill="#333">'
        for index, others in self.to.items():
            (x, y), height = self._corner(index), self.nodes[index].height
            text = self._called("to", others, room)
            yield _text(x + self.box / 2 + 6, y + height + 10, text)
        for index, others in self.source.items():
            x, y = self._corner(index)
            yield _text(x + 2, y - 3.5, self._called("from", others, room))
        yield "</g>"

    def _called(self, word: str, others: list[int], room: float) -> str:
        names = [self.nodes[index].called for index in sorted(set(others))]
        for shown in range(len(names), 1, -1):
            more = f" +{len(names) - shown}" if shown < len(names) else ""
            text = f"{word} {', '.join(names[:shown])}{more}"
            if _wide(text, _SMALL) <= room:
                return text
        return f"{word} {names[0]}" + (f" +{len(names) - 1}" * (len(names) > 1))


def _room(node: _Node) -> float:
    """Return the width that its box would like: 100 to 176."""
    wide = (_wide(_clean(t[:60]), s) for t, s in zip(node.lines, _SIZES, strict=False))
    return min(max(max(wide) + 14 + _TAB * (node.kind == "operator"), 100.0), 176.0)


def _drawn(node: _Node, x: float, y: float, width: float) -> str:
    """Write a box. Its tooltip has the full name, the tensors and the target."""
    height, look = node.height, _LOOKS[node.target]
    tip = "\n".join(_clean(line[:200]) for line in node.tip.split("\n"))
    out = [f'<g data-{node.kind}="{node.number}"']
    out.append(f' data-target="{node.target}">' if node.target else ">")
    out.append(f"<title>{escape(tip)}</title>")
    style: dict[str, object] = {}
    if node.kind == "operator":
        r = look["round"]
        tab = (
            f'<path d="M{_n(x + _TAB)} {_n(y)}v{_n(height)}h-{_TAB - r}q-{r} 0 -{r} '
            f'-{r}v{_n(2 * r - height)}q0 -{r} {r} -{r}z" fill="{look["ink"]}"/>'
        )
        number = _text(
            x + _TAB / 2,
            y + height / 2 + 3.5,
            str(node.number),
            font_size=_SMALL,
            font_weight="bold",
            text_anchor="middle",
            fill="#fff",
        )
        left, room = x + _TAB + 5, width - _TAB - 9
        long = max(_wide(_clean(t[:60]), _NAME) for t in node.lines)
        clear = min(_TAB + 8 + long, width - 18)
        out += [_box(x, y, width, height, node.target, clear), tab, number]
        if "band" in look:  # letters on a hatch need a light edge
            style = {"stroke": "#fff", "stroke_width": 2.5, "paint_order": "stroke"}
    else:
        out.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" '
            f'rx="{_n(height / 2)}" fill="#333"/>'
        )
        left, room = x + width / 2, width - 12
        style = {"fill": "#fff", "text_anchor": "middle"}
    for k, (line, size) in enumerate(zip(node.lines, _SIZES, strict=False)):
        kind = {"font_style": "italic"} if k == 2 else {}
        text = _cut(line, size, room)
        out.append(
            _text(left, y + 13 + 12.5 * k, text, font_size=size, **kind, **style)
        )
    return "".join([*out, "</g>"])


def _share(spans: list, name: str) -> int:
    """Give each line (low, high, wire) a track; return how many tracks there are.

    Lines from the same box share a track. The order of the spans is kept.
    """
    tracks: list[list[tuple[float, float, int]]] = []
    for low, high, wire in spans:
        free = (
            number
            for number, track in enumerate(tracks)
            if all(high < a or low > b or start == wire.start for a, b, start in track)
        )
        number = next(free, len(tracks))
        if number == len(tracks):
            tracks.append([])
        tracks[number].append((low, high, wire.start))
        setattr(wire, name, number)
    return len(tracks)


def _rounded(points: list[tuple[float, float]]) -> str:
    """Write a line through points whose corners are rounded."""
    text = f"M{_n(points[0][0])} {_n(points[0][1])}"
    for (x0, y0), (x, y), (x1, y1) in zip(points, points[1:], points[2:], strict=False):
        before, after = math.dist((x0, y0), (x, y)), math.dist((x, y), (x1, y1))
        r = min(5.0, before / 2, after / 2)
        if r:
            ax, ay = x + (x0 - x) * r / before, y + (y0 - y) * r / before
            bx, by = x + (x1 - x) * r / after, y + (y1 - y) * r / after
            text += f"L{_n(ax)} {_n(ay)}Q{_n(x)} {_n(y)} {_n(bx)} {_n(by)}"
    return text + f"L{_n(points[-1][0])} {_n(points[-1][1])}"
