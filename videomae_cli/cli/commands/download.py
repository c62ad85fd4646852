"""`videomae download`: weights into the Hugging Face cache, once; checked, and carried to machines without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.outputs.next_steps import Words, with_model
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, check_choice


@takes_groups
def download(
    models: Annotated[list[str] | None, typer.Argument(help="Known short names or hub ids.", metavar="MODEL")] = None,
    *,
    all: Annotated[
        str | None,
        typer.Option(help="All known checkpoints of this family.", metavar="kinetics|ssv2|pretrained|v2"),
    ] = None,
    revision: options.Revision = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="Also write a plain folder, for a machine without a network: DIR itself for one model, one folder in "
            "DIR for each of several.",
            metavar="DIR",
        ),
    ] = None,
    from_dir: Annotated[
        Path | None,
        typer.Option(
            help="Import a plain folder into the cache, so that its hub id works without a network. A folder that "
            "--to did not write needs its name as MODEL.",
            metavar="DIR",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read what is on this disk and compare sizes and hashes; without MODEL, all."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Ask the hub again: fetch what is missing, damaged or newer.")
    ] = False,
    loudness: LoudnessOptions,
) -> None:
    """Download models, so that they work without a network from then on.

    Only the files a model needs are fetched, into Hugging Face's cache, and checked by size and SHA-256. An
    interrupted download continues where it stopped. Prints the folder of each model on standard output.
    """
    loudness.configure()
    names = _names(models or [], all)
    if from_dir is not None:
        if to is not None or verify or all or len(names) > 1:
            raise OptionError.about(
                "from_dir", "--from-dir imports one folder: give it at most one MODEL, and no --to, --all or --verify"
            )
        _import(from_dir, names[0] if names else None)
    elif verify:
        if to is not None or force:
            raise OptionError.about("verify", "--verify only looks at what is on this disk: leave out --to and --force")
        console.each(names or _cached_names(), lambda name: _verify(name, revision))
    elif not names:
        raise OptionError.about("model", "name a MODEL, or --all of a family; `videomae models` lists the known ones")
    else:
        console.each(names, lambda name: _fetch(name, revision, force, _folder_for(name, to, len(names))))
        console.suggest(*_uses(names[0], revision, _folder_for(names[0], to, len(names))))


def _names(models: list[str], family: str | None) -> list[str]:
    from videomae_cli.hub import FAMILIES

    if family is None:
        return list(dict.fromkeys(models))
    check_choice("family", family, FAMILIES)
    return list(dict.fromkeys([*models, *(entry.name for entry in FAMILIES[family])]))


def _fetch(name: str, revision: str | None, force: bool, to: Path | None) -> None:
    from videomae_cli.cli.terminal.transfers import shown
    from videomae_cli.hub import bundled_names
    from videomae_cli.hub.source import download as bring

    with shown() as listener:  # its bars end before the folder is printed, or they would be drawn again below it
        path = bring(name, revision=revision, to=to, force=force, listener=listener)
    if name in bundled_names():
        console.note(f"{name} ships with videomae: nothing to download")
    elif not listener.fetched:
        console.note(f"{name} is already on this disk")
    streams.put(str(path))


def _uses(name: str, revision: str | None, folder: Path | None) -> list[Words]:
    """Return what a downloaded model can be used for; for one that isn't known, the command that describes it."""
    from videomae_cli.hub import bundled_names, find_entry

    entry = find_entry(name)
    model = name if folder is None else folder
    pinned = ["--revision", revision] if revision is not None and folder is None else []
    if entry is None and name not in bundled_names():
        return [("videomae", "models", model, *pinned)]
    bundled = "pretraining" if name == options.DEFAULT_AUTOENCODER else "classification"
    return with_model(entry.task if entry is not None else bundled, model, *pinned)


def _folder_for(name: str, to: Path | None, count: int) -> Path | None:
    return to / name.rpartition("/")[2] if to is not None and count > 1 else to


def _verify(name: str, revision: str | None) -> None:
    from videomae_cli.errors import CheckpointError
    from videomae_cli.hub import bundled_names, hub_source, verify_model

    if name in bundled_names():
        console.note(f"{name} ships with videomae: loading it checks it")
        return
    wrong = verify_model(hub_source(name)[0], revision=revision)
    if wrong:
        raise CheckpointError.about(
            name, "{subject}: {wrong}; `videomae download --force {subject}` fetches it again", wrong="; ".join(wrong)
        )
    streams.put(f"{name}: ok")


def _cached_names() -> list[str]:
    from videomae_cli.hub import cached_models

    names = [model.hub_id for model in cached_models()]
    if not names:
        console.note("no VideoMAE model is in the cache")
    return names


def _import(folder: Path, name: str | None) -> None:
    from videomae_cli.hub import import_folder, licence_text, resolve

    record = import_folder(folder, name)
    console.note(f"{record.hub_id}: licence {licence_text(record.licence)}")
    streams.put(
        str(resolve(record.hub_id, local_files_only=True).path) if _loads_by_id(record.hub_id) else record.hub_id
    )
    console.suggest(*_uses(name or record.hub_id, None, None))


def _loads_by_id(hub_id: str) -> bool:
    from videomae_cli.hub import REGISTRY

    return not any(entry.file for entry in REGISTRY if entry.hub_id == hub_id)
