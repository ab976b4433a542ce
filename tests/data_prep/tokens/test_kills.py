"""`pdapt tokens build`, killed at any moment and started again, ends with the bytes of an undisturbed run."""

import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pdapt.core.files import sha256
from pdapt.core.manifest import Manifest

SOURCES = 6
FILES = 10
"""Files of a source: each is a shard at least."""
DOCUMENTS = 500
"""Documents of a file."""
TYPES = ("note", "article", "notice", "")
EDITIONS = (True, False, None)


def write_inputs(folder: Path) -> list[str]:
    """Folders of Parquet and JSONL files, with texts that several of them hold, and twelve data sets each."""
    for source in range(SOURCES):
        (folder / f"s{source}").mkdir(parents=True)
        for file in range(FILES):
            rows = [
                {
                    "text": text_of(source, file, number),
                    "document_type": TYPES[number % len(TYPES)],
                    "commercial": EDITIONS[number % len(EDITIONS)],
                }
                for number in range(DOCUMENTS)
            ]
            path = folder / f"s{source}" / f"{file}"
            if file % 2:
                table = pa.Table.from_pylist(rows)
                pq.write_table(table, path.with_suffix(".parquet"), row_group_size=DOCUMENTS // 2)
            else:
                # With an empty line: read line by line, which gives kills time to land before anything is tokenized.
                path.with_suffix(".jsonl").write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
    return [str(folder / f"s{source}") for source in range(SOURCES)]


def text_of(source: int, file: int, number: int) -> str:
    if number % 50 == 0:
        return f"Ce texte est dans toutes les sources : {number}."
    if number % 97 == 0:
        return ""
    words = " ".join(f"{number * step % 991} mg" for step in range(1, 25))
    return f"Source {source}, fichier {file}, patient {number} : {words}, l'{'\u017f' * (number % 7 == 0)}issue."


@dataclass(frozen=True)
class Kill:
    """The phase in which a build was killed, and whether there were shards' parts."""

    doing: str
    parts: bool


class Builds:
    """Starts `pdapt tokens build` on the inputs."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self.folder = folder
        self.command = [sys.executable, "-m", "pdapt.cli.main", "tokens", "build", *write_inputs(folder / "in")]
        self.command += ["--tokenizer", str(tokenizer), "--workers", "2", "--valid-fraction", "0.1"]
        self.command += ["--max-rejected", "0.02"]  # the texts without a word

    def start(self, name: str) -> subprocess.Popen[bytes]:
        command = [*self.command, "--out", str(self.folder / name)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def parts(self, name: str) -> bool:
        """Whether a build has shards' parts."""
        return (self.folder / f".{name}.partial" / ".shards").exists()

    def doing(self, name: str, messages: str) -> str:
        """The phase in which a build was killed, by its messages."""
        if (self.folder / name).exists():
            return "printing"
        if todo := re.search(r"(\d+) of \d+ shards? to do", messages):
            if messages.count("tokens: shard ") < int(todo[1]):
                return "tokenizing"
            return "assembling" if self.parts(name) else "hashing"
        resumed = "continuing where an earlier run stopped" in messages
        return "scanning" if resumed or (self.folder / f".{name}.partial").exists() else "starting"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_build_goes_on_to_the_same_bytes(
    tmp_path: Path, tokenizer_folder: Path, request: pytest.FixtureRequest
) -> None:
    kills, seed = request.config.option.kills, random.randrange(2**32)
    print(f"kills: {kills}, seed: {seed}")
    draw, builds = random.Random(seed), Builds(tmp_path, tokenizer_folder)
    begun = time.monotonic()
    assert end(builds.start("whole")) == (0, "")
    seconds = time.monotonic() - begun
    whole = Manifest.read(tmp_path / "whole")
    assert whole.counts["totals"]["valid"]["documents"] > 1000

    landed: list[list[Kill]] = []
    while sum(map(len, landed)) < kills:
        name = f"killed-{len(landed)}"
        landed.append(build_with_kills(builds, name, kills - sum(map(len, landed)), seconds, draw))
        check(tmp_path, name, whole, f"seed {seed}, {name}")
    every = [kill for of_one in landed for kill in of_one]
    with_parts = sum(kill.parts for kill in every)
    print(f"an undisturbed build takes {seconds:.1f} s; kills of one build: {[len(of_one) for of_one in landed]}")
    print(f"landed in: {dict(Counter(kill.doing for kill in every))}; {with_parts} while there were shards' parts")
    assert with_parts >= kills / 3, f"seed {seed}: {every}"


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code of a process, and where it failed its last messages."""
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors.decode()[-2000:] if process.returncode else ""


def build_with_kills(builds: Builds, name: str, most: int, seconds: float, draw: random.Random) -> list[Kill]:
    """Build, killed at moments drawn from the time that a whole run takes, until it ends; the kills.

    Every second moment comes soon after there are shards' parts, however short their time is on this machine.
    """
    kills: list[Kill] = []
    while len(kills) < most:
        process = builds.start(name)
        if later := len(kills) % 2:
            while process.poll() is None and not builds.parts(name):
                time.sleep(0.01)
        try:
            _, messages = process.communicate(timeout=draw.uniform(0, seconds / 8 if later else seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            _, messages = process.communicate()
            kills.append(Kill(builds.doing(name, messages.decode()), builds.parts(name)))
        else:
            assert process.returncode == 0, messages.decode()[-2000:]
            return kills
    assert end(builds.start(name)) == (0, "")
    return kills


def check(folder: Path, name: str, whole: Manifest, what: str) -> None:
    """Assert that a build that was killed is the undisturbed one, and left nothing."""
    found = Manifest.read(folder / name)
    assert (found.outputs, found.counts) == (whole.outputs, whole.counts), what
    assert {file: sha256(folder / name / file) for file in found.outputs} == whole.outputs, what
    names = [
        sorted(str(path.relative_to(folder / one)) for path in (folder / one).rglob("*")) for one in ("whole", name)
    ]
    assert names[0] == names[1], what
    assert not (folder / f".{name}.partial").exists(), what
