"""Trains models: a `Task` says what is trained, the `Trainer` how. Receives models and data, and knows no command line.

    task            what is trained: modules, batches, loss, metrics      trainer    the loop: steps, epochs, states
    process         one of the processes that train                       clip_task  tasks that train on clips of files
    classification  all weights on labels                                 head       the last layer only, on features
    masked          pre-training                                          recipe     published hyperparameters, scaled
    feed            files -> random clips                                 mixing     mixup, cutmix, soft targets
    features        examples through a model, once                       linear_probe  logistic regression
    ridge           regression heads: standardised values, ridge
    scoring         held-out examples -> probabilities                    figures    -> their metrics
    optim           groups of weights, rates over time                    distributed  several processes
    run_folder      the folder of a run, and what resuming it needs       checkpoint  writes the trained model
    card            describes it: README.md, charts

Names load on first use, so that importing this package imports no torch.
"""

from __future__ import annotations

from videomae_cli.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
