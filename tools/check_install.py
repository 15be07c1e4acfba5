"""Prove that the ways to install which the README promises work from a fresh clone.

    python tools/check_install.py          # every step, about ten minutes
    python tools/check_install.py core     # only some

It tests what is committed, prints one line for each step, and exits with status 1 if
one failed. It needs the network, git and uv, and runs on Linux and macOS.
"""

import argparse
import contextlib
import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LONGEST = 900  # seconds that one command may take
# What the notebooks import, and what opens them.
COURSE_IMPORTS = "import tensorflow, jupyterlab, nbval, netron, skimage, av"
# Variables that would make these runs unlike a reader's first one.
LEFTOVERS = ("UV_", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")


class Failed(Exception):
    """A step failed; the text says why."""


class Skipped(Exception):
    """This system cannot run a step; the text says why."""


# --- The steps. Each gets the temporary folder of this run.


def core(base: Path) -> None:
    """`pip install .` gives `dlpu` without TensorFlow."""
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        clone = _clone(folder)
        dlpu = _installed(".", clone, folder)
        model = min((clone / "data").glob("*.tflite"))
        _run(dlpu, "inspect", model, cwd=folder)
        _run(dlpu, "lint", model, "--soc", "artpec8", cwd=folder)
        _run(dlpu, "lint", model, "--soc", "artpec7", "--draw", "a.svg", cwd=folder)
        _run(dlpu, "card", model, "--soc", "artpec8", cwd=folder)
        _run(dlpu, "explain", "Could not allocate tensors", cwd=folder)
        _run(dlpu, "doctor", cwd=folder)
        _run(dlpu, "convert", "--help", cwd=folder)
        command = (dlpu, "convert", model, "--granularity", "per-tensor")
        command += ("--images", folder, "--output", folder / "out.tflite")
        told = _run(*command, cwd=folder, status=2)
        if len(told.splitlines()) != 1 or "[convert]" not in told:
            raise Failed(f"dlpu convert names no extra `convert` in one line: {told}")
        command = (dlpu, "test", model, "--virtual", "artpec8", "--images", folder)
        told = _run(*command, cwd=folder, status=2)
        if len(told.splitlines()) != 1 or "[camera]" not in told:
            raise Failed(f"dlpu test names no extra `camera` in one line: {told}")


def camera(base: Path) -> None:
    """`pip install '.[camera]'` gives the virtual camera, without TensorFlow."""
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        clone = _clone(folder)
        dlpu = _installed(".[camera]", clone, folder)
        (folder / "pictures").mkdir()
        drawn = "from PIL import Image; Image.new('RGB', (99, 99)).save('a.png')"
        _run(dlpu.with_name("python"), "-c", drawn, cwd=folder / "pictures")
        data = clone / "data"
        for soc, file in (
            ("artpec9", data / "scene_classifier_qat.tflite"),
            ("cv25", data / "scene_classifier.onnx"),
        ):
            command = (dlpu, "test", file, "--virtual", soc, "--images", "pictures")
            _run(*command, "--report", "report.html", cwd=folder)
            _run(dlpu, "kit", file, "--soc", soc, "-o", f"kit_{soc}", cwd=folder)


def ejected(base: Path) -> None:
    """Each project of `dlpu eject` passes its tests where nothing else is installed."""
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        clone = _clone(folder)
        dlpu = _installed(".", clone, folder)
        # One lesson at a time: what one forgot to declare, another would bring along.
        table = tomllib.loads((clone / "notebooks/copy_cells.toml").read_text("utf-8"))
        for lesson in (*table, "all"):
            made = folder / lesson
            made.mkdir()
            _run(dlpu, "eject", lesson, "-o", made / "project", cwd=clone)
            project = tomllib.loads((made / "project/pyproject.toml").read_text())
            wanted = project["project"]["requires-python"]
            _run("uv", "venv", "--python", wanted, made / "venv", cwd=made)
            python = made / "venv/bin/python"
            install = ("uv", "pip", "install", "--python", python)
            _run(*install, "-c", clone / "constraints.txt", "./project[test]", cwd=made)
            absent = "import importlib.util as u; assert not u.find_spec('course_lib')"
            _run(python, "-c", absent, cwd=made)
            _run(python, "-m", "pytest", "-q", cwd=made / "project")
            shutil.rmtree(made)


def conda(base: Path) -> None:
    """The pip part of environment.yml gives the whole course."""
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        clone = _clone(folder)
        _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
        python = folder / "venv/bin/python"
        # conda too writes the list to a file in this folder and hands that to pip.
        lines = pip_part((clone / "environment.yml").read_text("utf-8"))
        (clone / "conda.txt").write_text("\n".join(lines), "utf-8")
        _run(python, "-m", "pip", "install", "--quiet", "-r", "conda.txt", cwd=clone)
        _run(python, "-c", COURSE_IMPORTS, cwd=folder)
        _run(folder / "venv/bin/dlpu", "doctor", cwd=folder)


def readme(base: Path) -> None:
    """The README's `uv run` commands work in a fresh clone."""
    clone = _synced_clone(base)
    _, test = readme_commands(clone)
    if test not in (clone / ".ci/run").read_text("utf-8").splitlines():
        raise Failed(f".ci/run has no line `{test}`, which README.md promises")
    run_readme_commands(clone)


def offline(base: Path) -> None:
    """The same commands work, as they stand, when the network is cut."""
    cuts = (["unshare", "-rn"], ["unshare", "-n"])
    cut = next(filter(_succeeds, cuts), None)
    if cut is None:
        raise Skipped("this system cannot cut the network")
    clone = _synced_clone(base)
    _run(*cut, sys.executable, __file__, "--offline-clone", clone, cwd=clone)


STEPS: dict[str, Callable[[Path], None]] = {
    step.__name__: step for step in (core, camera, ejected, conda, readme, offline)
}


def _installed(what: str, clone: Path, folder: Path) -> Path:
    """Install a part of the clone into a new environment; return its `dlpu`."""
    project = tomllib.loads((clone / "pyproject.toml").read_text("utf-8"))
    wanted = project["project"]["requires-python"]
    _run("uv", "venv", "--python", wanted, folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    install = ("uv", "pip", "install", "--python", python, "-c", "constraints.txt")
    _run(*install, what, cwd=clone)
    absent = "import importlib.util as u; assert not u.find_spec('tensorflow')"
    _run(python, "-c", absent, cwd=folder)
    return folder / "venv/bin/dlpu"


# --- What the documents say.


def pip_part(environment: str) -> list[str]:
    """Return the entries under `- pip:` of an environment.yml."""
    without_comments = re.sub(r"\s+#.*", "", environment)
    rest = without_comments.partition("- pip:\n")[2]
    entries = re.match(r"(?: +- .+\n?)*", rest).group().splitlines()
    if not entries:
        raise Failed("environment.yml has no list under `- pip:`")
    return [entry.strip().removeprefix("- ").strip("'\"") for entry in entries]


def readme_commands(clone: Path) -> tuple[str, str]:
    """Return the two commands under `## Start`: to open the course, and to test it."""
    text = (clone / "README.md").read_text("utf-8")
    start = text.partition("\n## Start\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```\w*\n(.*?)^```", start, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).splitlines()
    commands = [line for line in lines if line.startswith("uv run ")]
    if [command.split()[2] for command in commands] != ["jupyter", "pytest"]:
        raise Failed(f"README.md, Start: expected jupyter and pytest, found {commands}")
    return commands[0], commands[1]


# --- How it is run.


def run_readme_commands(clone: Path) -> None:
    """Open the first lesson in JupyterLab, close it, and test that lesson."""
    lab, test = (shlex.split(command) for command in readme_commands(clone))
    lesson = lab[-1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab += f"--no-browser --ServerApp.port={port} --IdentityProvider.token=".split()
    if os.geteuid() == 0:
        lab.append("--allow-root")
    with _started(*lab, cwd=clone) as (server, log):
        # The server's root is the lesson's folder. JupyterLab shows its page for a
        # missing file too: the second address proves that the lesson is there.
        for place in ("lab/tree", "api/contents"):
            url = f"http://127.0.0.1:{port}/{place}/{Path(lesson).name}"
            _wait_for(url, server=server, log=log)
    _run(*test, lesson, cwd=clone)


def _wait_for(url: str, *, server: subprocess.Popen, log: Path) -> None:
    """Wait until the address answers; a refusal means that it is not there yet."""
    # No proxy: the address is on this computer.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    problem: object = "no answer"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            opener.open(url, timeout=10).close()
            return
        except OSError as error:
            problem = error
            time.sleep(0.5)
    raise Failed(f"{url}: {problem}\n{_tail(log)}")


def _loopback_up() -> None:
    """Switch on `lo`, which is down in a new network namespace (see netdevice(7))."""
    set_flags, up_and_running = 0x8914, 0x41
    request = struct.pack("16sh22x", b"lo", up_and_running)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, request)


def _clone(folder: Path) -> Path:
    _run("git", "clone", "--quiet", REPOSITORY, folder / "clone", cwd=folder)
    return folder / "clone"


def _synced_clone(base: Path) -> Path:
    """Return the clone that uv has set up; `readme` and `offline` share it."""
    clone = base / "clone"
    if not clone.exists():
        _clone(base)
        _run("uv", "sync", "--quiet", cwd=clone)
    return clone


def _succeeds(prefix: list[str]) -> bool:
    try:
        return subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    """Run a command to its end and return its output.

    Raises:
        Failed: It ended with another exit status, or not in time.
    """
    with _started(*command, cwd=cwd) as (process, log):
        try:
            found = process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            found = f"none in {LONGEST} s"
        if found != status:
            text = " ".join(map(str, command))
            raise Failed(f"{text}: exit status {found}, not {status}\n{_tail(log)}")
        return log.read_text("utf-8", "replace")


@contextlib.contextmanager
def _started(
    *command: str | Path, cwd: Path
) -> Iterator[tuple[subprocess.Popen, Path]]:
    """Start a command; at the end stop it with all that it started."""
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process, Path(output.name)
        finally:
            for how in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(20)


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").splitlines()[-30:]
    return "\n".join(f"    {line}" for line in lines)


def _attempt(name: str, *, base: Path) -> bool:
    """Run a step and print its line; return False if it failed."""
    begin = time.monotonic()
    verdict = "ok"
    try:
        STEPS[name](base)
    except Skipped as reason:
        verdict = f"skipped: {reason}"
    except (Failed, OSError, ValueError) as reason:
        verdict = f"FAILED: {reason}"
    print(f"{name} ({time.monotonic() - begin:.0f} s): {verdict}", flush=True)
    return not verdict.startswith("FAILED")


def main() -> int:
    """Run the steps that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("steps", nargs="*", metavar="step", help=", ".join(STEPS))
    parser.add_argument("--offline-clone", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.steps) - set(STEPS):
        parser.error(f"no step {', '.join(unknown)}: choose from {', '.join(STEPS)}")
    # A request to end becomes an exception, so that the folders are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    if asked.offline_clone:  # how the step `offline` calls this file, without network
        _loopback_up()
        run_readme_commands(asked.offline_clone)
        return 0

    with tempfile.TemporaryDirectory(prefix="check_install_") as name:
        base = Path(name).resolve()
        for variable in [v for v in os.environ if v.startswith(LEFTOVERS)]:
            del os.environ[variable]
        os.environ["UV_CACHE_DIR"] = str(base / "uv")
        os.environ["JUPYTER_CONFIG_DIR"] = str(base / "jupyter")
        fine = [_attempt(step, base=base) for step in asked.steps or STEPS]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as reason:
        sys.exit(str(reason))
    except KeyboardInterrupt:
        sys.exit(130)
