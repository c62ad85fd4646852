"""Writes .npz archives with a fixed date in every member, so that equal arrays give identical files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt


class Archive(zipfile.ZipFile):
    """A zip file for arrays; if it is abandoned, `whole_file` discards it, so `__del__` must not write its directory."""

    def __init__(self, sink: BinaryIO) -> None:
        super().__init__(sink, "w", zipfile.ZIP_STORED, allowZip64=True)

    def __del__(self) -> None:
        pass

    def add(self, name: str, values: npt.NDArray[Any], compression: int = zipfile.ZIP_DEFLATED) -> None:
        """Add an array that fits in memory."""
        with self.open(member(name, compression), "w", force_zip64=True) as stream:
            np.lib.format.write_array(stream, values, allow_pickle=False)


def member(name: str, compression: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """Describe an archive's member for an array, dated 1980-01-01, the first date of the zip format."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = compression
    info.external_attr = 0o644 << 16
    return info


def write_arrays(sink: BinaryIO, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays under their names, uncompressed, like `numpy.savez` but with fixed dates."""
    archive = Archive(sink)
    for name, values in arrays.items():
        archive.add(name, values, zipfile.ZIP_STORED)
    archive.close()
