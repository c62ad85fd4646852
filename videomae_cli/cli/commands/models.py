"""`videomae models`: which checkpoints there are, and what one of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from videomae_cli.cli import options
from videomae_cli.cli.options.groups import LoudnessOptions, takes_groups
from videomae_cli.cli.outputs.next_steps import with_model
from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError, check_choice

if TYPE_CHECKING:
    from videomae_cli.model.description import ModelDescription

_NAME_COLUMNS = 17
_COLUMNS = ("name", "size", "data", "labels", "licence", "on_disk")


@takes_groups
def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="Describe this one: a name, a hub id on this disk, a directory. Or the word `remove` and the models "
            "to take out of the cache.",
            metavar="MODEL | remove MODEL",
        ),
    ] = None,
    *,
    cached: Annotated[bool, typer.Option("--cached", help="List the VideoMAE models in the cache.")] = False,
    revision: options.Revision = None,
    format: options.PrintFormat = "table",
    loudness: LoudnessOptions,
) -> None:
    """List the known checkpoints or those in the cache, describe one, or remove some."""
    loudness.configure()
    check_choice("format", format, ("table", "json"), last=" or ")
    from videomae_cli.cli.outputs.cached_models import list_cached, remove

    if words and words[0] == "remove":
        remove(words[1:])
        return
    if words and (len(words) > 1 or cached):
        raise OptionError.about(
            "model", "name one model, without --cached; to take several out of the cache: models remove MODEL..."
        )
    if cached:
        list_cached(format)
        return
    if not words:
        from videomae_cli.api.known_models import list_models

        rows = [model.as_dict() for model in list_models()]
        if format == "json":
            streams.put_json(rows, indent=2)
        else:
            from videomae_cli.cli.terminal.display import print_rows

            print_rows(_COLUMNS, rows)
        return
    from videomae_cli.api.known_models import describe_model

    facts = _facts(describe_model(words[0], revision=revision))
    if format == "json":
        streams.put_json(facts, indent=2)
    else:
        _print_facts(facts)
        console.suggest(*with_model(facts["kind"], words[0], *(["--revision", revision] if revision else [])))


def _facts(found: ModelDescription) -> dict[str, Any]:
    return {
        "name": found.name,
        "origin": found.origin,
        "path": str(found.path),
        "revision": found.revision,
        "kind": found.kind,
        "architecture": found.architecture,
        "parameters": found.parameters,
        "gflops_per_clip": float(f"{found.gflops:.4g}"),
        "weights": found.weights,
        "sampling": dict(found.sampling) if found.sampling else None,
        "licence": found.licence,
        "labels": list(found.labels),
        "note": found.note,
    }


def _print_facts(facts: dict[str, Any]) -> None:
    from videomae_cli.cli.terminal.display import lines_of

    labels = facts["labels"]
    sampling = ", ".join(f"{k} {v}" for k, v in (facts["sampling"] or {}).items() if v is not None)
    names = f"{', '.join(labels[:12])}{', ...' if len(labels) > 12 else ''}"
    shown = {
        "parameters": f"{facts['parameters'] / 1e6:.1f} million",
        "sampling": sampling or "unknown: dense is assumed",
        "licence": facts["licence"] or "unknown",
        "labels": f"{len(labels)}: {names}" if labels else "none",
    }
    for name, value in (facts | shown).items():
        if value is not None:
            for number, line in enumerate(lines_of(str(value), _NAME_COLUMNS)):
                streams.put(f"{'' if number else name.replace('_', ' '):<{_NAME_COLUMNS - 1}} {line}")
