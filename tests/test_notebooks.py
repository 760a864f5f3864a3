"""The notebooks as one book: stored outputs that belong to the sources, small pictures, the parts each has, and sources that run."""

import ast
import base64
import json
import re
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "nbs"
SOURCES = sorted(NOTEBOOKS.glob("[0-9]*.py"))
BOTH = pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
PICTURE_LIMIT, FIGURE_LIMIT = 100_000, 150_000  # bytes
PLOTLY = "application/vnd.plotly.v1+json"
TITLES = {"00": "The tour", "01": "A body from 24 rotations", "02": "What can be said of a pose",
          "03": "A head that knows what it doesn't know", "04": "Rewards one can trust, and how one gets hacked",
          "05": "SFT and the alignment gap", "06": "HyGRPO from scratch", "07": "Pictures in", "08": "Four bits",
          "09": "Did it get better?"}
NUMBERS = [source.stem[:2] for source in SOURCES]
REBUILT = {"00": ["generate_by_hand"], "01": ["rodrigues", "gram_schmidt", "forward_kinematics"], "02": ["elbow_angle", "holds_by_hand"],
           "03": ["log_density", "forward_by_hand"], "04": ["verifiable_by_hand"], "05": ["losses_by_hand"], "06": ["advantages_by_hand"],
           "07": ["pinhole", "project_by_hand", "camera_by_hand", "misfit_by_hand"], "08": ["nf4_by_hand", "LoraByHand"], "09": ["recall_by_hand", "interval_by_hand"]}


