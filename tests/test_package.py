"""A wheel works as a clone does, and what the project says of itself holds."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def run_python(code, cwd, **environment):
    """What `code` prints in a new interpreter."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from the clone, by the build backend that is installed: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
                    "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


def test_an_installed_wheel_works_away_from_the_clone(wheel, tmp_path):
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site,
                    wheel], check=True)
    code = ("import torch, minirft; from minirft.body import DATA; body = minirft.load_body()\n"
            "print(minirft.__file__, DATA, *body.joints(torch.eye(3).expand(24, 3, 3)).shape)")
    module, data, *shape = run_python(code, tmp_path, PYTHONPATH=str(site))
    assert Path(module).is_relative_to(site) and Path(data).is_relative_to(site)
    assert shape == ["24", "3"]


def test_the_wheel_carries_all_data_but_builds_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name.removeprefix("minirft/_data/") for name in names if name.startswith("minirft/_data/")}
    wanted = {p.relative_to(ROOT / "data").as_posix() for p in (ROOT / "data").rglob("*") if p.is_file()}
    ignored = {name for name in wanted if name.startswith("build/") or "__pycache__" in name}
    assert "body.npz" in packed and packed == wanted - ignored
    assert {name.split("/")[0] for name in names} == {"minirft", f"minirft-{wheel.name.split('-')[1]}.dist-info"}


def test_the_source_archive_carries_data_and_tests(tmp_path):
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", tmp_path], cwd=ROOT,
                   check=True, capture_output=True)
    names = {name.split("/", 1)[1] for name in tarfile.open(next(tmp_path.glob("*.tar.gz"))).getnames()}
    assert {"data/body.npz", "data/build/body.py", "tests/test_package.py", "LICENSE", "pyproject.toml"} <= names


def test_importing_minirft_loads_no_heavy_library(tmp_path):
    code = "import sys, minirft; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = run_python(code, tmp_path, PYTHONPATH=str(ROOT))
    assert "minirft" in loaded and not {"torch", "transformers", "numpy", "matplotlib", "peft"} & set(loaded)


def test_an_unknown_name_says_what_there_is():
    import minirft

    with pytest.raises(AttributeError, match="PosePolicy, load_body"):
        minirft.no_such_name


def test_the_version_is_said_once():
    import minirft

    assert importlib.metadata.version("minirft") == minirft.__version__


def test_the_head_needs_torch_alone():
    tree = ast.parse((ROOT / "minirft" / "head.py").read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules} - sys.stdlib_module_names == {"torch"}


@pytest.mark.parametrize("name", ["torch", "transformers", "peft", "bitsandbytes"])
def test_fast_moving_libraries_have_an_upper_bound_that_is_tested(name):
    needs = [Requirement(line) for line in importlib.metadata.requires("minirft")]
    needs = {need.name: need for need in needs if need.marker is None}  # those of no extra
    assert any(bound.operator == "<" for bound in needs[name].specifier)
    assert importlib.metadata.version(name) in needs[name].specifier


def test_environment_yml_is_a_shell_over_pyproject():
    python, pip, installed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert re.fullmatch(r"python(=3\.\d+)?", python) and pip == "pip"
    assert list(installed) == ["pip"] and re.fullmatch(r"-e \.\[[\w,]+\]", *installed["pip"])


def test_the_licence_is_apache_2_and_smplx_is_named_as_non_commercial():
    licence, readme = (ROOT / "LICENSE").read_text(), (ROOT / "README.md").read_text()
    assert "Apache License\n" in licence and "Version 2.0, January 2004" in licence and "END OF TERMS" in licence
    assert importlib.metadata.metadata("minirft")["License-Expression"] == "Apache-2.0"
    assert re.search(r"smplx.{0,120}own licence allows\s+>?\s*\*\*non-commercial", readme, re.DOTALL)


def test_the_readme_names_every_module():
    listed = set(re.findall(r"^    minirft/(\w+\.py)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {path.name for path in (ROOT / "minirft").glob("*.py")} - {"__init__.py"} <= listed
