"""How the camera scenes are drawn; `course_lib.vision.scenes` is the door."""
