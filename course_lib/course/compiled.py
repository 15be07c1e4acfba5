"""A stand-in for a file that only a chip maker's compiler can write."""

from course_lib.tflite import reading

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def stand_in() -> bytes:
    """Return a file with the one operator that edgetpu_compiler writes.

    No compiler made it: the operator has no data, so not even an Edge TPU could run it.

    Introduced in notebook 06.
    """
    file, graph = schema.ModelT(), schema.SubGraphT()
    file.version, file.buffers = 3, [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CUSTOM
    code.deprecatedBuiltinCode, code.version = schema.BuiltinOperator.CUSTOM, 1
    code.customCode = reading.EDGE_TPU
    file.operatorCodes = [code]
    graph.tensors = []
    for name, shape, scale in (
        ("image", [1, 96, 96, 3], 1),
        ("scores", [1, 2], 1 / 256),
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, shape, 0
        tensor.type = schema.TensorType.UINT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0], [1]
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [1]
    file.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    return bytes(builder.Output())
