"""The files around the course agree with each other and with CONTRIBUTING.md."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from course_lib.course import doctor

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(PYPROJECT)["project"]
UV = tomllib.loads(PYPROJECT)["tool"]["uv"]
GROUPS = {
    "core": PROJECT["dependencies"],
    **PROJECT["optional-dependencies"],
    **tomllib.loads(PYPROJECT)["dependency-groups"],
}
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
MODULES = sorted((ROOT / "course_lib").rglob("*.py"))


def ours(pattern: str) -> list[Path]:
    """List the repository's own files, whether git knows them already or not."""
    folders = [
        folder
        for folder in ROOT.iterdir()
        if folder.is_dir() and not (folder / "pyvenv.cfg").exists()
    ]
    paths = [*ROOT.glob(pattern), *(p for f in folders for p in f.rglob(pattern))]
    return sorted(
        path
        for path in paths
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    )


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / entry for entry in listed.stdout.split("\0") if entry]
    return [path for path in paths if path.is_file()]


def package(requirement: str) -> str:
    """Return the normalized name of the package in a requirement line."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


# Versions and environments


def test_environment_installs_what_pyproject_describes():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, lines = environment["dependencies"]
    lower, upper = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    minor = int(re.fullmatch(r"python=3\.(\d+)", python)[1])
    assert int(lower) <= minor < int(upper), (
        "environment.yml: choose a Python inside requires-python of pyproject.toml"
    )
    assert environment["name"] == PROJECT["name"]
    assert pip == "pip"
    assert lines == {"pip": ["-c constraints.txt", "-e .[course]"]}, (
        "environment.yml: name packages in pyproject.toml, not here"
    )


def test_pins_are_mirrored():
    assert UV["constraint-dependencies"] == PINS, (
        "run `uv run python tools/make_constraints.py`"
    )


@pytest.mark.parametrize("group", GROUPS)
def test_every_dependency_is_pinned(group):
    pinned = {package(pin) for pin in PINS} | {PROJECT["name"]}
    missing = {package(line) for line in GROUPS[group]} - pinned
    assert not missing, "run `uv run python tools/make_constraints.py`"


def test_the_project_does_not_pin_itself():
    assert PROJECT["name"] not in {package(pin) for pin in PINS}


def test_doctor_knows_every_extra():
    assert set(doctor.SIGN_OF_EXTRA) == set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("group", GROUPS)
def test_every_dependency_says_what_it_is_for(group):
    for requirement in GROUPS[group]:
        if package(requirement) == PROJECT["name"]:
            continue
        line = rf'^    "{re.escape(requirement)}", +# \S.+'
        assert re.search(line, PYPROJECT, re.MULTILINE), (
            f"pyproject.toml: write after {requirement!r} what it is for"
        )


def test_ruff_has_one_version():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (version,) = (pin.split("==")[1] for pin in PINS if package(pin) == "ruff")
    assert hooks["repos"][0]["rev"] == f"v{version}", (
        ".pre-commit-config.yaml: take ruff's version from constraints.txt"
    )


# What is committed


def test_lock_file_stays_out():
    assert ROOT / "uv.lock" not in tracked(), "run `git rm --cached uv.lock`"
    assert "uv.lock" in (ROOT / ".gitignore").read_text("utf-8").split(), (
        ".gitignore: name uv.lock; it holds the hosts of the machine that wrote it"
    )


def test_no_machine_or_registry_is_named():
    # In two parts each, so that this file does not name them either.
    parts = (
        ("/wo", "rk/"),
        ("/ro", "ot/"),
        ("site-", "packages"),
        ("index-", "url"),
        ("extra-", "index"),
    )
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found = [first + rest for first, rest in parts if first + rest in text]
        assert not found, f"{name(path)}: remove {found}"


def test_clone_stays_small():
    size = sum(path.stat().st_size for path in tracked())
    assert size < 40e6, f"{size / 1e6:.1f} MB are tracked: find the largest and shrink"


# Rooms

ROOMS = ("vision", "tflite", "quantization", "dlpu", "camera")
MAY_USE = {
    "vision": set(),
    "tflite": set(),
    "quantization": {"tflite"},
    "dlpu": {"tflite"},
    "camera": {"dlpu", "tflite", "vision"},
    "course": {*ROOMS, "course", "cli"},
    "cli": {*ROOMS, "course", "cli"},
}
EVERYONE_MAY_USE = {"errors", "files", "quiet"}


def imports(nodes) -> set[str]:
    """List the dotted names that import statements among the nodes bring in."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write absolute imports: `from course_lib...`"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def outside_functions(node: ast.AST):
    """Walk the part of a module that runs when it is imported."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_rooms_know_only_the_rooms_below(path):
    room = path.relative_to(ROOT / "course_lib").parts[0].removesuffix(".py")
    known = EVERYONE_MAY_USE | {room} | MAY_USE.get(room, set())
    used = {
        imported.split(".")[1]
        for imported in imports(ast.walk(ast.parse(path.read_text("utf-8"))))
        if imported.startswith("course_lib.")
    }
    assert used <= known, (
        f"{name(path)} imports {sorted(used - known)}: pass the value in, "
        "or move the code"
    )


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_tensorflow_waits_until_a_function_needs_it(path):
    slow = {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"}
    tree = ast.parse(path.read_text("utf-8"))
    early = {module.split(".")[0] for module in imports(outside_functions(tree))}
    assert not slow & early, f"{name(path)}: move the import into the function"


def test_command_line_starts_without_tensorflow():
    code = "import course_lib.cli, sys; sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == 0, "move the TensorFlow import into the function"


# Text


@pytest.mark.parametrize("path", ours("*.md"), ids=name)
def test_relative_links_lead_somewhere(path):
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", prose)
    broken = [link for link in links if not (path.parent / link).exists()]
    assert not broken, f"{name(path)}: correct or remove {broken}"


WRONG = {
    # Cameras print "Axis Artpec-8" and "Fallback unsupported op 32 to TfLite".
    r"(?<!Axis )Artpec|ARTPEC[ _]?\d": "ARTPEC-8",
    r"AxisOS|Axis OS|AXIS-OS|AXISOS": "AXIS OS",
    r"[Ff]ull[- ]int8|[Ff]ully[- ]quantized": "full-integer quantization",
    r"\b[Rr]ep(resentative)? set\b": "representative dataset",
    r"\bHWC order\b": "RGB interleaved (NHWC)",
    r"[Cc]hannel-?wise": "per-channel",
    r"\bVapix\b|\bLarod\b|\bAcap\b": "VAPIX, larod, ACAP",
    r"\bTensorflow\b|\bLitert\b": "TensorFlow, LiteRT",
    r"\bTFlite\b|(?<! to )\bTfLite\b": "TFLite",
}


def prose(path: Path) -> str:
    """Return the text of a file that a person reads as sentences."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
    if path.name == "CONTRIBUTING.md":  # its table of names lists the wrong ones too
        return re.sub(r"## Names\n.*?(?=\n## )", "", text, flags=re.DOTALL)
    return text


