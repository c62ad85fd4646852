"""Long jobs that lose nothing: what is done is kept beside the output until the last file is in.

    settings   what decides the results, its fingerprint, and how two of them differ
    journal    records on disk that survive a kill, a power cut and a full disk
    folder     whose `OUTPUT.partial` is, its lock, and what may be removed
    job        new, gone on with, or complete: one output and the folder `OUTPUT.partial` beside it
    shards     a list split over machines, and their outputs joined again

    OUTPUT.partial/job.json         settings, written before the first record
    OUTPUT.partial/records.jsonl    the records so far, in input order, as they come
    OUTPUT                          appears at once, whole, when the job is complete

Knows no video and no model: it is handed names and records.
"""

from __future__ import annotations

from videomae_cli.jobs.folder import CLUSTER_HEADER, REPLACED
from videomae_cli.jobs.job import Job, JobTally
from videomae_cli.jobs.settings import Settings
from videomae_cli.jobs.shards import Joined, Shard, merge_records

__all__ = ["CLUSTER_HEADER", "REPLACED", "Job", "JobTally", "Joined", "Settings", "Shard", "merge_records"]
