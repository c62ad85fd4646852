"""Runs the jobs of commands: on this machine, on a cluster, as a training run, or only as a dry run."""
