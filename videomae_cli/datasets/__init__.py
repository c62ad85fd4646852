"""Datasets of labelled videos: reading from folders and tables, splitting and checking. Imports no torch.

examples    the types Dataset and Example       dataset_reading   a user's DATA argument -> a dataset
grouping    clips of one source, train/val      tables            rows -> examples
checking    finds unusable files before use     rows              CSV, TSV, lists, Parquet, JSON Lines -> rows
values      numbers to predict (regression)             data_places   on a disk or in object storage
"""

from __future__ import annotations

from videomae_cli.datasets.checking import Report, check_dataset
from videomae_cli.datasets.dataset_reading import read_dataset, table_columns, unlabelled_output
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
    "unlabelled_output",
    "values_of_labels",
]
