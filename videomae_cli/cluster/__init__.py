"""Runs jobs on many machines with Ray Data, reusing the reader, preprocessing and model of a single machine.

file names -> CPU tasks that decode -> actors that each hold a model -> pieces -> Parquet shards

    plan       how a list is divided into tasks, groups and output files; pure maths
    session    connects to Ray or starts it, and lists its machines
    weights    transfers a checkpoint to every machine once
    models     loads the model on a worker, and describes it before the job begins
    clip_rows  decoded clips <-> rows of a table that Ray transfers
    attempts   counts processes that died, and finds the file that costs them
    decoding   the tasks, which run our reader and decoder processes
    inference  the actors, which run our pipeline and write pieces
    films      the actors of jobs on whole films, which decode too
    machines   machines that the job does without, and the files that they handed back
    job_log    a log of what each stage and machine does, beside the shards
    ray_metrics  the same figures, for Ray's dashboard
    source_stamps  what the videos of a job were like when it began
    output     pieces, shards, resuming, and joining shards into one file
    run        runs a job until nothing is missing
    requirements  what each machine must have and reach, tried there
    survey     checks the machines and the model on them before a job, and estimates its time

Why no record is lost or duplicated: a piece holds the records of a known range of the list, is named after it, and
is written atomically. If Ray repeats work after a worker has died, it writes the same file again; what is missing
is noticed and redone. Results don't depend on the number of workers, because each task's files are batched
separately.

ray is imported only when a job runs, by `run`, `session`, `survey` and the code they send to workers.
"""

from __future__ import annotations

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
