"""Trackers that fail are reported and left out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.recipes.schema import Log
from pdapt.training.run.listeners import trackers
from pdapt.training.run.listeners.trackers import Trackers, check

ROW = {"step": 3, "loss": 2.0, "grad_norm": None, "sources": {"a": {"loss": float("nan"), "tokens": 5}}}


class Broken(Exception):
    """An error of a kind that only its package knows."""


class Board:
    """A TensorBoard that keeps what it is given."""

    def __init__(self) -> None:
        self.written: list[tuple[Any, ...]] = []

    def add_scalar(self, *values: Any) -> None:
        self.written.append(values)

    def flush(self) -> None: ...


def test_a_tracker_that_fails_while_it_logs_is_left_out_and_the_others_go_on(
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[tuple[str, int]] = []

    class Flaky:
        def __init__(self, where: str, out: Path, recipe: dict[str, Any]) -> None:
            assert (where, out, recipe["steps"]) == ("project", tmp_path, 10)

        def log(self, figures: dict[str, float], step: int) -> None:
            calls.append(("flaky", step))
            assert figures
            raise Broken("the server is gone\nfor good")

        def close(self) -> None:
            raise AssertionError("it was left out")

    class Steady(Flaky):
        def __init__(self, where: str, out: Path, recipe: dict[str, Any]) -> None: ...

        def log(self, figures: dict[str, float], step: int) -> None:
            calls.append(("steady", step))
            assert figures == {"train/loss": 2.0}

        def close(self) -> None:
            calls.append(("closed", 0))

    monkeypatch.setattr(trackers, "Wandb", Flaky)
    monkeypatch.setattr(trackers, "Mlflow", Steady)
    found = Trackers(load(str(recipe_file), ["log.wandb=project", "log.mlflow=http://x"]), tmp_path, board := Board())
    for step in (3, 4):
        found.log(ROW, step, "train")
    found.ended(None)
    assert calls == [("flaky", 3), ("steady", 3), ("steady", 4), ("closed", 0)]
    assert board.written == [("train/loss", 2.0, 3), ("train/loss", 2.0, 4)]
    said = capsys.readouterr().out
    assert said == "tracker: wandb is left out from now on: Broken: the server is gone for good\n"


@pytest.mark.slow
def test_a_tracker_that_cannot_be_opened_is_left_out(
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A real MLflow, and a server that is not there."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    found = Trackers(load(str(recipe_file), ["log.mlflow=http://127.0.0.1:9"]), tmp_path, board := Board())
    found.log(ROW, 1, "valid")
    found.ended(None)
    assert board.written == [("valid/loss", 2.0, 1)]
    assert "tracker: mlflow is left out from now on: MlflowException" in capsys.readouterr().out


def test_what_ends_the_process_ends_it(recipe_file: Path, tmp_path: Path) -> None:
    found = Trackers(load(str(recipe_file)), tmp_path, Board())

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    found.others["wandb"] = SimpleNamespace(log=end)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        found.log(ROW, 1, "train")


def test_a_database_needs_what_the_small_mlflow_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"mlflow"}
    monkeypatch.setattr(trackers, "find_spec", lambda name: name in there or None)
    for uri in ("file:mlruns", "http://127.0.0.1:5000", "mlruns"):
        check(Log(mlflow=uri))
    for uri in ("sqlite:///mlflow.db", "postgresql+psycopg2://host/db"):
        with pytest.raises(UserError, match="pip install sqlalchemy alembic"):
            check(Log(mlflow=uri))
    there |= {"sqlalchemy", "alembic"}
    check(Log(mlflow="sqlite:///mlflow.db"))
    there.clear()
    with pytest.raises(UserError, match="the package mlflow is not installed"):
        check(Log(mlflow="file:mlruns"))
