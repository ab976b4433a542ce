"""The rows of a Parquet file, some at a time."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from pdapt.data_prep.documents.store import row_batches


def test_row_groups_are_read_one_after_the_other(tmp_path: Path) -> None:
    """Arrow holds many in memory where it is asked for several at once."""
    pq.write_table(pa.table({"a": range(10), "b": range(10)}), tmp_path / "rows.parquet", row_group_size=4)
    asked: list[list[int]] = []
    read = pq.ParquetFile.iter_batches

    def noted(self: pq.ParquetFile, *given: Any, row_groups: list[int], **more: Any) -> Any:
        asked.append(row_groups)
        return read(self, *given, row_groups=row_groups, **more)

    with patch.object(pq.ParquetFile, "iter_batches", noted), pq.ParquetFile(tmp_path / "rows.parquet") as file:
        every = [batch.to_pydict() for batch in row_batches(file, 3)]
        some = [batch.to_pydict() for batch in row_batches(file, 3, ["b"], [2, 1])]
    assert asked == [[0], [1], [2], [2], [1]]
    assert [row for batch in every for row in batch["a"]] == [*range(10)]
    assert some == [{"b": [8, 9]}, {"b": [4, 5, 6]}, {"b": [7]}]
