"""A chain whose submitting process is killed: where that is, and what a job too many means; with another sbatch."""

import signal
import subprocess
from pathlib import Path

import pytest

from pdapt.core.errors import Failed
from pdapt.launch.drills import killed_submitter
from pdapt.launch.drills.killed_submitter import TinyChain
from pdapt.launch.drills.tiny_flow import TinyFlow

SLURM = """\
#!/bin/bash
[ ! -e {folder}/refuse ] || exit 1
cat >>{folder}/scripts
echo $((100 + $(wc -l <{folder}/scripts)))
"""


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyChain:
    """A chain before its first launch, and an sbatch that takes each job."""
    sbatch = tmp_path / "slurm" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(SLURM.format(folder=tmp_path))
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(sbatch.parent), prepend=":")
    monkeypatch.setattr(TinyFlow, "make", lambda flow: flow.folder.mkdir(exist_ok=True))
    chain = TinyChain(TinyFlow(tmp_path / "a flow"), tmp_path / "a chain", "local_cpu")
    chain.folder.mkdir()
    chain.make()
    return chain


def submit(chain: TinyChain, moment: str) -> tuple[int, list[str]]:
    """Submit three jobs; the code of the process that does, and the numbers that it was told."""
    script = f"for job in 1 2 3; do '{chain.write_stand_in(moment)}' --parsable <<<job; done"
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize(
    ("moment", "told", "taken"),
    [("before 3", ["101", "102"], ["101", "102"]), ("after 2", ["101"], ["101", "102"])],
)
def test_it_is_killed_between_jobs_or_before_it_knows_of_one(
    chain: TinyChain, moment: str, told: list[str], taken: list[str]
) -> None:
    assert submit(chain, moment) == (-signal.SIGKILL, told)
    assert chain.taken() == taken
    assert submit(chain, "never") == (0, ["103", "104", "105"]), "counted from the first launch on"


def test_a_job_that_slurm_does_not_take_is_not_counted(chain: TinyChain) -> None:
    (chain.folder.parent / "refuse").touch()
    assert submit(chain, "after 1") == (1, [])
    assert chain.taken() == []


def test_a_job_too_many_or_too_few_fails_the_drill(chain: TinyChain, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [step.name for step in chain.steps]
    assert (steps[0], steps[-1]) == ("corpus", "report")
    moments, extra = list[str](), [1, -1, 0]

    def launch(chain: TinyChain, moment: str = "never") -> None:
        moments.append(moment)
        jobs = len(steps) + extra.pop(0) if moment == "never" else 0
        (chain.folder / "taken.txt").write_text("".join(f"{number}\n" for number in range(jobs)))

    monkeypatch.setattr(TinyChain, "launch", launch)
    monkeypatch.setattr(TinyChain, "finish", lambda _: {"score": "1"})
    for _ in range(2):
        with pytest.raises(Failed, match=r"the jobs 0, 1, .* were submitted for the steps corpus, "):
            killed_submitter.killed_submitter(chain.flow, chain.folder, chain.site)
    results, notes = killed_submitter.killed_submitter(chain.flow, chain.folder, chain.site)
    assert results == {"score": "1"}
    assert notes.endswith(f"after the last was taken; {len(steps)} jobs, one for each step")
    assert moments[-4:] == ["before 3", "after 5", f"after {len(steps)}", "never"]


def test_a_launch_that_ends_by_itself_where_it_was_to_be_killed_fails_the_drill(chain: TinyChain) -> None:
    (chain.flow.folder / "chain.yaml").write_text("domain: [\n")
    with pytest.raises(Failed, match=r"to be killed before 3 ended with 2: .*chain\.yaml"):
        chain.launch("before 3")
