"""One list of names for columns: a table that one command reads is read by the others."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videomae_cli.column_names import COLUMN_NAMES, find_columns
from videomae_cli.datasets import read_dataset
from videomae_cli.storage.manifests import manifest_names


@pytest.mark.parametrize("name", [*COLUMN_NAMES["path"], "Path", " FILE_PATH ", "Uri"])
@pytest.mark.parametrize("label", ["label", "Category"])
def test_a_table_of_files_is_one_of_examples_too(tmp_path: Path, name: str, label: str) -> None:
    """Under every name, for `classify @table` and for `evaluate` and `finetune`."""
    (tmp_path / "a.mp4").touch()
    table = pa.table({"note": ["first"], label: ["x"], name: ["a.mp4"]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert list(manifest_names(io.BytesIO((tmp_path / "t.parquet").read_bytes()))) == ["a.mp4"]
    for file, content in (("t.parquet", None), ("t.csv", f"note,{label},{name}\nfirst,x,a.mp4\n")):
        if content:
            (tmp_path / file).write_text(content)
        examples = read_dataset(str(tmp_path / file)).examples
        assert [(Path(example.path).name, example.labels) for example in examples] == [("a.mp4", ("x",))]


def test_the_first_name_of_a_list_goes_before_the_others() -> None:
    assert find_columns(["url", "File", "path", "LABEL"]) == {"path": "path", "label": "LABEL"}
    assert find_columns(["url", "File"]) == {"path": "File"}
    assert find_columns(["n", "text"]) == {}
