"""Run the jobs of one machine on many, by Ray Data: no scheduler of our own, and no second reader, preprocessing or model.

    names of files -> CPU tasks that decode -> actors that each hold a model -> pieces -> Parquet shards

    plan       how a list is cut into tasks, what travels together, and output files; pure maths
    session    connecting to Ray, starting it, and what its machines are
    weights    a checkpoint, carried to every machine once
    models     what a worker needs to make the model ready; describing it before the job begins
    clip_rows  decoded clips <-> bytes that travel
    decoding   the tasks: our reader and decoder processes, as on one machine
    inference  the actors: our pipeline, and the pieces that they leave
    output     pieces, shards, what is there already, one file in the end
    run        a whole job: what to do, done until nothing is missing
    survey     the machines and the model there, looked at before a job; how long it may take

Why nothing is lost or doubled: a piece holds the records of a known stretch of the list, is named by it, and appears
whole or not at all. What Ray does twice, after a worker has died, writes the same name again; what never came is seen to
be missing, and done again. Results don't depend on how many workers there are: a task's files are packed into batches
by themselves, whoever runs them.

Only `run`, `session`, `survey` and what they send to workers import ray, when they are used.
"""

from __future__ import annotations

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
