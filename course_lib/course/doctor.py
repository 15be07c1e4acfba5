"""The set-up check: does this machine run the course?"""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "dlpu-course"
PYTHONS = ((3, 11), (3, 13))
# An extra was asked for when its own large package is there.
SIGN_OF_EXTRA = {
    "draw": "resvg-py",
    "convert": "tensorflow",
    "camera": "asyncssh",
    "course": "jupyterlab",
}
# Programs that only some chips need; lessons say what was not run without them.
VENDOR_TOOLS = {
    "edgetpu_compiler": "compiles a file for the Edge TPU of ARTPEC-7",
    "cavalry_gen": "of Ambarella's toolchain, compiles a file for CV25 and CV75",
}
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        status: "ok"; "absent", which is no fault; or "FAILED".
        detail: What was found.
        fix: What to do; empty unless the status is "FAILED".
    """

    name: str
    status: str
    detail: str
    fix: str = ""


def examine() -> list[Check]:
    """Look at Python, the packages, TensorFlow, LiteRT and the course's own files.

    TensorFlow is really imported, in a process of its own: a package that is installed
    can still fail to load. That takes about ten seconds.

    Introduced in notebook 00.
    """
    return [_python(), *_packages(), *_tensorflow(), _litert(), *_files(), *_tools()]


def healthy(checks: list[Check]) -> bool:
    """Tell whether no check failed.

    Example:
        >>> healthy([Check("Python", "ok", "3.11.7"), Check("camera", "absent", "")])
        True

    Introduced in notebook 00.
    """
    return all(check.status != "FAILED" for check in checks)


def as_dicts(checks: list[Check]) -> list[dict[str, str]]:
    """Return the checks as plain dictionaries, for JSON."""
    return [asdict(check) for check in checks]


def _python() -> Check:
    lowest, highest = PYTHONS
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if lowest <= sys.version_info[:2] <= highest:
        return Check("Python", "ok", found)
    return Check("Python", "FAILED", found, "install Python 3.11, 3.12 or 3.13")


def _packages() -> Iterator[Check]:
    """Compare what is installed with what the core and each extra require."""
    wanted: dict[str, list[str]] = {}
    for line in metadata.requires(DISTRIBUTION) or []:
        requirement, _, marker = line.partition(";")
        extra = marker.partition("==")[2].strip(" '\"") or "core"
        name = re.match(r"[\w.-]+", requirement)[0]
        if name != DISTRIBUTION:
            wanted.setdefault(extra, []).append(name)
    for extra, names in wanted.items():
        title = f"packages: {extra}"
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if version is None]
        if extra in SIGN_OF_EXTRA and _version(SIGN_OF_EXTRA[extra]) is None:
            how = f"`pip install '.[{extra}]'` in a clone adds them"
            yield Check(title, "absent", how)
        elif missing:
            yield Check(
                title,
                "FAILED",
                f"missing: {', '.join(missing)}",
                "run `uv sync`, or `pip install -c constraints.txt -e .[course]`",
            )
        else:
            found = ", ".join(f"{name} {versions[name]}" for name in names)
            yield Check(title, "ok", found)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tensorflow() -> Iterator[Check]:
    if _version("tensorflow") is None:
        return
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import course_lib, tensorflow as t; print(t.constant(1))",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        yield Check("TensorFlow loads", "ok", "imported in a process of its own")
    else:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Check(
            "TensorFlow loads",
            "FAILED",
            f"exit status {done.returncode}: {last}",
            "it needs a 64-bit CPU with AVX (or Apple silicon), and on Windows the "
            "Microsoft Visual C++ Redistributable",
        )


def _litert() -> Check:
    """Run the smallest committed file, on zeros."""
    model = REPOSITORY / "data" / "person_per_channel.tflite"
    try:
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        if not model.exists():
            return Check(
                "LiteRT runs a file", "absent", "no data folder to take one from"
            )
        interpreter = Interpreter(model_path=str(model))
        interpreter.allocate_tensors()
        (entry,) = interpreter.get_input_details()
        interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]))
        interpreter.invoke()
    except Exception as error:  # whatever keeps it from running is the finding
        fix = "install the package ai-edge-litert again"
        return Check("LiteRT runs a file", "FAILED", str(error), fix)
    return Check("LiteRT runs a file", "ok", model.name)


def _files() -> Iterator[Check]:
    """Look for the folders that only a clone has, and for room to write."""
    if not (REPOSITORY / "notebooks").is_dir():
        yield Check("course files", "absent", "installed as a library, not as a clone")
        return
    free = shutil.disk_usage(REPOSITORY).free / 1e9
    enough = free > 1
    yield Check(
        "course files",
        "ok" if enough else "FAILED",
        f"{free:.0f} GB free",
        "" if enough else "make room: lessons write a few hundred megabytes",
    )


def _tools() -> Iterator[Check]:
    for tool, purpose in VENDOR_TOOLS.items():
        path = shutil.which(tool)
        yield Check(tool, "ok" if path else "absent", path or purpose)
