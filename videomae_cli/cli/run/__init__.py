"""How a job is run: on this machine, on a cluster, as a training, or only planned."""
