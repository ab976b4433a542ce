"""A flow as a chain: its scripts, what is submitted and what not, and what is said of it; with stand-ins for Slurm."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_stand_ins import FLOW, Slurm
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.core.errors import UserError
from pdapt.core.system import slurm_queue
from pdapt.core.system.slurm_queue import SlurmSilent
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.launch.chain.chain_jobs import job_name, log_file, notes_folder, sentences
from pdapt.launch.chain.run_status import StepState, cancel_run, first_error, read_ends, run_status, training_progress
from pdapt.launch.chain.submit import plan_chain, submit_chain
from pdapt.launch.chain.submitted import JOBS_FILE, read_jobs
from pdapt.launch.request import read_request, write_request
from pdapt.launch.steps import flow_steps, write_done
from pdapt.recipes.load import load, to_yaml

ORDER = ["corpus", "tokenizer", "tokens", "tasks", "base", "cpt", "hf", "proxy", "merge", "scores", "report"]
OUT = Path("run")


def submit(fake: Slurm, text: str = FLOW) -> dict[str, str]:
    return submit_chain(fake.flow(text), OUT, fake.folder)


def states(fake: Slurm) -> dict[str, str]:
    return {step.name: str(step.state) for step in run_status(fake.run).steps}


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if done.exception:
        raise done.exception
    return done.stdout


def test_each_step_is_a_job_that_waits_for_what_it_needs(fake: Slurm) -> None:
    numbers = submit(fake)
    assert list(numbers) == ORDER
    options = fake.submitted()
    assert options["corpus"] == "--parsable --kill-on-invalid-dep=yes"
    waits = f"--dependency=afterok:{numbers['tasks']}:{numbers['base']}"
    assert options["cpt"] == f"--parsable {waits} --kill-on-invalid-dep=yes"
    beside = f"after:{numbers['cpt']},{waits.removeprefix('--dependency=')}"
    assert options["hf"] == f"--parsable --dependency={beside} --kill-on-invalid-dep=yes"
    beside = beside.replace("after:", f"after:{numbers['hf']}:", 1)
    assert options["proxy"] == f"--parsable --dependency={beside} --kill-on-invalid-dep=yes"
    waits = f"--dependency=afterok:{numbers['merge']}:{numbers['proxy']}"
    assert options["scores"] == f"--parsable {waits} --kill-on-invalid-dep=yes"
    assert {name: job.number for name, job in read_jobs(fake.run).items()} == numbers
    assert read_request(fake.run) == fake.flow().request


def test_a_script_names_its_command_its_log_and_its_notes(fake: Slurm) -> None:
    numbers = submit(fake)
    script = (fake.folder / f"script-{numbers['corpus']}").read_text()
    assert f"    pdapt run --out {fake.run} --step corpus &\n" in script
    assert f"#SBATCH --chdir={fake.folder}\n#SBATCH --output={fake.run}/slurm/logs/%x-%j.out\n" in script
    assert f"\nJOBS={fake.run}/slurm/corpus\n" in script
    training = (fake.folder / f"script-{numbers['cpt']}").read_text()
    recipe = fake.run / "slurm/recipes/cpt.yaml"
    words = f"pdapt train {recipe} --tokens {fake.run}/tokens --out {fake.run}/cpt --base {fake.run}/base/checkpoints"
    assert f"    {words} &\n" in training
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=1\n" in training
    assert "steps: 4\n" in recipe.read_text()
    assert "medical-*" in recipe.read_text(), "the domain's part of the text"


def test_the_printed_script_submits_the_same_jobs_without_pdapt(fake: Slurm) -> None:
    submit(fake)
    mine = {name: (fake.submitted()[name], (fake.folder / f"script-{n}").read_text()) for name, n in numbers_of(fake)}
    record = [line.split("\t")[0] for line in (fake.run / "slurm" / JOBS_FILE).read_text().splitlines()]
    request = (fake.run / "request.json").read_text()
    recipes = {path.name: path.read_text() for path in fake.run.glob("slurm/recipes/*")}
    for path in (*fake.folder.glob("script-*"), fake.folder / "queue", fake.folder / "number"):
        path.unlink()
    shutil.rmtree(fake.run)
    printed = invoke("launch", "flow.yaml", "--on", "slurm", "--out", "run", "--print")
    assert not fake.run.exists()
    fake.bash(printed)
    theirs = {name: (fake.submitted()[name], (fake.folder / f"script-{n}").read_text()) for name, n in numbers_of(fake)}
    assert set(mine) == set(theirs) == set(ORDER)
    for name, (options, script) in theirs.items():
        assert sorted(options.split()) == sorted(mine[name][0].split())
        assert script == mine[name][1].rstrip("\n") + "\n"
    assert [line.split("\t")[0] for line in (fake.run / "slurm" / JOBS_FILE).read_text().splitlines()] == record
    assert (fake.run / "request.json").read_text() == request
    assert {path.name: path.read_text() for path in fake.run.glob("slurm/recipes/*")} == recipes
    assert states(fake)["corpus"] == "waiting", "the state of what it submitted is known, too"


def numbers_of(fake: Slurm) -> list[tuple[str, str]]:
    numbers = [path.name.removeprefix("script-") for path in sorted(fake.folder.glob("script-*"))]
    return [(fake.name(number), number) for number in numbers]


def test_steps_that_are_done_or_in_the_queue_are_not_submitted_again(fake: Slurm) -> None:
    numbers = submit(fake)
    fake.finish("corpus", "tokenizer")
    assert submit(fake) == {name: numbers[name] for name in ORDER[2:]}
    assert len(list(fake.folder.glob("script-*"))) == len(ORDER)
    fake.finish(*ORDER)
    assert submit(fake) == {}
    assert invoke("launch", "flow.yaml", "--on", "slurm", "--out", "run") == "every step is done\n"


def test_a_step_whose_job_ends_while_it_is_launched_again_is_not_submitted_twice(
    fake: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not done when the steps are looked at, and no longer in the queue when that is asked."""
    numbers = submit(fake)
    asked = slurm_queue.slurm

    def end_first(command: list[str], *given: str, **options: str) -> str:
        if command[0] == "squeue":
            fake.finish("corpus")
        return asked(command, *given, **options)

    monkeypatch.setattr(slurm_queue, "slurm", end_first)
    assert submit(fake) == {name: numbers[name] for name in ORDER[1:]}
    assert len(list(fake.folder.glob("script-*"))) == len(ORDER)


