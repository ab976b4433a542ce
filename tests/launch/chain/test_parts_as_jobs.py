"""Parts of a chain's text as arrays of Slurm jobs."""

from pathlib import Path

import pytest
from slurm_stand_ins import FLOW, Slurm

from pdapt.core.errors import UserError
from pdapt.launch.chain.submit import plan_chain, submit_chain

OUT = Path("run")


def test_parts_of_the_text_are_jobs_of_the_steps_that_work_on_them(fake: Slurm) -> None:
    site = "title: a cluster\nlongest: '20:00:00'\ngpus_per_node: 0\n"
    site += "cpu: {partition: prepost, account: lab@cpu, longest: '3:00:00'}\n"
    (fake.folder / "site.yaml").write_text(site)
    text = FLOW.replace("local_cpu", "site.yaml").replace("{domain: medical}", "{domain: medical, parts: 8, jobs: 4}")
    numbers = submit_chain(fake.flow(text), OUT, fake.folder)
    options = "--workers 4 --slurm=time=3:00:00 --slurm=partition=prepost --slurm=account=lab@cpu"
    scripts = {name: (fake.folder / f"script-{number}").read_text() for name, number in numbers.items()}
    assert {name for name, script in scripts.items() if options in script} == {"corpus", "tokens"}
    assert {name for name, script in scripts.items() if "--workers" in script} == {"corpus", "tokens"}
    (fake.folder / "site.yaml").write_text(site + "container: {runtime: apptainer, image: pdapt.sif}\n")
    with pytest.raises(UserError, match="from within the site's container"):
        plan_chain(fake.flow(text), OUT, fake.folder)
    with pytest.raises(UserError, match="jobs is 4"):
        plan_chain(fake.flow(text.replace("parts: 8, ", "")), OUT, fake.folder)
