"""Passes a run's numbers to trackers: always TensorBoard, and Weights & Biases and MLflow if the recipe says so."""

import math
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ....core.errors import UserError
from ....recipes.load import to_dict
from ....recipes.schema import Log, Recipe
from ..events import Listener
from ..journal import Row

DATABASES = ("sqlite", "mysql", "postgresql", "mssql")
"""Beginnings of the tracking URIs that MLflow reaches through SQLAlchemy."""
PATIENCE = {
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Environment of MLflow, unless set: it may use a folder, and gives a server up soon, since all ranks wait for it."""


def check(log: Log) -> None:
    """Check that the trackers that the recipe chooses are installed.

    Raises:
        UserError: one is not.
    """
    for name in ("wandb", "mlflow"):
        if getattr(log, name) is not None and find_spec(name) is None:
            raise UserError(
                f"log.{name} is set, but the package {name} is not installed",
                where=f"log.{name}",
                fix=f"install pdapt[track], or leave log.{name} out",
            )
    if log.mlflow is not None and log.mlflow.partition(":")[0].partition("+")[0] in DATABASES:
        missing = [name for name in ("sqlalchemy", "alembic") if find_spec(name) is None]
        if missing:
            raise UserError(
                f"log.mlflow is {log.mlflow}, a database; it needs {' and '.join(missing)}, which mlflow-skinny does "
                "not install",
                where="log.mlflow",
                allowed="a folder (file:/PATH) or a server (http://…) without them",
                fix="pip install sqlalchemy alembic, or the full mlflow",
            )


class Trackers(Listener):
    """Writes a row's numbers to each tracker, on the rank that has them.

    A tracker is another program, often on another server: if it fails, that is reported, and the run continues without
    it.
    """

    def __init__(self, recipe: Recipe, out: Path, tensorboard: Any) -> None:
        """Open the trackers that the recipe chooses.

        Args:
            recipe: the recipe.
            out: run folder.
            tensorboard: writes scalars, like torch's `SummaryWriter`; the caller closes it.
        """
        self.tensorboard = tensorboard
        self.others: dict[str, Wandb | Mlflow] = {}
        chosen = {"wandb": (recipe.log.wandb, Wandb), "mlflow": (recipe.log.mlflow, Mlflow)}
        for name, (where, kind) in chosen.items():
            if where is not None:
                with LeftOut(name, lambda: None):
                    self.others[name] = kind(where, out, to_dict(recipe))

    def log(self, row: Row, step: int, kind: str) -> None:
        """Write a row's numbers, those of its data sets included; values that are not finite numbers are left out.

        Args:
            row: a row of the journal.
            step: step after which the row was written.
            kind: train or valid.
        """
        named = row | {f"source_loss/{name}": source["loss"] for name, source in row["sources"].items()}
        figures = {f"{kind}/{name}": value for name, value in named.items() if _is_figure(value) and name != "step"}
        for name, value in figures.items():
            self.tensorboard.add_scalar(name, value, step)
        self._each(lambda tracker: tracker.log(figures, step))

    def ended(self, error: BaseException | None) -> None:
        """Close the trackers."""
        del error
        self.tensorboard.flush()
        self._each(lambda tracker: tracker.close())

    def _each(self, act: "Callable[[Wandb | Mlflow], None]") -> None:
        for name, tracker in list(self.others.items()):
            with LeftOut(name, lambda name=name: self.others.pop(name)):
                act(tracker)


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class LeftOut:
    """Reports a failure of a tracker, and leaves the tracker out from then on.

    Any error counts: these packages raise their own, their servers' and their databases', with no common base class.
    """

    def __init__(self, name: str, leave_out: Callable[[], Any]) -> None:
        self.name, self.leave_out = name, leave_out

    def __enter__(self) -> None:
        """Begin a call of the tracker."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Whether the tracker failed, and is left out; an exception that ends the process is not its failure."""
        if not isinstance(error, Exception):
            return False
        self.leave_out()
        said = " ".join(str(error).split())[:300]
        print(f"tracker: {self.name} is left out from now on: {type(error).__name__}: {said}", flush=True)
        return True


class Wandb:
    """Weights & Biases, with one run for each start."""

    def __init__(self, project: str, out: Path, recipe: dict[str, Any]) -> None:
        import wandb  # pyright: ignore[reportMissingImports]  # by choice

        self.run: Any = wandb.init(project=project, name=out.name, dir=str(out), config=recipe)

    def log(self, figures: dict[str, float], step: int) -> None:
        """Write figures."""
        self.run.log(figures, step)

    def close(self) -> None:
        """End the run."""
        self.run.finish()


class Mlflow:
    """MLflow, with one run for each start."""

    def __init__(self, uri: str, out: Path, recipe: dict[str, Any]) -> None:
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        import mlflow  # pyright: ignore[reportMissingImports]  # by choice

        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("pdapt")
        mlflow.start_run(run_name=out.name)
        mlflow.log_dict(recipe, "recipe.json")
        self.mlflow: Any = mlflow

    def log(self, figures: dict[str, float], step: int) -> None:
        """Write figures."""
        self.mlflow.log_metrics(figures, step=step)

    def close(self) -> None:
        """End the run."""
        self.mlflow.end_run()
