"""Lists and removes cached models, for `videomae models --cached` and `videomae models remove`."""

from __future__ import annotations

from typing import Any

from videomae_cli.cli.terminal import console, streams
from videomae_cli.errors import OptionError
from videomae_cli.visible import byte_size

_COLUMNS = ("name", "hub_id", "revision", "size", "licence", "state")


def list_cached(format: str) -> None:
    """Print the VideoMAE models in the Hugging Face cache."""
    from videomae_cli.hub import cached_models

    rows: list[dict[str, Any]] = [
        {
            "name": model.name,
            "hub_id": model.hub_id,
            "revisions": list(model.revisions),
            "bytes": model.size,
            "licence": model.licence,
            "state": "ready" if model.whole else "incomplete",
            "path": str(model.path),
        }
        for model in cached_models()
    ]
    if format == "json":
        streams.put_json(rows, indent=2)
    elif rows:
        from videomae_cli.cli.terminal.display import print_rows

        shown = (
            {
                **row,
                "revision": ", ".join(revision[:12] for revision in row["revisions"]) or None,
                "size": byte_size(row["bytes"]),
            }
            for row in rows
        )
        print_rows(_COLUMNS, shown)
        for row in rows:
            if row["state"] != "ready":
                console.note(
                    f"{row['hub_id']} is incomplete: `videomae download {row['hub_id']}` brings what is missing, "
                    f"`videomae models remove {row['hub_id']}` removes it"
                )
    else:
        console.note("no VideoMAE model is in the cache: `videomae download` brings one")


def remove(names: list[str]) -> None:
    """Remove models from the cache; a failure is reported and sets the exit code, but doesn't stop the others."""
    from videomae_cli.hub import bundled_names, find_entry, remove_model

    if not names:
        raise OptionError.about("model", "name what to remove; `videomae models --cached` lists what is there")

    def remove_one(name: str) -> None:
        if name in bundled_names():
            raise OptionError.about(name, "{subject} ships with videomae and can't be removed")
        freed, entry = remove_model(name), find_entry(name)
        streams.remark(f"removed {entry.hub_id if entry else name}: {byte_size(freed)}")

    console.each(names, remove_one)