def stored(source):
    notebook = nbformat.read(str(source.with_suffix(".ipynb")), as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(cell):
    return [base64.b64decode(data) for output in cell.outputs for kind, data in output.get("data", {}).items()
            if kind.startswith("image/") and kind != "image/svg+xml"]


def figures(cell):
    return [output for output in cell.outputs if PLOTLY in output.get("data", {})]


def sections(notebook):
    """{heading: its code cells}, without the cells before the first."""
    found, heading = {}, None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^## (.+)$", cell.source, re.M) or [heading])[-1]
        elif heading:
            found.setdefault(heading, []).append(cell)
    return found


def words_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def printed(notebook):
    return "".join(output.text for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "stream")


def test_the_book_is_whole_and_each_notebook_is_a_pair():
    assert NUMBERS == sorted(TITLES)
    assert [s.with_suffix(".ipynb") for s in SOURCES] == sorted(NOTEBOOKS.glob("*.ipynb"))


@BOTH
def test_a_notebook_has_its_title_one_question_and_links_that_lead_somewhere(source):
    notebook, number = stored(source), source.stem[:2]
    first, words = notebook.cells[0].source, words_of(notebook)
    assert first.startswith(f"# {number} · {TITLES[number]}\n")
    assert re.search(r"^\*\*[A-Z][^*]+\*\*", first, re.M)  # the question
    for name, target in re.findall(r"\[([^\]]+)\]\(([^):#]+)\)", words):
        assert (NOTEBOOKS / target).exists(), target
        assert not re.match(r"\d\d_", name) or target == f"{name}.ipynb"
    after = NUMBERS[NUMBERS.index(number) + 1 :]
    assert not after or re.search(rf"Next: \[{after[0]}_\w+\]\({after[0]}_\w+\.ipynb\)", words)


def test_the_list_of_the_notebooks_names_each_with_its_title():
    rows = re.findall(r"^\| \[(\d\d)_\w+\]\((\w+\.ipynb)\) \| ([^|]+?) \|", (NOTEBOOKS / "README.md").read_text(), re.M)
    assert [(number, target) for number, target, _ in rows] == [(s.stem[:2], f"{s.stem}.ipynb") for s in SOURCES]
    assert [title for *_, title in rows] == [TITLES[number] for number in NUMBERS]


@BOTH
def test_stored_cells_are_those_of_the_source(source):
    written = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    assert [(cell.cell_type, cell.source) for cell in stored(source).cells] == written, "run `python nbs/rebuild.py`"


@BOTH
def test_every_cell_was_run_in_order_and_what_it_shows_is_stored(source):
    cells = code_cells(stored(source))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert all(output.output_type != "error" for output in cell.outputs)
        if re.search(r"^print\(", cell.source, re.M):
            assert any(output.output_type == "stream" for output in cell.outputs), cell.source
        if re.search(r"^(pose_sheet|photo_sheet|plt\.show|draw_|Turntable)", cell.source, re.M):
            assert pictures(cell), cell.source


@BOTH
def test_stored_pictures_are_small(source):
    sizes = [len(picture) for cell in code_cells(stored(source)) for picture in pictures(cell)]
    assert len(sizes) >= 3
    assert max(sizes) < PICTURE_LIMIT
    assert source.with_suffix(".ipynb").stat().st_size < 1_000_000


@BOTH
def test_a_body_to_turn_is_stored_with_a_picture_beside_it_and_no_script(source):
    cells = code_cells(stored(source))
    for output in (output for cell in cells for output in cell.outputs if "data" in output):
        assert "text/html" not in output.data and "application/javascript" not in output.data  # GitHub shows neither
    for cell in cells:
        for output in figures(cell):
            assert "image/jpeg" in output.data and len(json.dumps(output.data[PLOTLY])) < FIGURE_LIMIT
        assert bool(figures(cell)) == bool(re.search(r"^Turntable", cell.source, re.M))


def test_the_tour_has_a_body_to_turn_and_hygrpo_a_slider_over_its_steps():
    bodies = {number: [output.data[PLOTLY] for cell in code_cells(stored(source)) for output in figures(cell)]
              for number, source in zip(NUMBERS, SOURCES)}
    assert bodies["00"] and bodies["01"]
    (steps,) = bodies["06"]
    (slider,) = steps["layout"]["sliders"]
    assert len(slider["steps"]) == len(steps["frames"]) == 9
    assert [step["label"] for step in slider["steps"]] == [f"step {i}" for i in range(0, 25, 3)]
    assert len({json.dumps(frame["data"]) for frame in steps["frames"]}) == 9  # the pose differs at each


@BOTH
def test_stored_notebook_names_no_machine_and_no_moment(source):
    notebook = stored(source)
    assert notebook.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    said = printed(notebook) + "".join(output.data.get("text/plain", "") for cell in code_cells(notebook)
                                       for output in cell.outputs if "data" in output)
    assert not re.search(r"/(home|root|tmp|work|Users|usr|opt)/|[A-Z]:\\|ipykernel_\d", said)
    assert not any(output.get("name") == "stderr" for cell in code_cells(notebook) for output in cell.outputs)


@BOTH
def test_runtime_is_promised_first_and_versions_and_seconds_come_last(source):
    notebook = stored(source)
    promised = int(re.search(r"Runs in about (\d+) seconds", notebook.cells[0].source)[1])
    last = "".join(output.text for output in notebook.cells[-1].outputs)
    assert re.search(r"torch \d", last)
    assert re.search(r"^\d+ seconds$", last, re.M)  # how many depends on what else the machine did when it was stored
    assert promised <= 120


@BOTH
def test_cells_are_short_and_an_exercise_hides_its_answer(source):
    cells = stored(source).cells
    lengths = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in cells if cell.cell_type == "code"]
    assert max(lengths) <= 22 and sorted(lengths)[len(lengths) // 2] <= 10
    words = words_of(stored(source))
    assert words.count("## Exercise\n") == 1 and "<details><summary>Answer</summary>" in words and "</details>" in words
    assert "mend it" in "".join(cell.source for cell in cells if cell.cell_type == "code")


@BOTH
def test_sections_assert_and_show_and_one_thing_breaks(source):
    found = sections(stored(source))
    parts = {heading: cells for heading, cells in found.items() if heading != "Exercise"}
    assert any(heading.startswith("What breaks") for heading in parts)
    for heading, cells in parts.items():
        assert re.search(r"^\s*(assert |\w+\.testing\.assert_)", "\n".join(cell.source for cell in cells), re.M), heading
    shown = [heading for heading, cells in parts.items() if any(pictures(cell) for cell in cells)]
    assert len(shown) >= len(parts) - 1, set(parts) - set(shown)


@BOTH
def test_a_key_function_is_rebuilt_in_at_most_fifteen_lines_and_held_against_the_packages(source):
    code = "\n".join(re.sub(r"^%.*$", "", cell.source, flags=re.M) for cell in code_cells(stored(source)))
    rebuilt = REBUILT[source.stem[:2]]
    functions = {node.name: node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for name in rebuilt:
        assert functions[name].end_lineno - functions[name].lineno < 15, name
        assert code.count(f"{name}(") >= 2, f"{name} is never called"
    assert re.search(r"^\s*(assert .*(==|equal)|\w+\.testing\.assert_)", code, re.M)


@pytest.mark.parametrize("number", ["00", "06"])
def test_the_tour_and_hygrpo_end_with_what_to_take(number):
    source = SOURCES[NUMBERS.index(number)]
    assert list(sections(stored(source)))[-1] == "Take this with you"
    assert "torch alone" in words_of(stored(source))


@BOTH
@pytest.mark.slow
def test_source_runs(source, monkeypatch):
    monkeypatch.setenv("MINIRFT_FAST", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the notebook's own backend
    notebook = jupytext.read(source)
    client = NotebookClient(notebook, kernel_name="python3", timeout=300, record_timing=False,
                            resources={"metadata": {"path": str(NOTEBOOKS)}})
    client.execute()  # raises at the first cell that fails
    assert all(cell.execution_count for cell in code_cells(notebook))
    assert re.search(r"\d+ seconds", notebook.cells[-1].outputs[-1].text)
