"""Files that are no files on a disk: s3://, gs:// and what else pyarrow and fsspec know. Knows no videos, no formats.

    addresses    text -> scheme, bucket, path and options, and which texts are addresses at all
    stores       an address -> the filesystem behind it, one a bucket
    listing      folders and patterns -> addresses
    objects      one object: a copy of it here, written, deleted
    folders      a folder to write to, on a disk or in object storage
    manifests    a Parquet table of names, wherever it lies
    failures     what went wrong, in a line

pyarrow is imported when an address is really used. Errors are `StorageError`, or `DependencyError` where a package is
missing: who knows what the object was for makes that the error of a video, a list or an output.
"""

from __future__ import annotations

from videomae_cli.storage.addresses import Address, is_address, without_options
from videomae_cli.storage.listing import ListingEntry, files_below, matching, names_in
from videomae_cli.storage.manifests import PARQUET_MAGIC, manifest_names
from videomae_cli.storage.objects import delete, delete_empty, local_copy, look, make_folder, opened, put, read_bytes

__all__ = [
    "PARQUET_MAGIC",
    "Address",
    "ListingEntry",
    "delete",
    "delete_empty",
    "files_below",
    "is_address",
    "local_copy",
    "look",
    "make_folder",
    "manifest_names",
    "matching",
    "names_in",
    "opened",
    "put",
    "read_bytes",
    "without_options",
]
