"""Access to object storage: s3://, gs:// and whatever else pyarrow and fsspec support.

    addresses    parses addresses: scheme, bucket, path and options
    stores       an address -> the filesystem for it, one per bucket
    listing      folders and patterns -> addresses
    objects      reading, copying, writing and deleting one object
    folders      output folders, on a disk or in object storage
    manifests    Parquet tables that list names
    failures     errors of client libraries -> our errors, in one line

pyarrow is imported on first use of an address. Errors are `StorageError`, or `DependencyError` if a package is missing;
callers, who know what the object was for, turn them into errors about a video, a list or an output.
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