@pytest.mark.parametrize("path", [*ours("*.md"), *ours("*.ipynb"), *MODULES], ids=name)
def test_names_are_spelt_as_their_owners_spell_them(path):
    text = prose(path)
    for wrong, right in WRONG.items():
        found = re.search(wrong, text)
        assert not found, f"{name(path)}: write {right}, not {found and found[0]!r}"


@pytest.mark.parametrize(
    "wrong",
    [
        *("Artpec", "Artpec-8", "ARTPEC8", "ARTPEC 8", "AxisOS", "Axis OS"),
        *("full-int8", "fully-quantized", "fully quantized", "rep set", "channelwise"),
    ],
)
def test_wrong_names_are_recognised(wrong):
    assert any(re.search(pattern, f"the {wrong} file") for pattern in WRONG)


@pytest.mark.parametrize("right", ["ARTPEC", "ARTPEC-8", "AXIS OS", "full-integer"])
def test_right_names_pass(right):
    assert not any(re.search(pattern, f"the {right} file") for pattern in WRONG)


def test_licence_is_complete():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License\n                           Version 2.0" in text
    assert re.findall(r"^   (\d)\. ", text, re.MULTILINE) == list("123456789")
    assert "END OF TERMS AND CONDITIONS" in text
    assert "APPENDIX: How to apply" in text
    assert PROJECT["license"] == "Apache-2.0"


def test_citation_agrees_with_pyproject():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation), "CFF 1.2.0 requires these"
    for field in ("version", "license"):
        assert citation[field] == PROJECT[field], (
            f"CITATION.cff: take {field} from pyproject.toml"
        )


@pytest.mark.parametrize(
    "command",
    ["uv run jupyter lab notebooks/00_check_your_setup.ipynb", "uv run pytest"],
)
def test_readme_shows_the_commands(command):
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert command in lines, f"README.md: show `{command}` on a line of its own"
