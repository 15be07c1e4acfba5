"""Train the course's scene detector and write its weights into data/.

Run it by hand, without the network: python tools/train_detector.py. It draws 12,000
scenes and trains for about ten minutes of processor time. Another processor or
another TensorFlow gives other digits in the weights. `benchmarks/detector.py` then
prints what data/README.md records: mean average precision in float and after
post-training quantization, on scenes that training did not see.
"""

import time
from typing import Any

from course_lib.vision import detector_training, models, scenes

import numpy as np
from make_data import enter_in_readme, save
from train_models import named_weights

SEED = 0
COUNT, SCENES_SEED = 12_000, 1401
EPOCHS = 4


def main() -> None:
    """Draw, train, write."""
    import tensorflow as tf

    size = models.SCENE_DETECTOR_INPUT.size
    drawn = scenes.generate(COUNT, seed=SCENES_SEED, size=size, processes=2)
    tf.keras.utils.set_random_seed(SEED)
    model = models.scene_detector(trained=False)
    begin_with(model, models.weights("scene_resnet"))
    started = time.process_time()
    losses = detector_training.train(
        model,
        drawn.images,
        [detector_training.as_detections(boxes, size=size) for boxes in drawn.boxes],
        entry=models.SCENE_DETECTOR_INPUT,
        anchors=models.scene_detector_anchors(),
        epochs=EPOCHS,
        seed=SEED,
    )
    for epoch, loss in enumerate(losses, start=1):
        print(f"epoch {epoch} of {EPOCHS}: loss {loss:.3f}", flush=True)
    seconds = time.process_time() - started
    save(model.name, named_weights(model))
    print(f"{model.count_params():,} parameters, {seconds:.0f} s of processor time")
    enter_in_readme()


def begin_with(model: Any, given: dict[str, np.ndarray]) -> None:
    """Take over the weights of `scene_resnet` where name and shape are the same.

    The detector has one convolution where the classifier joins a convolution and a
    pooling. Its first filters begin as that convolution; each of the others begins as
    the mean of 2×2 pixels of one channel, which resembles the pooling.
    """
    own = named_weights(model)
    taken = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    kernel = given["halve/kernel"]
    channels = kernel.shape[2]
    pooling = np.zeros((3, 3, channels, channels), np.float32)
    pooling[:2, :2] = np.eye(channels) / 4
    taken["halve/kernel"] = np.concatenate([kernel, pooling], axis=3)
    for name, neutral in (("gamma", 1), ("beta", 0), ("mean", 0), ("variance", 1)):
        name = f"halve_bn/{name}"
        taken[name] = np.append(given[name], np.full(channels, neutral))
    models.fill(model, own | taken)


if __name__ == "__main__":
    main()
