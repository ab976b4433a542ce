"""Sources, records and shards of files, as the stages make them."""

from functools import cache
from pathlib import Path
from typing import Any

from pdapt.core.errors import UserError
from pdapt.core.files import read_jsonl
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.documents.faults import together
from pdapt.data_prep.documents.reading import find_documents, read_source
from pdapt.data_prep.documents.record import Record, Rejected
from pdapt.data_prep.documents.sources import Source
from pdapt.data_prep.documents.survey import Survey
from pdapt.data_prep.tokens.selection.shards import SHARD_BYTES, Shard, plan_shards


def json_rows(path: Path) -> list[dict[str, Any]]:
    """The JSON values of a file that holds an object a line."""
    return [row.values for row in read_jsonl(path, nan=True)]


def survey_of(path: Path | str, name: str = "source", **options: Any) -> Survey:
    """One source and its files."""
    return find_documents([Source(name, path, **options)])[0]


def items_of(path: Path | str, **options: Any) -> list[Record | Rejected]:
    """Read the files of a source, spoilt documents among them; a file that cannot be read raises."""
    faults: list[UserError] = []
    found = list(read_source(survey_of(path, **options), faults))
    if faults:
        raise together(faults)
    return found


def records_of(path: Path | str, **options: Any) -> list[Record]:
    """The records of a source, of which none is spoilt."""
    found = items_of(path, **options)
    records = [item for item in found if isinstance(item, Record)]
    assert len(records) == len(found), [item for item in found if isinstance(item, Rejected)]
    return records


@cache
def texts_of_samples(folder: Path) -> dict[str, list[str]]:
    """The documents of each source in a folder of folders, each read as the registered source that it is."""
    sources = [source for path in sorted(folder.iterdir()) if path.is_dir() for source in discover([str(path)])]
    return {
        survey.source.name: [item.text for item in read_source(survey, []) if isinstance(item, Record)]
        for survey in find_documents(sources)
    }


def shards_of(name: str, path: Path, text_column: str = "text", shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """The shards of a source."""
    return plan_shards(survey_of(path, name, text_column=text_column), shard_bytes)
