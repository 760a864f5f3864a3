"""Run the notebooks' sources and store them with their outputs: `python nbs/rebuild.py`, or only some: `... nbs/01_body.py`."""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def build(source):
    """Execute one percent script; its .ipynb is written only when every cell ran."""
    notebook = jupytext.read(source)
    NotebookClient(notebook, kernel_name="python3", timeout=600, record_timing=False, coalesce_streams=True,
                   resources={"metadata": {"path": str(HERE)}}).execute()
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"  # the same at every run, so that a diff shows what changed
        for output in cell.get("outputs", ())[::-1]:
            if output.get("name") == "stderr":  # what libraries say there differs from machine to machine: shown, not stored
                print(f"{source.name}, cell {index}: {output.text.strip()}", file=sys.stderr)
                cell.outputs.remove(output)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}}
    nbformat.write(notebook, source.with_suffix(".ipynb"))


if __name__ == "__main__":
    for source in map(Path, sys.argv[1:]) if sys.argv[1:] else sorted(HERE.glob("[0-9]*.py")):
        build(source)
        print(f"Wrote {source.with_suffix('.ipynb')}")
