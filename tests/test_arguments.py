"""Arguments of public functions: a wrong type is one clear error at the call, and nothing else is refused."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import pytest
import torch

import videomae_cli as videomae
from videomae_cli.arguments import checked
from videomae_cli.errors import OptionError


class Options(TypedDict, total=False):
    clips: int | None
    start: float | str | None


@checked
def public(
    file: str | os.PathLike[str] = "",
    *,
    names: Sequence[str] = (),
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    overwrite: bool = False,
    on_progress: Callable[[str], object] = print,
    untold: Unimported = None,  # type: ignore[name-defined]  # noqa: F821
    **options: Unpack[Options],
) -> dict[str, Any]:
    """Return what arrived."""
    return {"file": file, "names": names, "files": files, "overwrite": overwrite, "untold": untold, **options}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("clips", "3", "clips must be a whole number or None, not '3'"),
        ("clips", 2.0, "clips must be a whole number or None, not 2.0"),
        ("clips", True, "clips must be a whole number or None, not True"),
        ("clips", 10**1000, "clips must be a whole number or None, not a number of about 1,001 digits"),
        ("clips", [1, 2], "clips must be a whole number or None, not list of int"),
        ("start", b"1:30", "start must be a number or text or None, not b'1:30'"),
        ("start", Decimal(1), "start must be a number or text or None, not Decimal"),
        ("file", None, "file must be a name or a path, not None"),
        ("file", "a\ud800", "file must be a name or a path, not 'a\\ud800'"),
        ("file", b"a.mp4", "file must be a name or a path, not b'a.mp4'"),
        ("names", "*.mp4", "names must be a list of text, not '*.mp4'"),
        ("names", ["a", 1], "names must be a list of text, not list of str, int"),
        ("files", [b"a.mp4"], "files must be a name or a path or a list of names or paths, not list of bytes"),
        ("files", 3, "files must be a name or a path or a list of names or paths, not 3"),
        ("overwrite", "no", "overwrite must be True or False, not 'no'"),
        ("overwrite", 2, "overwrite must be True or False, not 2"),
        ("on_progress", 3, "on_progress must be a function, not 3"),
        ("overwrite", "\x1b[31m\n" * 99, "overwrite must be True or False, not '"),
    ],
)
def test_a_wrong_type_is_one_line_about_the_argument(name: str, value: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        public(**{name: value})
    assert str(caught.value).startswith(message)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 120
    assert caught.value.subject == name


@pytest.mark.parametrize(
    ("name", "value", "arrives"),
    [
        ("clips", np.int64(3), 3),
        ("clips", torch.tensor(3), 3),
        ("clips", None, None),
        ("start", 3, 3),
        ("start", np.float32(0.5), 0.5),
        ("start", Fraction(1, 2), 0.5),
        ("overwrite", np.True_, True),
        ("overwrite", 0, False),
        ("names", ("a",), ("a",)),
        ("names", np.array(["a", "b"]), ["a", "b"]),
        ("files", Path("a"), Path("a")),
        ("files", {"a": 1}, {"a": 1}),
        ("untold", 3, 3),
    ],
)
def test_what_means_the_type_arrives_as_pythons_own(name: str, value: Any, arrives: Any) -> None:
    arrived = public(**{name: value})[name]
    assert arrived == arrives
    assert type(arrived) is type(arrives)


def test_names_of_arguments_are_pythons_business() -> None:
    with pytest.raises(TypeError, match=r"public\(\) got multiple values for argument 'file'"):
        public("a", file="b")  # type: ignore[misc]
    assert next(iter(inspect.signature(public).parameters)) == "file"
    generator = (name for name in ("a", "b"))
    assert public(files=generator)["files"] is generator
    assert list(generator) == ["a", "b"]


def test_every_public_function_checks_what_it_is_given() -> None:
    for name in videomae.__all__:
        found = getattr(videomae, name)
        if inspect.isfunction(found) and inspect.signature(found).parameters:
            assert hasattr(found, "__wrapped__"), name
    for kind, names in {
        videomae.VideoClassifier: (
            "classify",
            "classify_all",
            "classify_files",
            "plan_files",
            "timeline",
            "timeline_all",
            "timeline_files",
            "watch",
            "find",
        ),
        videomae.VideoEmbedder: ("embed", "embed_all", "embed_files"),
        videomae.VideoReconstruction: ("save",),
        videomae.VideoAttention: ("save",),
        videomae.VideoMap: ("save", "with_pictures"),
        videomae.FoundPlaces: ("cut",),
    }.items():
        assert all(hasattr(getattr(kind, name), "__wrapped__") for name in names), kind
