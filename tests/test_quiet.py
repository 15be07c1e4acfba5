"""What `quiet` silences comes back, whoever else uses it at the same time."""

import subprocess
import sys

CODE = """
import os, threading, time
from course_lib.quiet import quiet

def work():
    for _ in range(50):
        with quiet():
            os.write(1, b"not seen")
            time.sleep(0.0005)

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os.write(1, b"seen")
"""


def test_threads_do_not_leave_the_output_redirected():
    ran = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "seen"
