"""`pdapt train` as the steps of a first look run it: one rank, measured while it runs, ended when enough is known."""

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from pdapt.core.files import sha256, write_json
from pdapt.core.system.process import die_with_parent
from pdapt.recipes.load import to_yaml
from pdapt.recipes.schema import Recipe
from pdapt.training.run.journal import JOURNAL_FILE

WARM = 3
"""First steps that do not count: kernels are chosen and compiled, memory is asked for."""
DETERMINISTIC = "import torch; torch.use_deterministic_algorithms(True); from pdapt.cli.main import main; main()"
Row = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """A run of `pdapt train`.

    Attributes:
        recipe: of one rank.
        tokens: the tokens folder.
        work: folder for recipe, log and run folder.
        deterministic: whether torch may only use operations that give the same bits each time; others then fail.
    """

    recipe: Recipe
    tokens: Path
    work: Path
    deterministic: bool = False

    @property
    def out(self) -> Path:
        """The run folder."""
        return self.work / "run"

    def rows(self) -> list[Row]:
        """The journal's steps so far. A line that is being written is left for the next look."""
        path = self.out / JOURNAL_FILE
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        return [row for row in map(json.loads, lines) if row["event"] == "step"]

    def log(self) -> str:
        """The text it has printed."""
        return (self.work / "log").read_text(encoding="utf-8", errors="replace")

    def watch(self, seconds: float, enough: Callable[[], bool] = lambda: False, *further: str) -> bool:
        """Run it until it ends, or enough is there, or the time is over; whether it has ended by itself.

        Args:
            seconds: after which it is killed.
            enough: looked at again and again.
            further: options of `pdapt train`.

        Raises:
            RuntimeError: it failed; the end of its log is in the error.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "recipe.yaml").write_text(to_yaml(self.recipe), encoding="utf-8")
        start = ["-c", DETERMINISTIC] if self.deterministic else ["-m", "pdapt.cli.main"]
        command = [sys.executable, *start, "train", str(self.work / "recipe.yaml"), "--tokens", str(self.tokens)]
        command += ["--out", str(self.out), *further]
        environment = one_rank() | ({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"} if self.deterministic else {})
        end = time.monotonic() + seconds
        with (self.work / "log").open("ab") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment, preexec_fn=die_with_parent
            )
            while process.poll() is None and time.monotonic() < end and not enough():
                time.sleep(0.25)
            ended = process.returncode is not None
            _kill(process)
        if ended and process.returncode:
            raise RuntimeError(f"pdapt train failed with code {process.returncode}:\n{_end_of(self.log())}")
        return ended

    def finish(self, seconds: float, *further: str) -> None:
        """Run it until it ends by itself.

        Raises:
            RuntimeError: it failed, or did not end in time.
        """
        if not self.watch(seconds, lambda: False, *further):
            raise RuntimeError(f"not finished in {seconds:.0f} s: {self.work.name} {' '.join(further)}")


def one_rank() -> dict[str, str]:
    """The environment that torchrun would give the only rank; it would import torch once more before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return os.environ | ranks | meeting | {"CUDA_DEVICE_MAX_CONNECTIONS": "1"}


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End a run with the processes that it has started."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        for child in family:
            if child.is_running():
                child.kill()
    process.wait()


def _end_of(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("[rank")] or text.splitlines()
    return "\n".join(lines[-12:])


def speed(training: Training, seconds: float, steps: int) -> Row:
    """Train until so many steps count, and say how fast it is.

    Raises:
        RuntimeError: it failed, or not one step came to count in time.
    """
    training.watch(seconds, lambda: len(training.rows()) >= WARM + steps)
    done = training.rows()
    rows = done[WARM:]
    if not rows:
        raise RuntimeError(f"after {seconds:.0f} s no step counts yet:\n{_end_of(training.log())}")
    recipe = training.recipe
    # From one's end to the next one's end: what is done between two steps counts.
    step = statistics.median(after["time"] - before["time"] for before, after in pairwise(done[WARM - 1 :]))
    # As much is read in every step, so that the mean of the tokens goes with the median of the seconds.
    tokens = statistics.mean(row["tokens"] for row in rows)
    memory = re.findall(r"max allocated: ([\d.]+)", training.log())
    return {
        "micro": recipe.batch.micro_size,
        "steps": len(rows),
        "step_seconds": step,
        "tokens_per_second": tokens / step,
        "slots_per_second": rows[0]["slots"] / step,
        "mfu": None if rows[0]["mfu"] is None else statistics.median(row["mfu"] for row in rows),
        "data_wait_share": statistics.median(row["data_wait"] for row in rows) / step,
        "max_allocated_gib": float(memory[-1]) / 1024 if memory else None,
        "watts": statistics.median(row["joules"] / row["seconds"] for row in rows) if rows[0]["joules"] else None,
        "first_loss": done[0]["loss"],
    }


def write_tokens(folder: Path, vocabulary: int, count: int) -> Path:
    """A tokens folder of random ids: documents of some hundred tokens, some of thousands, as real text has them."""
    import numpy as np

    from pdapt.data_prep.tokens.index import write_indexed
    from pdapt.data_prep.tokens.tokens_record import RECORD

    draw, eod = np.random.default_rng(0), vocabulary - 1
    splits: dict[str, Any] = {}
    for split, documents in (("train", count), ("valid", max(8, count // 20))):
        lengths = np.clip(draw.lognormal(6, 1, documents), 20, 5000).astype(np.int32)
        ids = draw.integers(0, eod, int(lengths.sum()), dtype=np.int32)
        ids[lengths.cumsum() - 1] = eod
        raw = folder / f"{split}.ids"
        raw.parent.mkdir(parents=True, exist_ok=True)
        (folder / split).mkdir()
        ids.astype("<i4").tofile(raw)
        write_indexed(folder / split / "random", [(raw, lengths)])
        raw.unlink()
        entry = {"prefix": f"{split}/random", "source": "random", "document_type": "", "commercial": True}
        splits[split] = {"random": entry | {"documents": documents, "tokens": len(ids), "words": len(ids)}}
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    write_json(tokenizer, {"model": {"type": "WordLevel"}})
    nothing = {name: {} for name in ("withheld", "training_duplicates", "dropped_duplicates")}
    known = {"eod_id": eod, "vocabulary_size": vocabulary, "tokenizer_sha256": sha256(tokenizer)}
    write_json(folder / RECORD, {"splits": splits} | known | nothing)
    return folder
