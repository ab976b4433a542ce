"""The job that Slurm's drills disturb: a tiny recipe on two nodes, as `pdapt launch RECIPE` writes it."""

import os
import signal
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...core.checkpoint import CHECKPOINTS
from ...core.errors import Failed
from ...core.files import read_object, write_text
from ...core.manifest import MANIFEST_FILE
from ...core.system.slurm_queue import slurm, submit_script
from ...recipes.load import load
from ...training.requested_run import Run
from ...training.run.folder import JOBS, checkpoints, iteration, iterations
from ...training.run.journal import JOURNAL_FILE, Event, kept, read
from ..chain.run_status import HISTORY_FILE
from ..recipe_job import recipe_job, train_command
from ..sbatch import render_sbatch
from .cluster import nodes_of, on_node, wait_for_end, wait_for_state, wait_until
from .results import Results, checkpoint_weights, read_losses
from .tiny_flow import TinyFlow

RECIPE = """\
# A step takes parts of a second, so that one can be met within a start; each second one is saved.
model:
  shape: {layers: 2, hidden: 64, ffn: 160, heads: 4, kv_heads: 2, head_dim: 16, vocab: 1024, tied: true,
    max_positions: 512}
  precision: fp32
data: {seq_length: 64}
parallel: {nodes: 2, ranks_per_node: 1}
batch: {global_size: 16, micro_size: 1}
optimizer: {lr: 1e-3}
checkpoint: {every: 2}
validation: {every: 1000, batches: 1}
steps: 24
"""
HOURS = "30"
"""Time of a job that is not to reach its limit, in minutes."""


@dataclass(frozen=True)
class Grounds:
    """Everything that drills share: text, tokens, base and recipe, in a folder that every node sees.

    Attributes:
        folder: absolute.
        site: name or path of a site.
    """

    folder: Path
    site: str

    @property
    def base(self) -> Path:
        """The base as a Megatron checkpoint root."""
        return self.folder / "base"

    def make(self) -> None:
        """Make everything that is missing."""
        from ...conversion.convert import import_hf
        from ...data_prep.corpus import Source, build_corpus
        from ...data_prep.tokens.build import Options, build_tokens

        flow = TinyFlow(self.folder / "flow")
        flow.make()
        corpus = self.folder / "corpus"
        build_corpus([Source("notes", flow.folder / "notes.jsonl")], corpus)
        build_tokens([str(corpus)], flow.folder / "base", self.folder / "tokens", Options(valid_fraction=0.1))
        import_hf(flow.folder / "base", self.base)
        write_text(self.folder / "recipe.yaml", RECIPE)
        (self.folder / "logs").mkdir(exist_ok=True)

    def job(self, name: str, *values: str, lead: int | None = None) -> "TrainingJob":
        """Submit the training into a folder of this name.

        Args:
            name: of job and folder.
            values: that replace the recipe's.
            lead: seconds before the time limit at which it is asked to save, where that is not left to the site.
        """
        recipe_file, out = str(self.folder / "recipe.yaml"), self.folder / name / "run"
        values = (f"job.time={HOURS}", *values)
        run = Run(load(recipe_file, list(values)), self.folder / "tokens", out, self.base)
        command = train_command(recipe_file, list(values), run)
        made, _ = recipe_job(run, command, name=f"drill-{name}", site=self.site, gpu=False)
        made = replace(made, site=replace(made.site, logs=str(self.folder / "logs")), folder=str(self.folder))
        made = replace(made, lead=lead or made.lead, env=made.env | {"OMP_NUM_THREADS": "1"})
        script = render_sbatch(made)
        return TrainingJob(submit_script(script, []), out, self.folder / "logs", script)


@dataclass(frozen=True)
class TrainingJob:
    """A submitted training: its job's number, its folder, that of the jobs' logs, and its script."""

    number: str
    out: Path
    logs: Path
    script: str = field(repr=False)

    def again(self) -> "TrainingJob":
        """Submit it once more, to go on in its folder."""
        return replace(self, number=submit_script(self.script, []))

    def steps(self) -> int:
        """The newest step of the journal; 0 before the first."""
        if not (self.out / JOURNAL_FILE).is_file():
            return 0
        return max(kept(read(self.out / JOURNAL_FILE), Event.STEP), default=0)

    def saved(self) -> int:
        """The step of the newest whole checkpoint; 0 where there is none."""
        return iteration(held[-1]) if (held := checkpoints(self.out)) else 0

    def unfinished(self) -> list[Path]:
        """The checkpoints that are begun but not complete."""
        return [path for path in iterations(self.out / CHECKPOINTS) if path not in checkpoints(self.out)]

    def wait_for_steps(self, more: int = 1) -> None:
        """Wait for a number of further steps, one of which is saved.

        Raises:
            Failed: they do not come, or training has ended before the drill could disturb it.
        """
        before, saved = self.steps(), self.saved()

        def come() -> bool:
            if (self.out / MANIFEST_FILE).is_file():
                raise Failed("training has ended before it could be disturbed")
            return self.steps() >= before + more and self.saved() > saved

        wait_until(come, f"{more} more steps of {self.out}", pause=0.1)  # looks at files alone: a step may take as long

    def history(self) -> list[tuple[str, str]]:
        """Code and words of each end of a start."""
        path = self.out / JOBS / HISTORY_FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [(row[2], row[4]) for row in (line.split("\t") for line in lines)]

    def signal_rank(self, rank: int, name: str) -> str:
        """Send a signal to one rank alone; the node that it is on, by Slurm's name."""
        file = read_object(self.out / "ranks" / f"rank-{rank}.json")
        process = file.integer("pid")
        if file.text("host") == socket.gethostname():
            os.kill(process, signal.Signals[f"SIG{name}"])
        node = nodes_of(wait_for_state(self.number, "RUNNING"))[rank]
        if file.text("host") != socket.gethostname():
            on_node(self.number, node, ["kill", f"-{name}", str(process)])
        return node

    def finish(self) -> None:
        """Wait for the job's end, as done.

        Raises:
            Failed: it ends otherwise.
        """
        wait_for_end(self.number)
        if not (self.out / MANIFEST_FILE).is_file():
            raise Failed(f"the job is done, and {self.out} is not")

    def cancel(self) -> None:
        """End the job, whatever it does."""
        slurm(["scancel", self.number])

    @property
    def log(self) -> Path:
        """The log of the job."""
        return next(self.logs.glob(f"*-{self.number}.out"))


def results_of(out: Path) -> Results:
    """The results of a training: its losses, and its last checkpoint's weights."""
    return read_losses(out) | checkpoint_weights(checkpoints(out)[-1])
