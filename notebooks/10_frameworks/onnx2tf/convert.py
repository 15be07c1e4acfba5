"""PyTorch to ONNX, and ONNX to TFLite with onnx2tf: the route of Axis's guide of 2026.

    python convert.py

Writes reader.onnx (planar, for CV25 and CV75), three .tflite files, and what PyTorch
answers to the digits of the test, into ../artefacts.
"""

import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
import numpy as np
import onnx
import onnx2tf
import onnx2tf.onnx2tf
import onnxsim
import reader
import torch

OPSET = 17  # of Axis's guides
CALIBRATION = 200  # images, of the training set
PACKAGES = (
    *("torch", "onnx", "onnx2tf", "onnxscript", "onnxsim", "tensorflow", "tf_keras"),
    *("numpy", "pillow"),
)


def export(model: torch.nn.Module, path: Path, *, newer: bool = False) -> int:
    """Write planar ONNX and return its opset.

    The newer of PyTorch's two exporters knows opset 18 and up. It converts down where
    it can; where it cannot, as here, it keeps 18 and warns. So the older one it is. It
    builds a stride-2 padding from a dozen operators, which onnxsim works into the
    convolution.
    """
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 3, 16, 16),),
        path,
        input_names=["pixels"],
        output_names=["probabilities"],
        opset_version=OPSET,
        dynamo=newer,
        **({"external_data": False} if newer else {}),
    )
    simplified, same = onnxsim.simplify(onnx.load(path))
    if not same:
        raise SystemExit(f"{path.name}: onnxsim changed what the model answers")
    onnx.save(simplified, path)
    return simplified.opset_import[0].version


def to_tflite(onnx_file: Path, written: Path, *, kind: str, **options: object) -> Path:
    """Run onnx2tf and keep one of the files that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        onnx2tf.convert(
            input_onnx_file_path=str(onnx_file),
            output_folder_path=folder,
            non_verbose=True,
            **options,
        )
        result = Path(folder) / f"{onnx_file.stem}_{kind}.tflite"
        written.write_bytes(result.read_bytes())
    return written


def main() -> None:
    """Write the artefacts."""
    # onnx2tf fetches 20 pictures for any model that takes RGB, even for a float file,
    # to compare the operators of both graphs. The digits serve as well, offline.
    samples = np.float32(reader.digits(reader.TRAINING)[:20]) / 255
    onnx2tf.onnx2tf.download_test_image_data = lambda: samples

    out = reader.ARTEFACTS
    out.mkdir(exist_ok=True)
    np.savez_compressed(out / "expected.npz", torch=reader.answers(reader.Reader()))
    planar = out / "reader.onnx"
    export(reader.Reader(), planar)
    made = [out / "expected.npz", planar]
    made.append(to_tflite(planar, out / "onnx2tf_float.tflite", kind="float32"))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        images = scratch / "calibration.npy"
        np.save(images, np.float32(reader.digits(reader.TRAINING)[:CALIBRATION]))
        for granularity in ("per-channel", "per-tensor"):
            made.append(
                to_tflite(
                    planar,
                    out / f"onnx2tf_{granularity.replace('-', '_')}.tflite",
                    kind="full_integer_quant",
                    output_integer_quantized_tflite=True,
                    quant_type=granularity,
                    # Interleaved, as the .tflite file takes them. The numbers are the
                    # mean to subtract and the deviation to divide by: the model takes
                    # 0..255. Without this line it is ImageNet's, on other pictures.
                    custom_input_op_name_np_data_path=[
                        ["pixels", str(images), 0.0, 1.0]
                    ],
                    input_quant_dtype="uint8",
                    output_quant_dtype="uint8",
                )
            )
        symmetric = reader.Reader(same_padding=False)
        export(symmetric, scratch / "symmetric.onnx")
        padded = to_tflite(
            scratch / "symmetric.onnx", scratch / "symmetric.tflite", kind="float32"
        )
        tried = {
            "opset_of_the_newer_exporter": export(
                reader.Reader(), scratch / "newer.onnx", newer=True
            ),
            "padding_of_torch": reader.judged(symmetric),
            "epsilon_of_torch": reader.judged(
                reader.Reader(epsilon=torch.nn.BatchNorm2d(1).eps)
            ),
            "operators_with_padding_of_torch": reader.operators(padded),
        }
    reader.record("onnx2tf", packages=PACKAGES, made=made, tried=tried)


if __name__ == "__main__":
    main()