def test_a_job_that_was_submitted_and_not_noted_is_known_by_its_name(fake: Slurm) -> None:
    """A kill between sbatch and the note, and one within the note."""
    numbers = submit(fake)
    path = fake.run / "slurm" / JOBS_FILE
    lines = path.read_text().splitlines(keepends=True)
    fake.write([row for row in fake.queue() if row[0].split(".")[0] in ORDER[:5]])
    for left in ("".join(lines[:4]), "".join(lines[:4]) + lines[4][:9]):
        path.write_text(left)
        again = submit(fake)
        assert {name: again[name] for name in ORDER[:5]} == {name: numbers[name] for name in ORDER[:5]}
        assert read_jobs(fake.run)["base"].number == numbers["base"]
        fake.write([row for row in fake.queue() if row[0].split(".")[0] in ORDER[:5]])
    assert f"afterok:{numbers['tasks']}:{numbers['base']} " in fake.submitted()["cpt"]


def test_a_job_that_waits_for_one_that_has_ended_is_submitted_anew(fake: Slurm) -> None:
    """Slurm takes a moment to cancel what waits for a job that has failed."""
    numbers = submit(fake)
    fake.write([row for row in fake.queue() if not row[0].startswith("corpus")])
    again = submit(fake)
    assert again["base"] != numbers["base"], "it needs the tokens"
    assert not set(again.values()) & set(numbers.values())
    assert sorted(row[1] for row in fake.queue()) == sorted(again.values())


def test_a_job_that_slurm_does_not_take_is_said_and_those_before_it_stay_known(fake: Slurm) -> None:
    (fake.folder / "refuse").touch()
    with pytest.raises(UserError, match="sbatch refused the job: sbatch: error: invalid partition"):
        submit(fake)
    assert read_jobs(fake.run) == {}
    (fake.folder / "refuse").unlink()
    assert list(submit(fake)) == ORDER


def test_what_cannot_run_is_refused_before_the_queue(fake: Slurm) -> None:
    for text, message in (
        (FLOW.replace("domain: medical", "domain: medical, paths: [gone.jsonl]"), "no such file or folder: gone.jsonl"),
        (FLOW.replace("domain: medical", "domain: Médical"), "cannot name the domain"),
        (FLOW.replace("steps=4", "steps=-4"), "steps"),
        (FLOW.replace("local_cpu", "nowhere"), "no site is called 'nowhere'"),
        (FLOW + "base: gone\n", "gone"),
        ("data: {domain: medical}\nbase: base\n", "the recipe that pdapt fits to the text is for one machine"),
    ):
        with pytest.raises(UserError, match=message):
            submit(fake, text)
    (fake.folder / "a folder").mkdir()
    with pytest.raises(UserError, match=r"--out is '.*a folder"):
        submit_chain(fake.flow(), Path("a folder/run"), fake.folder)
    assert not fake.queue()
    assert not fake.run.exists()


