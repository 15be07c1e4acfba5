"""Make tensors inside a .tflite file outputs of it, so that a device shows them.

Nothing of the file is moved or rebuilt: the new lists are appended, and the places that
point to the old ones are overwritten. So the weights stay where and as aligned as they
are, and a FlatBuffer needs no more, because its offsets only point forward.

Source: "FlatBuffer internals", https://flatbuffers.dev/internals/, and
tensorflow/lite/schema/schema.fbs. Read on 2026-11-21.
"""

import struct
from collections.abc import Sequence

from course_lib.errors import UnusableInput
from course_lib.tflite import reading
from course_lib.tflite.flatbuffer import TABLES

# A TensorMap's vtable: its own size, the table's size, where its two fields lie.
_TENSOR_MAP = struct.pack("<4H", 8, 12, 4, 8)


def expose(content: bytes, tensors: Sequence[int]) -> bytes:
    """Return the same file with more tensors among its outputs.

    The old outputs keep their places; the new ones follow in the order given, in the
    list of the main graph and, as "exposed_<index>", in its signatures.

    Args:
        content: A .tflite file.
        tensors: Indexes of tensors that operators of the main graph compute; what is
            an output already is left as it is.

    Returns:
        The new file, some bytes longer.

    Raises:
        UnusableInput: When the file is not sound, or an index is of another tensor.

    Introduced in notebook 13.
    """
    model = reading.parse(content)
    present = [tensor.index for tensor in model.outputs]
    for index in tensors:
        if index not in model.producers:
            raise UnusableInput(
                f"tensor {index}: no operator of the main graph computes it: expected "
                "an operator's output"
            )
    added = [index for index in dict.fromkeys(tensors) if index not in present]
    if not added:
        return content
    data = bytearray(content)
    root = _number(data, 0)
    graph = _elements(data, _field(data, root, "Model", "subgraphs"))[0]
    _append(
        data,
        _field(data, graph, "SubGraph", "outputs"),
        _vector(present + added),
    )
    signatures = _field(data, root, "Model", "signature_defs")
    for place, signature in zip(
        _elements(data, signatures), model.signatures, strict=True
    ):
        outputs = _field(data, place, "SignatureDef", "outputs")
        if signature.subgraph == 0 and outputs:
            named = {name: of.index for name, of in signature.outputs.items()}
            named |= {f"exposed_{index}": index for index in added}
            _append(data, outputs, _tensor_maps(named))
    return bytes(data)


def _number(data: bytearray, at: int, form: str = "<I") -> int:
    return struct.unpack_from(form, data, at)[0]


def _field(data: bytearray, table: int, kind: str, name: str) -> int:
    """Return where a field of a table lies; 0 when it is not there."""
    slot = next(slot for slot, field, *_ in TABLES[kind] if field == name)
    vtable = table - _number(data, table, "<i")
    if 4 + 2 * slot >= _number(data, vtable, "<H"):
        return 0
    offset = _number(data, vtable + 4 + 2 * slot, "<H")
    return table + offset if offset else 0


def _elements(data: bytearray, field: int) -> list[int]:
    """Return where the tables of a vector begin."""
    if not field:
        return []
    vector = field + _number(data, field)
    places = range(vector + 4, vector + 4 + 4 * _number(data, vector), 4)
    return [place + _number(data, place) for place in places]


def _append(data: bytearray, field: int, block: bytes) -> None:
    """Put a block at the end of the file and let a field point to it."""
    data.extend(bytes(-len(data) % 4))
    struct.pack_into("<I", data, field, len(data) - field)
    data.extend(block)


def _vector(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<I{len(numbers)}I", len(numbers), *numbers)


def _tensor_maps(named: dict[str, int]) -> bytes:
    """Return a vector of TensorMap with all that it points to."""
    head = 4 + 4 * len(named)
    tables = head + len(_TENSOR_MAP)
    block, names = bytearray(_TENSOR_MAP), bytearray()
    offsets = []
    for number, (name, index) in enumerate(named.items()):
        table = tables + 12 * number
        offsets.append(table - (4 + 4 * number))
        text = name.encode()
        start = tables + 12 * len(named) + len(names)
        block += struct.pack("<iII", table - head, start - (table + 4), index)
        names += struct.pack("<I", len(text)) + text
        names += bytes(4 - len(text) % 4)  # at least the zero at its end
    return _vector(offsets) + bytes(block + names)
