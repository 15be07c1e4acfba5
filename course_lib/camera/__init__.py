"""A file and a camera: the real one, or the virtual one on this computer."""
