"""Resumable jobs: results are kept beside the output until every file is done, so an interruption loses nothing.

    settings   everything that affects the results, with a fingerprint
    journal    records on disk that survive a kill, a power cut and a full disk
    again      records that replace earlier ones, such as retried failures
    job_list   the files of a job, and which of them have records
    folder     the folder `OUTPUT.partial`: ownership, locking, cleaning up
    job        one output, new, resumed or complete
    shards     splits a list over machines, and merges their records
    joining    joins the outputs of shards into one file
    targets    where records go: a file, or a folder with a file for each video; documents: timelines' own
    replaced   what an earlier job left in such a folder
    work       the way from results to a complete output

    OUTPUT.partial/job.json         settings, written before the first record
    OUTPUT.partial/list.parquet     the names of the job's files
    OUTPUT.partial/records.jsonl    the records so far, in the order in which they were made
    OUTPUT                          appears atomically when the job is complete

Names and records are passed in: this package knows nothing about videos or models.
"""

from __future__ import annotations

from videomae_cli.jobs.folder import CLUSTER_HEADER, REPLACED
from videomae_cli.jobs.job import Job, JobTally
from videomae_cli.jobs.settings import Settings
from videomae_cli.jobs.shards import Joined, Part, Shard, merge_records

__all__ = ["CLUSTER_HEADER", "REPLACED", "Job", "JobTally", "Joined", "Part", "Settings", "Shard", "merge_records"]