def test_once_training_began_another_text_is_refused_and_other_nodes_are_not(fake: Slurm) -> None:
    submit(fake)
    (fake.run / "cpt").mkdir()
    (fake.run / "cpt/run.json").write_text("{}")
    with pytest.raises(UserError, match="--domain: medical then, clinical now"):
        submit(fake, FLOW.replace("medical", "clinical"))
    with pytest.raises(UserError, match="KEY=VALUE"):
        submit(fake, FLOW.replace("steps=4", "steps=5"))
    fake.write([])
    assert list(submit(fake, FLOW.replace("nodes=2", "nodes=1"))) == ORDER


def test_cpu_steps_go_to_the_sites_cpu_nodes_and_scores_ask_for_a_gpu(fake: Slurm) -> None:
    site = "title: a cluster\nlongest: '20:00:00'\npartition: gpu\ngpus_per_node: 4\ncpus_per_rank: 24\n"
    site += "account_ends: '@gpu'\ncpu: {partition: prepost, account: lab@cpu, cores: 8, longest: '3:00:00'}\n"
    (fake.folder / "site.yaml").write_text(site)
    values = "parallel.ranks_per_node=2, batch.micro_size=2, job.account=lab@gpu"
    fake.flow(FLOW.replace("local_cpu", "site.yaml").replace("parallel.ranks_per_node=1", values))
    recipe = fake.folder / "mine.yaml"
    recipe.write_text(to_yaml(load("qwen3_tiny_cpt_2xcpu")))
    text = (fake.folder / "flow.yaml").read_text().replace("qwen3_tiny_cpt_2xcpu", "mine.yaml")
    numbers = submit_chain(fake.flow(text), OUT, fake.folder)
    scripts = {name: (fake.folder / f"script-{number}").read_text() for name, number in numbers.items()}
    cpu, gpu = "#SBATCH --partition=prepost\n#SBATCH --account=lab@cpu\n", "#SBATCH --gpus-per-node="
    for name in ("corpus", "tokens", "hf", "merge", "report"):
        assert cpu in scripts[name], name
        assert "#SBATCH --cpus-per-task=8\n" in scripts[name]
        assert gpu not in scripts[name]
    assert "#SBATCH --time=3:00:00\n" in scripts["corpus"]
    assert "#SBATCH --time=1:00:00\n" in scripts["report"]
    assert "#SBATCH --gpus-per-node=1\n" in scripts["scores"]
    assert "#SBATCH --gpus-per-node=2\n" in scripts["cpt"]
    assert "#SBATCH --partition=gpu\n#SBATCH --account=lab@gpu\n" in scripts["cpt"]
    (fake.folder / "data").mkdir()
    text += "evaluation: {data: data, tasks: [FR-MEDICAL]}\nmerge: {t: [0.3, 0.6]}\n"
    fake.write([])
    *_, said = sentences(plan_chain(fake.flow(text), OUT, fake.folder))
    parts = len(choose_tasks(["FR-MEDICAL"]))
    assert said == (
        f"in addition, up to {60 + 20 * parts} GPU-hours by the jobs' time limits: "
        f"proxy 20, choose 20, scores 20, benchmark {20 * parts}"
    )


