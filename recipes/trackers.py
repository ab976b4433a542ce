"""Figures for those who follow a run: TensorBoard always, Weights & Biases and MLflow by choice."""

from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .load import to_dict
from .schema import Log, Recipe


def check(log: Log) -> None:
    """Check that what the recipe chooses is installed.

    Raises:
        UserError: it is not.
    """
    from importlib.util import find_spec

    for name in ("wandb", "mlflow"):
        if getattr(log, name) is not None and find_spec(name) is None:
            raise UserError(
                f"log.{name} is set, and the package {name} is not installed",
                where=f"log.{name}",
                mend=f"install pdapt[track], or leave log.{name} out",
            )


class Trackers:
    """Writes a step's figures to each. On the rank that has them; Megatron has opened TensorBoard and W&B there."""

    def __init__(self, recipe: Recipe, out: Path) -> None:
        from megatron.training.global_vars import get_tensorboard_writer, get_wandb_writer

        self.tensorboard: Any = get_tensorboard_writer()
        self.wandb: Any = get_wandb_writer()
        self.mlflow: Any = None
        if recipe.log.mlflow is not None:
            import mlflow  # pyright: ignore[reportMissingImports]  # by choice

            mlflow.set_tracking_uri(recipe.log.mlflow)
            mlflow.set_experiment("pdapt")
            mlflow.start_run(run_name=out.name)
            mlflow.log_dict(to_dict(recipe), "recipe.json")
            self.mlflow = mlflow

    def log(self, row: dict[str, Any], step: int, kind: str) -> None:
        """Write a row's numbers, those of its data sets too.

        Args:
            row: of the journal.
            step: after which it was taken.
            kind: train or valid.
        """
        figures = {f"{kind}/{name}": value for name, value in row.items() if isinstance(value, int | float)}
        figures |= {f"{kind}/source_loss/{name}": found["loss"] for name, found in row["sources"].items()}
        del figures[f"{kind}/step"]
        for name, value in figures.items():
            self.tensorboard.add_scalar(name, value, step)
        if self.wandb:
            self.wandb.log(figures, step)
        if self.mlflow:
            self.mlflow.log_metrics(figures, step=step)

    def close(self) -> None:
        """No more figures come."""
        self.tensorboard.flush()
        if self.mlflow:
            self.mlflow.end_run()
