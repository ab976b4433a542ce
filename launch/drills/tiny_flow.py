"""The tiny flow that drills disturb: its text, its base and its file, made from nothing within seconds."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from os import getpid
from pathlib import Path

from ...core.files import remove, write_text
from ...core.system.process import die_with_parent
from ..request import REQUEST_FILE, read_request
from ..steps import steps_to_do

WORDS = (
    *("le", "patient", "reçoit", "du", "paracétamol", "contre", "la", "fièvre", "puis", "sera", "revu", "dans", "une"),
    *("semaine", "avec", "son", "dossier", "et", "lettre"),
)
NOTES = 120
LETTER = "Cher confrère, je vous remercie de m'avoir adressé ce patient. " * 3
IDS = 1024
SHAPE = {
    "vocab_size": IDS,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": True,
}
VALUES = (
    *("steps=4", "model.precision=fp32", "data.seq_length=64", "batch.micro_size=1", "batch.global_size=2"),
    *("checkpoint.every=2", "validation.every=2", "validation.batches=1", "parallel.tp=2"),
)
FLOW = """\
title: A drill
data: {{domain: medical, paths: [notes.jsonl, letter.txt], general: [none]}}
base: base
recipe:
  name: qwen3_tiny_cpt_2xcpu
  values: [{values}]
evaluation: {{documents: 4, questions: 4}}
"""
START, END = "start", "end"
"""Moments of a flow before its first step has begun, and after its last."""


@dataclass(frozen=True)
class TinyFlow:
    """A flow of ten steps on two ranks of this machine, in a folder of its own.

    Attributes:
        folder: that its text, base and file lie in; absolute.
    """

    folder: Path

    def make(self) -> None:
        """Write text, base and file; whatever a killed process has left of them is made again."""
        if not (self.folder / "flow.yaml").is_file():
            remove(self.folder)
            write_text(self.folder / "notes.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in _notes()))
            write_text(self.folder / "letter.txt", LETTER)
            write_base(self.folder / "base")
            write_text(self.folder / "flow.yaml", flow_text())

    @contextmanager
    def started(self, run: Path) -> "Iterator[subprocess.Popen[str]]":
        """Start or continue the flow, in a process group of its own that dies with this process."""
        command = [sys.executable, "-m", "pdapt.cli.main", "run", "--flow", "flow.yaml", "--out", str(run), "--json"]
        messages = run.with_name(f"{run.name}.log")
        with messages.open("a", encoding="utf-8") as file:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, getpid()),
                text=True,
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    def step(self, run: Path) -> str:
        """The step at which a run stands, by what it has left."""
        if not (run / REQUEST_FILE).is_file():
            return START
        left = steps_to_do(read_request(run), run)
        return left[0].name if left else END


def flow_text(*values: str) -> str:
    """The text of a flow's file.

    Args:
        values: of the recipe, beside those of every tiny flow.
    """
    return FLOW.format(values=", ".join([*VALUES, *values]))


def _notes() -> Iterator[str]:
    draw = random.Random(0)  # noqa: S311 - the same text every time
    for number in range(NOTES):
        yield " ".join(["note", str(number), *draw.choices(WORDS, k=40)])


def write_base(folder: Path) -> None:
    """Write a random Qwen3 in FP32 with a tokenizer of the notes, as a Hugging Face folder; the same every time."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from ...data_prep.tokens.tokenizer import train_tokenizer

    with redirect_stderr(StringIO()):  # the text has too few words for as many ids, and the model is none of the hub's
        train_tokenizer(_notes(), IDS, folder)
        config = Qwen3Config.from_dict(SHAPE)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            Qwen3ForCausalLM(config).save_pretrained(folder)
