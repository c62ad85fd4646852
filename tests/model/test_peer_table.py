"""The table in docs/parity.md is what its command makes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peer_tests import table

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_table_of_the_docs_is_what_the_command_makes() -> None:
    text = (DOCS / "parity.md").read_text(encoding="utf-8")
    made = table()
    assert text.endswith("\n\n" + made)
    assert "**fails**" not in made
    assert "`test_model_outputs_equivalence` | passes" in made
