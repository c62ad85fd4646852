"""Labelled videos: read from folders and tables, split, checked. Knows no model and no torch.

examples    what a dataset is                              dataset_reading   what a user gives -> a dataset
grouping    which clips belong together, and the split     tables    rows -> examples
checking    what can be used, and what was dropped and why rows      CSV, TSV, lists, Parquet, JSON Lines
values      numbers to predict
"""

from __future__ import annotations

from videomae_cli.datasets.checking import Report, check_dataset
from videomae_cli.datasets.dataset_reading import read_dataset, table_columns
from videomae_cli.datasets.examples import Dataset, Example
from videomae_cli.datasets.grouping import split_dataset
from videomae_cli.datasets.values import values_of_labels

__all__ = [
    "Dataset",
    "Example",
    "Report",
    "check_dataset",
    "read_dataset",
    "split_dataset",
    "table_columns",
    "values_of_labels",
]
