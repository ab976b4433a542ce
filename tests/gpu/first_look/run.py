"""The first look, step after step within twelve minutes: `run.py OUT [WORK]`.

`OUT/first_look.json` is written again after each part of a step, so that it is whole whenever the look is cut short,
and `OUT/first_look.txt` shows it to people. Its `rows` are what `pdapt plan fit OUT/first_look.json` reads.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from step import SLACK
from steps import STEPS
from table import lines

from pdapt.core.files import read_json, write_json, write_text
from pdapt.core.system.process import die_with_parent

ALL = 11.5 * 60
"""Seconds of the whole look; half a minute is left for what starts it."""
LEAST = 20.0
"""Seconds that have to be left for another step."""
MARGIN = 5.0
"""Seconds before its end that a step is told to be ready by."""
SCRIPT = Path(__file__).with_name("steps.py")
DONE, FAILED, CUT, LEFT_OUT = "done", "failed", "cut", "left out"


class Look:
    """The results so far, kept in `OUT`."""

    def __init__(self, out: Path, work: Path, script: Path = SCRIPT) -> None:
        """Begin.

        Args:
            out: folder for the results.
            work: folder that is thrown away.
            script: does a step: `NAME WORK SECONDS`.
        """
        self.out, self.work, self.script = out, work, script
        self.begin = time.monotonic()
        self.steps: list[dict[str, Any]] = []

    def run(self, bounds: dict[str, float], seconds: float = ALL) -> None:
        """Do every step for which there is time.

        Args:
            bounds: name of a step -> the most seconds that it may take, in their order.
            seconds: of all together.
        """
        for name, most in bounds.items():
            left = seconds - (time.monotonic() - self.begin)
            step = {"name": name, "state": LEFT_OUT, "seconds": 0.0, "result": None}
            self.steps.append(step)
            if left > LEAST:
                self._do(step, min(most, left))
            self.write()
            print(f"first look: {name}: {step['state']}, {step['seconds']:.0f} s", file=sys.stderr, flush=True)

    def _do(self, step: dict[str, Any], seconds: float) -> None:
        """One step in a process group of its own, which is killed where it takes too long."""
        found, log = self.work / f"{step['name']}.json", self.work / f"{step['name']}.log"
        command = [sys.executable, str(self.script), step["name"], str(self.work)]
        begin, seen = time.monotonic(), 0
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, str(seconds - MARGIN)],
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            while process.poll() is None and time.monotonic() - begin < seconds:
                time.sleep(0.25)
                changed = found.stat().st_mtime_ns if found.is_file() else 0
                if changed != seen:
                    seen, step["result"], step["state"] = changed, read_json(found), CUT
                    step["seconds"] = time.monotonic() - begin
                    self.write()
        step["state"] = CUT if process.returncode is None else FAILED if process.returncode else DONE
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        step["seconds"] = time.monotonic() - begin
        step["result"] = read_json(found) if found.is_file() else None
        if step["state"] != DONE:
            step["log"] = log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def write(self) -> None:
        """Write what there is."""
        found = {"seconds": time.monotonic() - self.begin, "steps": self.steps, "rows": self.rows()}
        write_json(self.out / "first_look.json", found)
        write_text(self.out / "first_look.txt", "\n".join(lines(found)) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The measured speeds of packed rows, as the planner reads them."""
        kinds = [step["result"] or [] for step in self.steps if step["name"] in ("speeds", "sweep")]
        return [one["row"] for found in kinds for one in found if one["row"]]


def main() -> None:
    """Look, and print the table."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as work:
        look = Look(out, Path(work))
        look.run({name: most * SLACK for name, (_, most) in STEPS.items()})
    print((out / "first_look.txt").read_text(encoding="utf-8"), end="")
    sys.exit(any(step["state"] == FAILED for step in look.steps))


if __name__ == "__main__":
    main()
