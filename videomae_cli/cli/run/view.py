"""Loads a model and runs it on one video, for the commands that draw its outputs: `reconstruct` and `attend`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from videomae_cli.api import viewing
from videomae_cli.api.viewing import Decode, VideoView, ViewingModel
from videomae_cli.cli.options.groups import PictureOptions, ViewOptions
from videomae_cli.cli.run.inputs import make_decoder, pick_resize, view_spec
from videomae_cli.cli.run.loading import say_pixels
from videomae_cli.cli.terminal import console
from videomae_cli.cli.terminal.display import consoles, waiting
from videomae_cli.cli.terminal.transfers import bring
from videomae_cli.video import SamplingSpec

Model = TypeVar("Model", bound=ViewingModel)
Made = TypeVar("Made", bound=VideoView)


def view_video(
    path: str,
    output: Path | None,
    *,
    model: tuple[str, str | None],
    picture: PictureOptions,
    view: ViewOptions,
    debug: bool,
    load: Callable[..., Model],
    run: Callable[[Model, str, SamplingSpec, Decode], Made],
) -> Made:
    """Load a model with `load`, and return what `run` computes from a video with it; notes on both are printed.

    model: its name and revision. The options and outputs are checked before anything is loaded. Raises OptionError,
    OutputError, VideoError, and what loading raises.
    """
    viewing.checked_scale(picture.scale)
    spec = view_spec(view)
    video = viewing.one_video(path)
    viewing.check_outputs(output, picture.frames_dir, overwrite=picture.overwrite)
    from videomae_cli.pipeline import pick_device

    with make_decoder(view.decoding, debug=debug) as decoder:
        decoder.start()  # its process starts up while the model loads
        resize = pick_resize(view.resize)
        where = pick_device(view.device)  # before the download: a wrong --device shouldn't wait for it
        with waiting(f"loading {model[0]}", consoles()[1]):
            loaded = load(bring(*model), device=where, resize=resize, heads=view.heads)
        if loaded.note is not None:
            console.note(loaded.note)
        fitted = spec.for_model(loaded.hints)
        say_pixels(loaded.source.name, loaded.hints.pixels, fitted.resolved_pixels)
        made = run(loaded, video, fitted, decoder.decode)
    for warning in made.warnings:
        console.note(f"{video}: {warning}")
    return made
