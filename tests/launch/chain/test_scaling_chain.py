"""`pdapt bench scaling --on slurm`: a job a run, and one that collects them; with stand-ins for Slurm."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_stand_ins import Slurm
from typer.testing import CliRunner

from pdapt.bench.scaling_chain import check_folder
from pdapt.cli.main import app
from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.launch.chain.chain_jobs import log_file, notes_folder
from pdapt.launch.chain.folder_steps import STEPS_FILE, read_steps, steps_text
from pdapt.launch.chain.run_status import run_status
from pdapt.launch.chain.submitted import JOBS_FILE
from pdapt.launch.steps import Place, Step
from pdapt.recipes.load import load

RUNS = ["weak_1_0", "weak_2_0", "strong_1_0", "strong_2_0"]
SMALL = ("steps=6", "data.seq_length=64", "parallel.ranks_per_node=1", "batch.micro_size=1")


def bench(fake: Slurm, tokens: Path, *more: str, site: str = "local_cpu") -> str:
    words = ["--nodes", "1,2", "--steps", "6", "--repeats", "1", "--tokens", str(tokens), "--out", "run"]
    done = CliRunner().invoke(app, ["bench", "scaling", *SMALL, *words, "--site", site, *more])
    if done.exception:
        raise done.exception
    return done.stdout


def submit(fake: Slurm, tokens: Path, *more: str) -> dict[str, str]:
    return json.loads(bench(fake, tokens, "--on", "slurm", "--json", *more))["jobs"]


def measure(fake: Slurm, *names: str) -> None:
    """Leave what trainings leave that take a second a step, and take their jobs out of the queue."""
    for name in names:
        run = fake.run / name.replace("_", "-") / "run"
        run.mkdir(parents=True, exist_ok=True)
        rows = [
            {"event": "step", "step": step, "start": 1, "time": float(step), "seconds": 1.0, "data_wait": 0.0}
            | {"tokens": 512, "slots": 512, "skipped": False, "sources": {}}
            for step in range(1, 7)
        ]
        (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        Manifest("train", {}, {}, {}, {}).write(run)
    fake.write([row for row in fake.queue() if row[0].split(".")[0] not in names])


@pytest.mark.slow
def test_each_way_and_number_of_nodes_is_a_job_and_the_last_waits_for_all(fake: Slurm, tokens: Path) -> None:
    numbers = submit(fake, tokens)
    assert list(numbers) == [*RUNS, "collect"]
    options = fake.submitted()
    assert options["weak_2_0"] == "--parsable --kill-on-invalid-dep=yes"
    waits = ":".join(numbers[name] for name in RUNS)
    assert options["collect"] == f"--parsable --dependency=afterok:{waits} --kill-on-invalid-dep=yes"
    script = (fake.folder / f"script-{numbers['weak_2_0']}").read_text()
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=1\n" in script
    recipe = fake.run / "weak-2-0/recipe.yaml"
    assert f"    pdapt train {recipe} --tokens {tokens} --out {fake.run}/weak-2-0/run &\n" in script
    first = load(str(fake.run / "weak-1-0/recipe.yaml")).batch.global_size
    assert load(str(recipe)).batch.global_size == 2 * first
    assert load(str(fake.run / "strong-2-0/recipe.yaml")).batch.global_size == first
    assert submit(fake, tokens) == numbers, "what is in the queue is not submitted again"


@pytest.mark.slow
def test_the_printed_script_submits_the_same_jobs(fake: Slurm, tokens: Path) -> None:
    numbers = submit(fake, tokens)
    mine = {path.name: path.read_text().rstrip() for path in fake.folder.glob("script-*")}
    listed = (fake.run / STEPS_FILE).read_text()
    for path in (*fake.folder.glob("script-*"), fake.folder / "queue", fake.folder / "number"):
        path.unlink()
    shutil.rmtree(fake.run)
    printed = bench(fake, tokens, "--on", "slurm", "--print")
    assert not fake.run.exists()
    fake.bash(printed)
    assert {path.name: path.read_text().rstrip() for path in fake.folder.glob("script-*")} == mine
    assert (fake.run / STEPS_FILE).read_text() == listed
    noted = [line.split("\t")[:2] for line in (fake.run / "slurm" / JOBS_FILE).read_text().splitlines()]
    assert noted == [list(item) for item in numbers.items()]
    assert {step.state for step in run_status(fake.run).steps} == {"waiting"}


@pytest.mark.slow
def test_the_last_jobs_command_writes_page_and_constants_and_nothing_is_left(fake: Slurm, tokens: Path) -> None:
    numbers = submit(fake, tokens)
    measure(fake, *RUNS)
    states = {step.name: step.state for step in run_status(fake.run).steps}
    assert states == dict.fromkeys(RUNS, "done") | {"collect": "waiting"}
    script = (fake.folder / f"script-{numbers['collect']}").read_text()
    line = next(line for line in script.splitlines() if line.startswith("    pdapt bench scaling"))
    done = CliRunner().invoke(app, shlex.split(line.removesuffix(" &"))[1:], catch_exceptions=False)
    assert done.exit_code == 0
    rows = read_json(fake.run / "scaling.json")["rows"]
    assert [(row["scaling"], row["world"]) for row in rows] == [(way, n) for way in ("weak", "strong") for n in (1, 2)]
    assert [row["cores"] for row in rows] == [1.0] * 4, "those that a job asks for, not the collecting machine's"
    assert [row["seconds"] for row in rows] == [1.0] * 4
    assert "constants" in read_json(fake.run / "site.json")
    assert (fake.run / "scaling.html").is_file()
    fake.write([])
    assert {step.state for step in run_status(fake.run).steps} == {"done"}
    assert bench(fake, tokens, "--on", "slurm") == "every step is done\n"


@pytest.mark.slow
def test_a_run_that_fails_is_said_and_alone_submitted_again_with_the_last(fake: Slurm, tokens: Path) -> None:
    numbers = submit(fake, tokens)
    measure(fake, "weak_1_0", "strong_1_0", "strong_2_0")
    fake.write([])
    notes = notes_folder(fake.run, "weak_2_0")
    notes.mkdir(parents=True)
    (notes / "history.tsv").write_text(f"now\t{numbers['weak_2_0']}.0\t1\tnone\tgiven up\n")
    log_file(fake.run, "weak_2_0", numbers["weak_2_0"]).write_text("pdapt: a rank was lost\n")
    assert run_status(fake.run).stopped == "weak_2_0 has failed: a rank was lost; collect cancelled"
    again = submit(fake, tokens)
    assert list(again) == ["weak_2_0", "collect"]
    done = CliRunner().invoke(app, ["cancel", "run", "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["cancelled"] == again
    assert fake.queue() == []


@pytest.mark.slow
def test_what_cannot_be_is_refused_before_the_queue(fake: Slurm, tokens: Path) -> None:
    for more, message in (
        (["--on", "lsf"], "--on is 'lsf'"),
        ([], "--on is missing: with --nodes the runs are jobs"),
        (["--on", "slurm", "--nodes", "1,0"], "--nodes is '1,0'"),
        (["--on", "slurm", "--world", "2"], "both set the number of ranks"),
        (["--on", "slurm", "--tokens", "gone"], "gone"),
        (["--on", "slurm", "--site", "nowhere"], "no site is called 'nowhere'"),
    ):
        with pytest.raises(UserError, match=message):
            bench(fake, tokens, *more)
    assert not fake.queue()
    assert not fake.run.exists()
    submit(fake, tokens)
    with pytest.raises(UserError, match="holds another benchmark"):
        submit(fake, tokens, "--repeats", "2")
    (fake.run / STEPS_FILE).unlink()
    (fake.run / "else").touch()
    with pytest.raises(UserError, match="is not empty and holds no benchmark"):
        submit(fake, tokens)


def test_fuzz_steps(fuzz: Callable[..., None], tmp_path: Path) -> None:
    steps = [
        Step("weak_1_0", "weak", (), ("weak-1-0/run",), place=Place.RANKS),
        Step("collect", "", ("weak_1_0",), (".",)),
    ]
    (tmp_path / STEPS_FILE).write_text(steps_text("Scaling", steps, {"gpu": False}))
    assert read_steps(tmp_path).steps == steps
    text = (tmp_path / STEPS_FILE).read_text()
    fuzz(tmp_path / STEPS_FILE, lambda: read_steps(tmp_path))
    (tmp_path / STEPS_FILE).write_text(text)
    fuzz(tmp_path / STEPS_FILE, lambda: check_folder(tmp_path, text))
    (tmp_path / STEPS_FILE).write_text(steps_text("Scaling", [Step("weak", "", (), ())], {}))
    with pytest.raises(UserError, match="the step weak has no output"):
        read_steps(tmp_path)


@pytest.mark.parametrize(
    ("name", "output"), [("weak/../../x", "run"), ("weak", "../elsewhere"), ("weak", "/elsewhere")]
)
def test_a_list_of_steps_names_nothing_outside_its_folder(name: str, output: str, tmp_path: Path) -> None:
    (tmp_path / STEPS_FILE).write_text(steps_text("Scaling", [Step(name, "weak", (), (output,))], {}))
    with pytest.raises(UserError, match="is not a step of this folder"):
        read_steps(tmp_path)
