"""Make files for the truth table, in an environment with some TensorFlow release.

make_truth_table.py runs this with that environment's Python, which has nothing of the
course: `truth_table_child.py FOLDER ROUTE.FLAG ...`. TensorFlow is imported once, then
each conversion is a process of its own, so that one that dies leaves the others alone.
In the folder of its name it leaves `status`, its exit status (negative: a signal),
`log.txt` with what it said, and `model.tflite`, `error.txt` with what Python raised, or
`no_flag` when the converter does not know the flag.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

LONGEST = 1200  # seconds that a conversion may take
SEED = 5
SIZE = 32
# Converter attributes. One that a release does not have would be set without effect.
FLAGS = {
    "per-tensor": "_experimental_disable_per_channel",
    "dense": "_experimental_disable_per_channel_quantization_for_dense_layers",
}


def float_model(keras):
    """Build a small model with the blocks that a MobileNet has."""
    model = _model(keras, folded=False)
    _as_if_trained(model)
    return model


def folded_model(keras):
    """Build the same model without batch normalisation and with fused activations."""
    import numpy as np

    source = float_model(keras)
    model = _model(keras, folded=True)
    for name in ("pointwise", "dense"):
        model.get_layer(name).set_weights(source.get_layer(name).get_weights())
    for name in ("conv", "depthwise"):
        (kernel,) = source.get_layer(name).get_weights()
        normalisation = source.get_layer(f"{name}_bn")
        gamma, beta, mean, variance = normalisation.get_weights()
        factor = gamma / np.sqrt(variance + normalisation.epsilon)
        by_channel = factor[:, None] if name == "depthwise" else factor
        model.get_layer(name).set_weights([kernel * by_channel, beta - mean * factor])
    return model


def _model(keras, *, folded):
    layers = keras.layers
    kind = {"activation": "relu6"} if folded else {"use_bias": False}
    kind |= {"padding": "same"}

    def block(layer, x):
        x = layer(x)
        if folded:
            return x
        x = layers.BatchNormalization(name=f"{layer.name}_bn")(x)
        return layers.ReLU(6.0, name=f"{layer.name}_relu6")(x)

    image = keras.Input((SIZE, SIZE, 3))
    first = block(layers.Conv2D(8, 3, strides=2, name="conv", **kind), image)
    x = block(layers.DepthwiseConv2D(3, name="depthwise", **kind), first)
    x = layers.Conv2D(8, 1, name="pointwise")(x)
    x = layers.Add(name="add")([x, first])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(4, activation="softmax", name="dense")(x))


def _as_if_trained(model):
    """Give the normalisations the unequal values that training leaves."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    for layer in model.layers:
        if layer.name.endswith("_bn"):
            low_high = ((0.5, 2.0), (-0.5, 0.5), (-0.2, 0.2), (0.2, 2.0))
            layer.set_weights([rng.uniform(*ends, 8) for ends in low_high])


def images(count=16):
    """Return random float images [count, SIZE, SIZE, 3] in −1..1."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    return rng.uniform(-1, 1, (count, SIZE, SIZE, 3)).astype("float32")


def ptq_converter(route, folder):
    """Return a converter for post-training quantization."""
    import tensorflow as tf

    model = float_model(tf.keras)
    lite = tf.lite.TFLiteConverter
    if route == "ptq-keras":
        converter = lite.from_keras_model(model)
    elif route == "ptq-saved-model":
        model.export(str(folder / "saved_model"))
        converter = lite.from_saved_model(str(folder / "saved_model"))
    else:
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        spec = tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32)
        function = tf.function(lambda x: model(x, training=False))
        frozen = convert_variables_to_constants_v2(function.get_concrete_function(spec))
        converter = lite.from_concrete_functions([frozen], tf.Module())
    converter.representative_dataset = lambda: ([x[None]] for x in images())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter


def qat_converter(route):
    """Return a converter for a model with fake quantization that has seen images."""
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    keras = tf.keras
    quantize = tfmot.quantization.keras
    if route == "qat-folded":
        trained = _folded_per_tensor(keras, quantize)
    else:
        model = float_model(keras)
        if route == "qat-disable-per-axis":
            # Not among the public names of tfmot.
            from tensorflow_model_optimization.python.core.quantization.keras import (
                default_8bit,
            )

            scheme = default_8bit.default_8bit_quantize_scheme
            trained = quantize.quantize_apply(
                quantize.quantize_annotate_model(model),
                scheme.Default8BitQuantizeScheme(disable_per_axis=True),
            )
        else:
            trained = quantize.quantize_model(model)
    for image in images():
        trained(image[None], training=True)  # moves the ranges, as a training step does
    return tf.lite.TFLiteConverter.from_keras_model(trained)


def _folded_per_tensor(keras, quantize):
    """Quantize convolutions with one scale a tensor, by a QuantizeConfig of our own."""
    quantizers = quantize.quantizers

    class PerTensor(quantize.QuantizeConfig):
        def get_weights_and_quantizers(self, layer):
            quantizer = quantizers.LastValueQuantizer(
                num_bits=8, per_axis=False, symmetric=True, narrow_range=True
            )
            return [(getattr(layer, _kernel_of(layer)), quantizer)]

        def get_activations_and_quantizers(self, layer):
            return []  # tfmot refuses relu6 here; the output below stands behind it

        def set_quantize_weights(self, layer, quantize_weights):
            setattr(layer, _kernel_of(layer), quantize_weights[0])

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
            return [
                quantizers.MovingAverageQuantizer(
                    num_bits=8, per_axis=False, symmetric=False, narrow_range=False
                )
            ]

        def get_config(self):
            return {}

    def annotate(layer):
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            return quantize.quantize_annotate_layer(layer, PerTensor())
        return layer

    model = folded_model(keras)
    annotated = keras.models.clone_model(model, clone_function=annotate)
    with quantize.quantize_scope({"PerTensor": PerTensor}):
        return quantize.quantize_apply(quantize.quantize_annotate_model(annotated))


def _kernel_of(layer):
    depthwise = hasattr(layer, "depthwise_kernel")
    return "depthwise_kernel" if depthwise else "kernel"


def convert(route, flag, folder):
    """Convert by one route with one flag."""
    import tensorflow as tf

    tf.keras.utils.set_random_seed(SEED)
    qat = route.startswith("qat")
    converter = qat_converter(route) if qat else ptq_converter(route, folder)
    if flag != "none":
        if not hasattr(converter, FLAGS[flag]):
            (folder / "no_flag").touch()
            return
        setattr(converter, FLAGS[flag], True)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    (folder / "model.tflite").write_bytes(converter.convert())


def convert_in_a_fork(folder):
    """Convert what the folder's name says in a new process, and wait for its end."""
    process = os.fork()
    if process:
        _, status = os.waitpid(process, 0)
        code = os.waitstatus_to_exitcode(status)
        (folder / "status").write_text(str(code), "utf-8")
        return
    code = 1
    try:
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.alarm(LONGEST)
        convert(*folder.name.split("."), folder)
        code = 0
    except Exception as error:
        text = f"{type(error).__name__}: {str(error).strip()}"
        (folder / "error.txt").write_text(text, "utf-8")
    finally:
        os._exit(code)


def main(folder, *names):
    """Convert what the names say, one after the other, below the folder."""
    with contextlib.suppress(Exception):  # then each conversion tells of it
        import tensorflow  # noqa: F401
    for name in names:
        (Path(folder) / name).mkdir()
        convert_in_a_fork(Path(folder) / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
