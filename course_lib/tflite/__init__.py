"""One .tflite file: read it, run it."""
