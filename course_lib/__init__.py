"""The library behind the course: from a TensorFlow vision model to an Axis camera.

The rooms follow the way a model travels: `vision` (images and models), `quantization`
(float to int8), `tflite` (one .tflite file), `course` (the classroom).
"""

import os

# TensorFlow reads these once, when it is first imported. A value that the user has set
# stays. Level 3 keeps C++ notices out of notebooks. oneDNN's rewrites change the order
# of float additions from one CPU to the next: committed outputs are made without them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
