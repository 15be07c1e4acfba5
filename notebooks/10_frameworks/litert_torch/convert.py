"""PyTorch straight to TFLite with litert-torch, then integers with its quantizer.

    python convert.py

Writes four .tflite files into ../artefacts: the model as PyTorch users write it; the
same with channels last; and, with a pooling module, one for each granularity.
"""

import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
import litert_torch
import numpy as np
import reader
import torch
from ai_edge_quantizer import qtyping, quantizer

CALIBRATION = 200  # images, of the training set
PACKAGES = ("torch", "litert-torch", "litert-converter", "ai-edge-quantizer", "numpy")


def convert(model: torch.nn.Module, path: Path, *, interleaved: bool) -> Path:
    """Write a float file that takes planes, as the model does, or interleaved RGB."""
    model = model.eval()
    sample = torch.zeros(1, 3, 16, 16)
    if interleaved:
        model = litert_torch.to_channel_last_io(model, args=[0])
        sample = torch.zeros(1, 16, 16, 3)
    litert_torch.convert(model, (sample,)).export(str(path))
    return path


def quantize(float_file: Path, path: Path, *, granularity: str) -> Path:
    """Write a full-integer file; its input and output are int8."""
    of = quantizer.Quantizer(str(float_file))
    of.add_static_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
        weight_granularity=qtyping.QuantGranularity(granularity),
    )
    images = np.float32(reader.digits(reader.TRAINING)[:CALIBRATION])
    samples = [{"args_0": image[None]} for image in images]
    calibrated = of.calibrate({"serving_default": samples})
    path.write_bytes(of.quantize(calibrated).quantized_model)
    return path


def main() -> None:
    """Write the artefacts."""
    out = reader.ARTEFACTS
    out.mkdir(exist_ok=True)
    as_written = reader.Reader(pooling_module=False)
    made = [convert(as_written, out / "litert_torch_planar.tflite", interleaved=False)]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        mean = convert(as_written, scratch / "mean.tflite", interleaved=True)
        module = convert(reader.Reader(), scratch / "module.tflite", interleaved=True)
        symmetric = convert(
            reader.Reader(same_padding=False),
            scratch / "symmetric.tflite",
            interleaved=True,
        )
        for float_file, name, granularity in (
            (mean, "interleaved", "CHANNELWISE"),
            (module, "per_channel", "CHANNELWISE"),
            (module, "per_tensor", "TENSORWISE"),
        ):
            path = out / f"litert_torch_{name}.tflite"
            made.append(quantize(float_file, path, granularity=granularity))
        tried = {"operators_with_padding_of_torch": reader.operators(symmetric)}
    reader.record("litert_torch", packages=PACKAGES, made=made, tried=tried)


if __name__ == "__main__":
    main()
