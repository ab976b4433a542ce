"""Stand-ins for Slurm's commands, which keep a queue in a folder, and a flow of the embedded sample."""

import subprocess
from pathlib import Path

from pdapt.core.manifest import Manifest
from pdapt.launch.chain.flow_file import Flow, read_flow
from pdapt.launch.request import read_request
from pdapt.launch.steps import flow_steps, write_done

COMMANDS = {
    "sbatch": """\
[ ! -e refuse ] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
number=$(($(cat number 2>/dev/null || echo 100) + 1))
echo $number >number
cat >script-$number
echo "$@" >options-$number
echo "$(sed -n 's/^#SBATCH --job-name=//p' script-$number)|$number|PENDING|Dependency|(null)" >>queue
echo "$number;two"
""",
    "squeue": """\
[ ! -e silent ] || exec sleep 60
[ -e queue ] || exit 0
asked="$*"
names=${asked##*--name=}
case "$*" in *'%A|%k'*) cut -d '|' -f 2,5 queue ;; *) grep -E "^(${names//,/|})[|]" queue || true ;; esac
""",
    "scancel": 'for number in "$@"; do sed -i "/|$number|/d" queue; done\n',
}
FLOW = """\
title: A tiny chain
data: {domain: medical}
recipe:
  name: qwen3_tiny_cpt_2xcpu
  values: [steps=4, parallel.nodes=2, parallel.ranks_per_node=1]
site: local_cpu
"""


class Slurm:
    """A folder in which stand-ins keep the queue."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"

    def queue(self) -> list[list[str]]:
        path = self.folder / "queue"
        return [line.split("|") for line in path.read_text().splitlines()] if path.exists() else []

    def write(self, rows: list[list[str]]) -> None:
        (self.folder / "queue").write_text("".join("|".join(row) + "\n" for row in rows))

    def finish(self, *names: str) -> None:
        """Leave what steps leave, and take their jobs out of the queue."""
        request = read_request(self.run)
        for step in flow_steps(request):
            if step.name in names:
                for folder in step.outputs:
                    (self.run / folder).mkdir(parents=True, exist_ok=True)
                    Manifest("stage", {}, {}, {}, {}).write(self.run / folder)
                for part in range(step.parts):
                    write_done(step, request, self.run, part)
        self.write([row for row in self.queue() if row[0].split(".")[0] not in names])

    def submitted(self) -> dict[str, str]:
        """Step -> options that its newest job was submitted with."""
        paths = sorted(self.folder.glob("script-*"))
        names = [self.name(path.name.removeprefix("script-")) for path in paths]
        numbers = [path.name.removeprefix("script-") for path in paths]
        return {
            name: (self.folder / f"options-{number}").read_text().strip()
            for name, number in zip(names, numbers, strict=True)
        }

    def name(self, number: str) -> str:
        script = (self.folder / f"script-{number}").read_text()
        return script.partition("--job-name=")[2].partition(".")[0]

    def flow(self, text: str = FLOW) -> Flow:
        (self.folder / "flow.yaml").write_text(text)
        return read_flow(self.folder / "flow.yaml")

    def bash(self, script: str) -> str:
        done = subprocess.run(["bash"], input=script, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
