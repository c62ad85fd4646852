"""What the package says of itself is consistent: Pythons, dependencies, the workflows, the Makefile."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import videomae_cli

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.fullmatch(r".*Python :: 3\.\d+", c)]
# The pinned packages have wheels for these: extras take months to follow a new Python.
DEVELOPED = re.findall(
    r"3\.\d+", re.search("^SUPPORTED := (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1]
)  # type: ignore[index]
# Packages whose module has another name.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "faiss": "faiss-cpu",
    "umap": "umap-learn",
    "huggingface_hub": "huggingface-hub",
    "yaml": "pyyaml",
}


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", text)[0].lower().replace("_", "-") for text in requirements}


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_every_package_imported_is_a_dependency_or_an_extra() -> None:
    extras = [text for name, texts in PROJECT["optional-dependencies"].items() if name != "dev" for text in texts]
    declared = _names(PROJECT["dependencies"] + extras)
    missing = {
        (top, str(file.relative_to(ROOT)))
        for file in (ROOT / "videomae_cli").rglob("*.py")
        for top in _imports(file) - sys.stdlib_module_names - {"videomae_cli"}
        if DISTRIBUTIONS.get(top, top).lower().replace("_", "-") not in declared
    }
    # fsspec comes with huggingface_hub and torch, and is asked only for addresses that pyarrow doesn't know.
    assert {top for top, _ in missing} <= {"fsspec"}, missing


def test_every_dependency_is_pinned_for_the_makefile_within_its_range() -> None:
    pins = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    extras = PROJECT["optional-dependencies"]
    for requirement in PROJECT["dependencies"] + extras["dev"] + extras["docs"]:
        name, _, least = requirement.partition(">=")
        name = name.partition("[")[0].lower().replace("_", "-")
        assert name in pins, f"{name} is not in constraints.txt"
        wanted, pinned = ([int(n) for n in re.findall(r"\d+", text)] for text in (least, pins[name]))
        assert pinned >= wanted, f"{name}: constraints.txt has {pins[name]}, pyproject wants {least}"


def test_the_extras_are_what_dev_has() -> None:
    extras = PROJECT["optional-dependencies"]
    for name, requirements in extras.items():
        if name not in ("dev", "docs"):  # the site is built, not imported
            assert set(requirements) <= set(extras["dev"]), f"the extra {name} is not tested with what it asks for"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/installing.md", "Makefile"])
def test_documents_name_the_pythons_of_pyproject(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    listed = [re.findall(r"3\.\d+", run) for run in re.findall(r"(?:3\.\d+(?:, | or | and | )?){2,}", text)]
    assert listed
    assert all(run in (PYTHONS, DEVELOPED) for run in listed), listed
    assert name != "docs/installing.md" or PYTHONS in listed
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


def _workflows() -> dict[str, dict[str, Any]]:
    files = (ROOT / ".github" / "workflows").glob("*.yml")
    return {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}


def test_workflows_try_the_pythons_of_pyproject() -> None:
    workflows = _workflows()
    assert set(workflows) == {"quick", "full", "release"}
    jobs = {name: job["strategy"]["matrix"] for name, job in workflows["full"]["jobs"].items()}
    assert {name: matrix["python"] for name, matrix in jobs.items()} == {"test": DEVELOPED, "installed": PYTHONS}
    assert PYTHONS[: len(DEVELOPED)] == DEVELOPED
    systems = jobs["installed"]["system"]
    assert [system.partition("-")[0] for system in systems] == ["ubuntu", "ubuntu", "macos", "windows"]


def test_workflows_run_targets_and_sessions_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    for workflow in _workflows().values():
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"]
            matrix = job.get("strategy", {}).get("matrix", {})
            for command in (step["run"] for step in job["steps"] if "run" in step):
                for target in re.findall(r"make (\w+)", command):
                    assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
                for session in re.findall(r"--session (\w+)-", command) + matrix.get("packages", []):
                    assert f"def {session}(" in noxfile, session


def test_make_runs_on_the_python_that_a_workflow_sets_up() -> None:
    """Make takes the first on PATH by itself, and runners have one of their own."""
    for workflow in _workflows().values():
        for job in workflow["jobs"].values():
            commands = " ".join(str(step.get("run")) for step in job["steps"])
            if "make" in commands or ".ci/run" in commands or "matrix.command" in commands:
                versions = [
                    step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", "")
                ]
                assert [job["env"]["PYTHON"]] == [f"python{version}" for version in versions]


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z]+):.*## \w", makefile, re.MULTILINE))


def test_what_tools_read_beside_the_package_is_whole() -> None:
    """The citation has the package's version and licence; pre-commit runs what `make lint` runs; forms of issues ask for something."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (videomae_cli.__version__, PROJECT["license"])
    assert citation["references"][0]["url"] == PROJECT["urls"]["Paper"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [hook["name"] for hook in hooks] == ["ruff check", "ruff format", "mypy"]
    forms = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in (ROOT / ".github/ISSUE_TEMPLATE").glob("*")]
    assert forms
    assert all(form["name"] and form["description"] and form["body"] for form in forms)
