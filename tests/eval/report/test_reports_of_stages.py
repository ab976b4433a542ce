"""`report build` of one stage alone: of a proxy, of a choice among merges, and of trainings."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_french_pages import english_in, misprints_in, words_of

from pdapt.core.errors import UserError
from pdapt.core.manifest import run_stage
from pdapt.eval.report import page
from pdapt.eval.statistics.tradeoff import build_tradeoff
from pdapt.launch.build_reports import ReportOptions, build_report


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures out, for tests of words: a page's take seconds."""
    monkeypatch.setattr(page, "draw_twice", lambda _, folder, *__: dict.fromkeys(("light", "dark"), folder))
    monkeypatch.setattr(page, "data_uris", lambda images: dict.fromkeys(images, "data:"))


def options(language: str = "en", **others: Any) -> ReportOptions:
    return ReportOptions(test="holm", language=language, **others)


def write_run(run: Path, losses: list[float], validation: float | None = None) -> Path:
    """A training's journal: a start, a step of 2 s and 7 tokens for each loss, a validation at the end."""
    rows: list[dict[str, Any]] = [{"event": "start", "time": 0.0, "start": 0, "step": 0, "ranks": 2}]
    for step, loss in enumerate(losses, start=1):
        row = {"event": "step", "time": 2.0 * step, "start": 0, "step": step, "seconds": 2.0, "data_wait": 0.0}
        rows.append(row | {"skipped": False, "tokens": 7, "slots": 8, "loss": loss, "sources": {}})
    if validation is not None:
        rows.append(rows[-1] | {"event": "validation", "loss": validation})
    run.mkdir()
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def headline(out: Path) -> list[str]:
    text = (out / "index.html").read_text(encoding="utf-8")
    return [line.split('<p class="headline">')[1][:-4] for line in text.splitlines() if 'class="headline"' in line]


@pytest.fixture
def proxied(make_scores: Any, trade: Any, tmp_path: Path) -> Path:
    """A folder as `pdapt eval proxy` leaves it."""
    (tmp_path / "made").mkdir()
    scores, out = make_scores(tmp_path / "made", trade), tmp_path / "proxy"
    for number, model in enumerate(("base", "cpt-10", "merged")):

        def body(work: Path, cut: int = number) -> dict[str, int]:
            (work / "made").write_text("")
            return {"tasks": 2, "prompts_cut": cut, "prompts": 100}

        run_stage("proxy", {"model": scores / "scores.json"}, {"questions": None}, out / model, body)
    shutil.copy(scores / "scores.json", out / "proxy.json")
    return out


@pytest.mark.slow
def test_a_proxy_has_a_page_with_the_losses_of_its_training(proxied: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "cpt", [9.0, 8.0])
    (run / "metrics.jsonl").write_text('{"iteration": 1, "loss": 9.0}\n{"iteration": 2, "loss": 8.0}\n')
    build_report([str(proxied)], tmp_path / "out", options(training=[str(run)]))
    assert headline(tmp_path / "out")[0].startswith("Against its base, the adapted model gains on medical text")
    text = (tmp_path / "out/index.html").read_text()
    assert "<h1>Held-out text: proxy</h1>" in text
    assert "3 of 300 prompts" in text, "of all models together"
    assert "Loss of cpt: " in text
    assert (tmp_path / "out/tables/scores.csv").is_file()
    assert (tmp_path / "out/tables/scores.tex").is_file()
    build_report([str(proxied)], tmp_path / "fr", options("fr"))
    words = words_of(tmp_path / "fr/index.html")
    assert (english_in(words), misprints_in(words)) == ([], [])


@pytest.mark.slow
def test_a_choice_of_merge_has_a_page_with_its_rule(make_scores: Any, trade: Any, tmp_path: Path) -> None:
    folder = tmp_path / "choice"
    folder.mkdir()
    scores = make_scores(folder, trade)
    build_tradeoff(scores, folder / "curve", domain="medical", general="general", max_loss=5)
    build_report([str(folder)], tmp_path / "out", options())
    text = (tmp_path / "out/index.html").read_text()
    assert "<p>Chosen: merged.</p>" in text
    assert len(headline(tmp_path / "out")) == 2


def test_trainings_have_a_page_from_their_journals(tmp_path: Path) -> None:
    """A run that goes on has one, too: no other file is read."""
    one = write_run(tmp_path / "one", [9.0, 8.0, 7.25], validation=7.5)
    build_report([str(one)], tmp_path / "out", options())
    first, second = headline(tmp_path / "out")
    assert first == ("one made 3 steps over 21 tokens, with a validation loss of 7.500 nats per token.")
    assert "not whether it answers better" in second
    with (tmp_path / "out/tables/losses.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file))[1] == ["one", "9", "7.25", "7.5", "7.5"]
    with (tmp_path / "out/tables/train-cost.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file))[1][:3] == ["one", "3", "21"]
    two = write_run(tmp_path / "two", [9.0, 6.5])
    with (two / "log.jsonl").open("a") as file:
        file.write("{broken\n")
    build_report([str(one), f"other={two}"], tmp_path / "fr", options("fr"))
    assert headline(tmp_path / "fr")[0].startswith("Sur 2 entraînements, other")
    words = words_of(tmp_path / "fr/index.html")
    assert "La ligne 4 de log.jsonl est illisible" in words
    assert (english_in(words), misprints_in(words)) == ([], [])


def test_what_no_report_is_made_of_is_refused(proxied: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [9.0])
    empty = write_run(tmp_path / "empty", [])
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    mixed, alone = [str(run), str(proxied)], "is reported alone"
    for given, chosen, message in (
        ([str(nowhere)], options(), "holds nothing that a report can be made from"),
        ([str(empty)], options(), "is not a training run that has begun"),
        (mixed, options(), r"run has log\.jsonl, and .*proxy has none"),
        ([str(proxied)], options(roles=["a=base"]), alone),
        ([str(run)], options(training=["x"]), "trainings are reported alone"),
        ([str(run)], options("de"), "'de' is not a language"),
        ([str(proxied)], options("de"), "'de' is not a language"),
    ):
        with pytest.raises(UserError, match=message):
            build_report(given, tmp_path / "out", chosen)
    assert not (tmp_path / "out").exists()
