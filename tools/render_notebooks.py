"""Execute the notebooks and write their outputs, or prove that they are fresh.

python tools/render_notebooks.py [PATHS]          execute and write
python tools/render_notebooks.py --check [PATHS]  execute and compare; exit status 1
                                                  when a committed text differs

What changes from run to run is left out: stderr, times, versions of the kernel.
Pictures are written, not compared.
"""

import argparse
import copy
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import (
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
CELL_METADATA = ("tags", "reason")
SECONDS = 300


class CannotRender(Exception):
    """A notebook did not run to its end; the text names the cell and the reason."""


def main() -> int:
    """Render or check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="*", type=Path, help="default: every notebook")
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    options = parser.parse_args()
    everything = [*NOTEBOOKS.glob("[0-9]*.ipynb"), *NOTEBOOKS.glob("solutions/*.ipynb")]
    stale = 0
    for path in options.paths or sorted(everything):
        try:
            committed = nbformat.read(path, as_version=4)
            rendered = clean(execute(committed, path.parent))
        except FileNotFoundError:
            print(f"{path}: there is no such file", file=sys.stderr)
            return 1
        except CannotRender as reason:
            print(f"{path}, {reason}; nothing was written", file=sys.stderr)
            return 1
        if options.check:
            differing = different_cells(committed, rendered)
            stale += bool(differing)
            verdict = f"differs in {', '.join(differing)}" if differing else "fresh"
            print(f"{path.name}: {verdict}", flush=True)
        else:
            print(f"{path.name}: {write(path, rendered)}", flush=True)
    return 1 if stale else 0


def execute(notebook: Any, folder: Path) -> Any:
    """Return a copy with the outputs of a run in the notebook's folder.

    Raises:
        CannotRender: A cell raised, took too long, or ended the kernel.
    """
    started = []
    client = NotebookClient(
        copy.deepcopy(notebook),
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        skip_cells_with_tag="nbval-skip",
        on_cell_start=lambda cell, cell_index: started.append(cell.id),
    )
    try:
        return client.execute()
    except CellExecutionError as error:
        reason = own_line(error)
    except CellTimeoutError:
        reason = f"it took longer than {SECONDS} s"
    except DeadKernelError:
        reason = "it ended the kernel"
    raise CannotRender(f"cell {started[-1]}: {reason}")


def clean(notebook: Any) -> Any:
    """Leave out what differs between two runs that did the same."""
    notebook.metadata = nbformat.from_dict(METADATA)
    count = 0
    for cell in notebook.cells:
        kept = {
            key: cell.metadata[key] for key in CELL_METADATA if key in cell.metadata
        }
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        outputs = []
        for output in cell.outputs:
            if output.get("name") == "stderr":
                continue
            if "execution_count" in output:
                output.execution_count = count
            output.get("metadata", {}).clear()
            if outputs and output.output_type == outputs[-1].output_type == "stream":
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        cell.outputs = outputs
    return notebook


def different_cells(committed: Any, rendered: Any) -> list[str]:
    """Return the ids of the cells whose outputs differ in more than a picture."""
    return [
        new.id
        for old, new in zip(committed.cells, rendered.cells, strict=True)
        if new.cell_type == "code" and _texts(old) != _texts(new)
    ]


def _texts(cell: Any) -> list:
    texts = []
    for output in cell.outputs:
        data = dict(output.get("data", {}))
        data.pop("image/png", None)
        told = [output.get(key) for key in ("text", "ename", "evalue")]
        texts.append((output.output_type, data, told))
    return texts


def write(path: Path, notebook: Any) -> str:
    """Write the notebook if it changed, under a temporary name first."""
    text = nbformat.writes(notebook, indent=1, ensure_ascii=False).rstrip("\n") + "\n"
    if path.read_text("utf-8") == text:
        return "unchanged"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)
    return "written"


def own_line(error: CellExecutionError) -> str:
    """Return the line that names what went wrong."""
    return f"{error.ename}: {error.evalue}".splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