def test_tasks_are_an_array_of_which_only_what_is_left_is_submitted(fake: Slurm) -> None:
    (fake.folder / "data").mkdir()
    text = FLOW + "evaluation: {data: data, tasks: [FR-MEDICAL]}\n"
    numbers = submit(fake, text)
    assert list(numbers) == [*ORDER, "contamination", "benchmark", "comparison"]
    script = (fake.folder / f"script-{numbers['benchmark']}").read_text()
    request = read_request(fake.run)
    step = next(step for step in flow_steps(request) if step.name == "benchmark")
    assert f"#SBATCH --array={','.join(map(str, range(step.parts)))}\n" in script
    assert "/slurm/logs/%x-%A_%a.out\n" in script
    assert f'\nJOBS={fake.run}/slurm/benchmark\nJOBS="$JOBS/$SLURM_ARRAY_TASK_ID"\n' in script
    waited_for = f"afterok:{numbers['contamination']}:{numbers['benchmark']} "
    assert waited_for in fake.submitted()["comparison"]
    assert f"afterok:{numbers['corpus']} " in fake.submitted()["contamination"], "it does not wait for training"

    fake.finish(*ORDER, "contamination")
    for part in range(step.parts):
        if part not in (2, 4):
            write_done(step, request, fake.run, part)
    name, (first, *_) = job_name("benchmark", fake.run), fake.queue()
    assert first[0] == name
    fake.write([[name, f"{first[1]}_[4]", "PENDING", "Resources", ""], [name, f"{first[1]}_2", "RUNNING", "None", ""]])
    shown = run_status(fake.run).steps[-2]
    assert (shown.state, shown.job) == (StepState.RUNNING, numbers["benchmark"])
    assert shown.reason == f"{step.parts - 2} of {step.parts} done"

    fake.write([])
    notes = notes_folder(fake.run, "benchmark") / "4"
    notes.mkdir(parents=True)
    (notes / "history.tsv").write_text(f"now\t{numbers['benchmark']}.0\t1\tnone\tgiven up\n")
    log_file(fake.run, "benchmark", f"{numbers['benchmark']}_4").write_text("pdapt: lm-eval failed\n")
    assert run_status(fake.run).stopped == "benchmark has failed: lm-eval failed; comparison cancelled"
    assert invoke("logs", "run", "benchmark") == "pdapt: lm-eval failed\n"
    again = submit(fake, text)
    assert list(again) == ["benchmark", "comparison"]
    assert "#SBATCH --array=2,4\n" in (fake.folder / f"script-{again['benchmark']}").read_text()


def test_the_status_says_how_each_step_stands(fake: Slurm) -> None:
    submit(fake)
    fake.finish("corpus", "tokenizer")
    rows = fake.queue()
    rows[0][2:4] = ["RUNNING", "None"]
    fake.write(rows)
    assert list(states(fake).values()) == ["done", "done", "running"] + 8 * ["waiting"]
    assert run_status(fake.run).stopped == ""
    shown = json.loads(invoke("status", "run", "--json"))
    assert shown["steps"][3] == {
        "name": "tasks",
        "state": "waiting",
        "job": "104",
        "reason": "Dependency",
        "progress": None,
    }
    assert "tasks" in invoke("status", "run")


def test_the_status_says_why_a_chain_has_stopped(fake: Slurm) -> None:
    numbers = submit(fake)
    fake.finish("corpus")
    fake.write([row for row in fake.queue() if row[0].startswith("base")])
    notes = notes_folder(fake.run, "tokenizer")
    notes.mkdir()
    (notes / "history.tsv").write_text(f"now\t{numbers['tokenizer']}.0\t2\tnone\ta mistake to correct\n")
    log = log_file(fake.run, "tokenizer", numbers["tokenizer"])
    log.write_text("[ 1.0 s] loading\npdapt: an old one\npdapt: too little text\n  where: here\n")
    shown = run_status(fake.run)
    assert {step.name: str(step.state) for step in shown.steps} == (
        {"corpus": "done", "tokenizer": "failed", "base": "waiting"}
        | dict.fromkeys(["tokens", "tasks", "cpt", "hf", "proxy", "merge", "scores", "report"], "cancelled")
    )
    assert shown.stopped.startswith("tokenizer has failed: too little text; tokens, tasks, cpt")
    assert "Stopped: tokenizer has failed" in invoke("status", "run")
    assert invoke("logs", "run", "tokenizer", "--lines", 2) == "pdapt: too little text\n  where: here\n"
    for name, message in (("tokens", "has not written anything yet"), ("token", "did you mean 'tokens'")):
        with pytest.raises(UserError, match=message):
            invoke("logs", "run", name)


def test_a_job_that_a_guard_has_ended_is_shown_as_held_with_its_reason(fake: Slurm) -> None:
    submit(fake)
    rows = [row for row in fake.queue() if not row[0].startswith(tuple(ORDER[:5]))]
    rows[0][2:] = ["PENDING", "job_requeued_in_held_state", "pdapt: loss nan | or so"]
    fake.finish(*ORDER[:5])
    fake.write(rows)
    shown = run_status(fake.run)
    assert shown.steps[5].state == StepState.HELD
    assert shown.stopped == "cpt is held: pdapt: loss nan | or so"


