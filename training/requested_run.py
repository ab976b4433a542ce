"""A run as it is requested (recipe, inputs, folder), and one start of it."""

from dataclasses import dataclass
from pathlib import Path

from ..core.checkpoint import CHECKPOINTS, RELEASE, newest, root_of
from ..core.manifest import MANIFEST_FILE, fingerprint
from ..data_prep.tokens.tokens_record import read_record
from ..recipes.megatron_args import Places
from ..recipes.schema import Recipe
from .blend import Member, train_blend, valid_batches, valid_sequences
from .input_hashes import Inputs
from .rank_task import RankTask
from .run.folder import ACHIEVED, iteration
from .run.identity import RunIdentity, recipe_values


@dataclass(frozen=True)
class Run:
    """A training run as it is requested: recipe, inputs, folder.

    Attributes:
        recipe: checked recipe.
        tokens: the tokens stage's folder.
        out: run folder; at the end it holds `checkpoints/`, `tensorboard/`, `metrics.jsonl`, `recipe.yaml` and
            `manifest.json`.
        base: run, or Megatron checkpoint root, that the weights start from; None for random weights.
        tokenizer: folder of the base's tokenizer, for a root that has none of its own.
        verify: see `Inputs`.
    """

    recipe: Recipe
    tokens: Path
    out: Path
    base: Path | None
    tokenizer: Path | None = None
    verify: bool = True

    @property
    def inputs(self) -> Inputs:
        """The inputs, which have to match the recipe."""
        return Inputs(self.tokens, self.base, self.tokenizer, self.verify)

    @property
    def weights(self) -> Path | None:
        """The checkpoint that the weights start from."""
        return self.base and newest(self.base)

    def identity(self) -> RunIdentity:
        """Identify the run, to compare two starts. If the base is a run, its newest checkpoint counts."""
        root = self.base and root_of(self.base)
        weights = root if root and (root / MANIFEST_FILE).is_file() else self.weights
        return RunIdentity(
            recipe=recipe_values(self.recipe),
            tokens=fingerprint(self.tokens),
            tokenizer=fingerprint(self.tokens / "tokenizer"),
            base=weights and fingerprint(weights),
        )

    def members(self) -> list[Member]:
        """List the run's data sets, and how much of each it reads."""
        return train_blend(self.tokens, self.recipe.data, self.recipe.steps * self.recipe.batch.global_size)

    def task(self, start: "Start") -> RankTask:
        """Describe one start for its ranks."""
        out = self.out.resolve()
        places = Places(
            checkpoints=out / CHECKPOINTS,
            base=self.base and root_of(self.base).resolve(),
            tensorboard=out / "tensorboard",
            cache=out / "cache",
            achieved=out / ACHIEVED,
            eod=read_record(self.tokens).eod_id,
            valid_batches=valid_batches(self.recipe, valid_sequences(self.tokens, self.recipe.data)),
        )
        return RankTask(
            self.recipe,
            places,
            self.tokens.resolve(),
            start.begun,
            stop_at=start.stop_at,
            deadline=start.deadline,
            base_step=iteration(self.weights) if self.weights and self.weights.name != RELEASE else None,
        )


@dataclass(frozen=True)
class Start:
    """One start of a run.

    Attributes:
        begun: Unix time.
        stop_at: stop, with a checkpoint, after this step of the recipe.
        deadline: Unix time after which the run saves and stops.
        other_data: whether the run may continue with data or a tokenizer that differs from those it began with.
    """

    begun: float
    stop_at: int | None = None
    deadline: float | None = None
    other_data: bool = False
