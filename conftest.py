"""What pytest needs to know about this repository."""

import importlib
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A shell that starts pytest in the background makes it deaf to Ctrl-C, and with it each
# command of a test that waits for the command to end by Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test and no lesson opens a connection beyond this computer, unless AXIS_CAMERA
# names a camera: here, in notebooks' kernels, and in every command that a test starts.
GUARD = Path(__file__).parent / "tests" / "loopback_only"
if GUARD.is_dir() and str(GUARD) not in sys.path:
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(GUARD), os.environ.get("PYTHONPATH")])
    )
    sys.path.insert(0, str(GUARD))
    sys.modules.pop("sitecustomize", None)  # an environment may have one of its own
    importlib.import_module("sitecustomize")


def pytest_collectstart(collector):
    """Compare what the notebooks print, not what libraries log."""
    if getattr(collector, "path", None) and collector.path.suffix == ".ipynb":
        collector.skip_compare += ("stderr",)