def test_a_job_that_left_no_word_is_not_taken_for_one_that_goes_on(fake: Slurm) -> None:
    numbers = submit(fake)
    fake.write([])
    log_file(fake.run, "corpus", numbers["corpus"]).touch()
    assert states(fake)["corpus"] == "failed"
    assert "without a note" in run_status(fake.run).stopped


@pytest.mark.slow
def test_a_slurm_that_does_not_answer_is_said_and_nothing_hangs(fake: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(fake)
    fake.finish("corpus")
    (fake.folder / "silent").touch()
    monkeypatch.setattr(slurm_queue, "PATIENCE", 0.2)
    shown = run_status(fake.run)
    assert [str(step.state) for step in shown.steps[:3]] == ["done", "unknown", "unknown"]
    assert shown.slurm == "squeue has not answered for 0.2 s: nothing is known of the jobs"
    with pytest.raises(SlurmSilent, match="has not answered"):
        invoke("cancel", "run")
    with pytest.raises(SlurmSilent, match="has not answered"):
        submit(fake)


def test_a_run_is_cancelled_and_launched_again(fake: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = submit(fake)
    fake.finish("corpus")
    assert json.loads(invoke("cancel", "run", "--json"))["cancelled"] == {name: numbers[name] for name in ORDER[1:]}
    assert fake.queue() == []
    assert set(states(fake).values()) == {"done", "cancelled"}
    assert run_status(fake.run).stopped == "tokenizer was cancelled: by pdapt cancel"
    assert invoke("cancel", "run") == "no job of this run is queued\n"
    parts = [["pdapt-sign", "7", "PENDING", "None", f"{fake.run}/.corpus.partial/tasks/logs"]]
    others = [["pdapt-sign", "8", "RUNNING", "None", f"{fake.run}2/.corpus.partial/tasks/logs"]]
    fake.write([*parts, *others])
    cancel_run(fake.run)
    assert fake.queue() == others, "jobs that work on parts of a step of this run"
    assert "1 job on parts of a step: 7" in capsys.readouterr().err
    again = submit(fake)
    assert list(again) == ORDER[1:]
    assert not set(again.values()) & set(numbers.values())
    assert states(fake)["tokens"] == "waiting"


def test_a_run_of_this_machine_has_a_status_too(fake: Slurm) -> None:
    write_request(fake.flow().request, fake.run)
    fake.finish("corpus")
    shown = run_status(fake.run)
    assert [str(step.state) for step in shown.steps] == ["done"] + 10 * ["left"]
    assert (shown.stopped, shown.slurm) == ("", "")
    with pytest.raises(UserError, match="has no job, and no log"):
        invoke("logs", "run", "corpus")
    (fake.run / "cpt").mkdir()
    (fake.run / "cpt/train.log").write_text("[ 1.0 s] loading\nstep 1\n")
    assert invoke("logs", "run", "cpt", "--lines", 1) == "step 1\n"


def test_what_is_no_run_is_refused(fake: Slurm) -> None:
    for verb in (["status"], ["cancel"], ["logs"]):
        with pytest.raises(UserError, match="request"):
            invoke(*verb, "elsewhere", *(["corpus"] if verb == ["logs"] else []))
    with pytest.raises(UserError, match="only --out, --site and --print"):
        invoke("launch", "flow.yaml", "steps=3", "--on", "slurm")
    with pytest.raises(UserError, match="no place to run a flow is called 'lsf'"):
        invoke("launch", "flow.yaml", "--on", "lsf")


def test_fuzz_jobs(fuzz: Callable[..., None], fake: Slurm) -> None:
    submit(fake)
    fuzz(fake.run / "slurm" / JOBS_FILE, lambda: read_jobs(fake.run))


def test_fuzz_progress(fuzz: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"recipe": {"steps": 4}}))
    fuzz(tmp_path / "run.json", lambda: training_progress(tmp_path))


def test_damaged_notes_and_logs_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    (tmp_path / "history.tsv").write_bytes(b"now\t7.0\t2\tnone\ta mis\xff\xff\nnow\t7.1\t0")
    assert read_ends(tmp_path) == [("7.0", "2", "a mis\ufffd\ufffd")]
    (tmp_path / "log").write_bytes(b"\xff\xfe\npdapt: wrong \xff\n")
    assert first_error(tmp_path / "log") == "wrong \ufffd"
    assert first_error(tmp_path / "gone") == ""
