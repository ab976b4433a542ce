"""Speed of cleaning on one core, compared with the paper's expressions applied one after another."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ...data_prep.clean.profiles import PROFILES, run_steps
from ...data_prep.clean.source_facts import find_facts
from ...data_prep.clean.value_check import changed_values
from ...data_prep.documents.discover import discover
from ...data_prep.documents.reading import find_documents, read_source
from ...data_prep.documents.record import Record
from ...data_prep.sample import write_sample

PAPER = "paper"
"""Its expressions, applied one after another."""
CLINICAL = "clinical"
"""Both passes over the source."""
CHECKED = "clinical, and the check of values"


@dataclass(frozen=True)
class Speed:
    """The speed of one way to clean.

    Attributes:
        way: its name.
        mb_per_second: million bytes of UTF-8 per second, the best of all turns.
        ratio: speed relative to the paper's.
    """

    way: str
    mb_per_second: float
    ratio: float


def bench(paths: Sequence[str], turns: int) -> list[Speed]:
    """Clean the same texts in each way, in turns, in this process and on one core.

    Args:
        paths: as `pdapt corpus build` takes them; none for the embedded sample.
        turns: how often.

    Raises:
        UserError: a file cannot be read, or none holds a document.
    """
    texts = _texts(paths)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    ways = {PAPER: _paper, CLINICAL: _clinical, CHECKED: _checked}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns):
        for way, run in ways.items():
            begin = time.process_time()
            run(texts)
            times[way].append(time.process_time() - begin)
    return [Speed(way, megabytes / min(taken), min(times[PAPER]) / min(taken)) for way, taken in times.items()]


def _texts(paths: Sequence[str]) -> list[str]:
    """The documents, in memory.

    Raises:
        UserError: there is none.
    """
    if paths:
        return _read(paths)
    with TemporaryDirectory() as folder:
        write_sample(Path(folder))
        return _read([str(path) for path in sorted(Path(folder).rglob("*.jsonl"))])


def _read(paths: Sequence[str]) -> list[str]:
    surveys = find_documents(discover(list(paths)))
    return [item.text for each in surveys for item in read_source(each, []) if isinstance(item, Record)]


def _paper(texts: list[str]) -> list[str]:
    return [run_steps(PROFILES["paper"].steps, text, Counter()) for text in texts]


def _clinical(texts: list[str]) -> list[str]:
    profile = PROFILES["clinical"]
    begun = [run_steps(profile.before_source, text, Counter()) for text in texts]
    facts = find_facts(lambda: begun)
    return [run_steps(profile.from_source, text, Counter(), facts) for text in begun]


def _checked(texts: list[str]) -> None:
    for before, after in zip(texts, _clinical(texts), strict=True):
        changed_values(before, after)
