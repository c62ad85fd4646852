"""The registry of published VideoMAE checkpoints: facts about each, and the short names that select them.

Sources: the model cards and configurations of MCG-NJU/videomae-* and OpenGVLab/VideoMAE*; the protocols are those of the
papers (VideoMAE: arXiv 2203.12602, VideoMAE V2: arXiv 2303.16727). A field is None if the fact could not be verified.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

NON_COMMERCIAL = "CC-BY-NC-4.0"


@dataclass(frozen=True)
class RegistryEntry:
    """One published checkpoint. task: "classification", "pretraining" or "features"; family: how its clips are sampled;
    file: its file, if the repository holds several checkpoints; parameters: None if not known.

    No commit is pinned, since these repositories were not reachable when this was written: `main` is fetched.
    """

    name: str
    hub_id: str
    size: str
    task: str
    data: str
    labels: int | None
    family: str
    licence: str = NON_COMMERCIAL
    file: str | None = None
    parameters: int | None = None

    @property
    def protocol(self) -> str | None:
        """The published test protocol (frames per clip x clips x crops); None if the checkpoint is not a classifier."""
        if self.task != "classification":
            return None
        return "16x2x3, segments" if self.family == "segments" else "16x5x3, dense, stride 4"


def _mcg(name: str, suffix: str, size: str, data: str, labels: int | None) -> RegistryEntry:
    task = "classification" if labels else "pretraining"
    family = "segments" if data == "Something-Something V2" else "dense"
    hub_id, parameters = f"MCG-NJU/videomae-{suffix}", _PARAMETERS[size, labels]
    return RegistryEntry(name, hub_id, size, task, data, labels, family, parameters=parameters)


def _distilled(size: str) -> RegistryEntry:
    data, file = "Kinetics-710 (distilled from giant)", f"distill/vit_{size[0]}_k710_dl_from_giant.pth"
    licence = "Apache-2.0 (as tagged)"
    name, hub_id = f"v2-{size}-k710", "OpenGVLab/VideoMAE2"
    return RegistryEntry(name, hub_id, size, "classification", data, 710, "dense", licence=licence, file=file)


# (size, labels) -> parameters, computed from the architecture; pre-training checkpoints include the decoder. Tested.
_PARAMETERS = {
    ("small", 400): 22_033_936,
    ("small", 174): 21_946_926,
    ("base", 400): 86_534_800,
    ("base", 174): 86_361_006,
    ("large", 400): 304_270_736,
    ("huge", 400): 632_119_440,
    ("base", None): 94_210_944,
    ("large", None): 342_996_992,
}
_K400, _SSV2 = "Kinetics-400", "Something-Something V2"

REGISTRY: tuple[RegistryEntry, ...] = (
    _mcg("base-kinetics", "base-finetuned-kinetics", "base", _K400, 400),
    _mcg("large-kinetics", "large-finetuned-kinetics", "large", _K400, 400),
    _mcg("huge-kinetics", "huge-finetuned-kinetics", "huge", _K400, 400),
    _mcg("small-kinetics", "small-finetuned-kinetics", "small", _K400, 400),
    _mcg("base-short-kinetics", "base-short-finetuned-kinetics", "base", _K400, 400),
    _mcg("base-ssv2", "base-finetuned-ssv2", "base", _SSV2, 174),
    _mcg("small-ssv2", "small-finetuned-ssv2", "small", _SSV2, 174),
    _mcg("base-short-ssv2", "base-short-finetuned-ssv2", "base", _SSV2, 174),
    _mcg("base", "base", "base", _K400, None),
    _mcg("base-short", "base-short", "base", _K400, None),
    _mcg("large", "large", "large", _K400, None),
    _mcg("base-pretrained-ssv2", "base-ssv2", "base", _SSV2, None),
    _mcg("base-short-pretrained-ssv2", "base-short-ssv2", "base", _SSV2, None),
    RegistryEntry("v2-base", "OpenGVLab/VideoMAEv2-Base", "base", "features", "UnlabeledHybrid", None, "dense"),
    RegistryEntry("v2-large", "OpenGVLab/VideoMAEv2-Large", "large", "features", "UnlabeledHybrid", None, "dense"),
    RegistryEntry("v2-giant", "OpenGVLab/VideoMAEv2-giant", "giant", "features", "UnlabeledHybrid", None, "dense"),
    _distilled("small"),
    _distilled("base"),
)

FAMILIES: dict[str, tuple[RegistryEntry, ...]] = {
    "kinetics": tuple(e for e in REGISTRY if e.task == "classification" and e.data == _K400),
    "ssv2": tuple(e for e in REGISTRY if e.task == "classification" and e.data == _SSV2),
    "pretrained": tuple(e for e in REGISTRY if e.task == "pretraining"),
    "v2": tuple(e for e in REGISTRY if e.name.startswith("v2-")),
}
"""The groups of checkpoints that `videomae download --all` accepts."""

_BY_NAME = {entry.name: entry for entry in REGISTRY}
_BY_HUB_ID = {entry.hub_id.lower(): entry for entry in REGISTRY if entry.file is None}


def find_entry(name: str) -> RegistryEntry | None:
    """Return the entry with this short name or hub id, or None."""
    return _BY_NAME.get(name) or _BY_HUB_ID.get(name.lower())


def hub_id_of(name: str) -> str:
    """Return the hub id of a short name; any other name is returned unchanged."""
    entry = find_entry(name)
    return entry.hub_id if entry else name


def suggestions(name: str, others: tuple[str, ...] = ()) -> list[str]:
    """Return up to three known names similar to `name`, most similar first."""
    return difflib.get_close_matches(name.lower(), [*_BY_NAME, *others], n=3, cutoff=0.5)
