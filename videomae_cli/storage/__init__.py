"""Access to object storage: s3://, gs:// and whatever else pyarrow and fsspec support.

    addresses    parses addresses: scheme, bucket, path and options
    stores       an address -> the filesystem for it, one per bucket
    listing      folders and patterns -> addresses
    objects      reading, copying, writing and deleting one object
    folders      output folders, on a disk or in object storage
    manifests    Parquet tables that list names
    patience     waiting for a server that is away for a while
    failures     errors of client libraries -> our errors, in one line

pyarrow is imported on first use of an address. Errors are `StorageError`, or `DependencyError` if a package is missing;
callers, who know what the object was for, turn them into errors about a video, a list or an output.
"""

from __future__ import annotations

from videomae_cli.storage.addresses import Address, canonical, is_address, without_options
from videomae_cli.storage.listing import ListingEntry, files_below, folders_in, matching, names_in, times_in
from videomae_cli.storage.manifests import PARQUET_MAGIC, manifest_names
from videomae_cli.storage.objects import (
    ObjectStamp,
    delete,
    delete_empty,
    fetched_bytes,
    local_copy,
    look,
    make_folder,
    move,
    opened,
    put,
    read_begin,
    read_bytes,
    stamp,
    stamps,
)
from videomae_cli.storage.patience import expect, on_wait

__all__ = [
    "PARQUET_MAGIC",
    "Address",
    "ListingEntry",
    "ObjectStamp",
    "canonical",
    "delete",
    "delete_empty",
    "expect",
    "fetched_bytes",
    "files_below",
    "folders_in",
    "is_address",
    "local_copy",
    "look",
    "make_folder",
    "manifest_names",
    "matching",
    "move",
    "names_in",
    "on_wait",
    "opened",
    "put",
    "read_begin",
    "read_bytes",
    "stamp",
    "stamps",
    "times_in",
    "without_options",
]
