"""Write the two files of lesson 13 that are not full-integer .tflite into data/.

Run it by hand, without the network: python tools/make_camera_models.py. Both hold the
weights of data/scene_classifier.npz. The float file is what larod refuses when an
application sends it uint8 pixels; the .onnx file is what goes into the compiler of CV25
and CV75, and what the virtual camera runs in its place.
"""

from course_lib import files
from course_lib.quantization import conversion
from course_lib.quiet import quiet
from course_lib.vision import models

from make_data import enter_in_readme

SIZE = 256  # of Axis's example tensorflow-to-larod, whose error message users quote


def main() -> None:
    """Write data/scene_classifier_float_256.tflite and data/scene_classifier.onnx."""
    entry, model = models.SCENE_INPUT, models.scene_classifier()
    with quiet():
        import keras

        larger = keras.models.clone_model(
            model, input_tensors=keras.Input((SIZE, SIZE, 3), batch_size=1)
        )
    larger.set_weights(model.get_weights())
    files.write(
        models.DATA / "scene_classifier_float_256.tflite",
        conversion.convert_float(larger),  # takes normalised pixels, as the model does
    )
    files.write(
        models.DATA / "scene_classifier.onnx",
        conversion.convert_planar_onnx(
            conversion.fix_batch(model, mean=entry.mean, std=entry.std)
        ),
    )
    enter_in_readme()


if __name__ == "__main__":
    main()
