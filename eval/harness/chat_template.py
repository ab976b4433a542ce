"""Check that a model's chat template renders, before the first task and in a process that can be ended.

A template is a program that came with the model. transformers runs it in a sandbox, which keeps it from the system but
neither from looping for ever nor from taking all memory.
"""

import json
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ...core.errors import UserError
from ...core.system.process import die_with_parent

SECONDS = 5
"""CPU time that a template may take for two short conversations; a sound one takes milliseconds."""
MEMORY = 2**31
"""Bytes that it may add to what its process has."""
_QUESTION = {"role": "user", "content": "What does insulin lower?"}
CONVERSATIONS = ([_QUESTION], [_QUESTION, {"role": "assistant", "content": "Blood sugar."}, _QUESTION])
"""As tasks ask: a question, and one after an example."""


def check_rendering(folders: dict[str, Path]) -> None:
    """Check that models' chat templates render what tasks ask.

    Args:
        folders: name of a model -> its folder.

    Raises:
        UserError: one is faulty, with its line, or takes too long or too much memory.
    """
    for name, folder in folders.items():
        wrong = _fault(folder)
        if wrong:
            raise UserError(
                f"{name}'s chat template {wrong}",
                where=str(folder),
                allowed=f"a template that renders a question within {SECONDS} s and {MEMORY / 2**30:.0f} GiB",
                fix="correct the template, or run the model by a command of its own, without --chat-template, into the "
                "same --out",
            )


class SlowTemplateError(Exception):
    """A template took too long for a prompt of a task."""


def bounded(render: Callable[..., str], what: str = "chat template") -> Callable[..., str]:
    """Render by a function that ends, whatever the prompt: to be called in a process's first thread.

    `check_rendering` cannot know the prompts of all tasks, and a template's time may depend on them; `what` it is.

    Raises:
        SlowTemplateError: by what is returned, where a prompt takes more than SECONDS of CPU time.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        raise SlowTemplateError(f"the {what} takes more than {SECONDS:g} s of CPU for a prompt of this task")

    @wraps(render)
    def within_limit(*arguments: Any, **options: Any) -> str:
        before = signal.signal(signal.SIGPROF, end)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            return render(*arguments, **options)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    return within_limit


def _fault(folder: Path) -> str:
    """Render in a process of its own; empty where all is well."""
    command = [sys.executable, "-m", "pdapt.eval.harness.chat_template", str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, preexec_fn=die_with_parent)
    if done.returncode == -signal.SIGXCPU:
        return f"takes more than {SECONDS} s of CPU for one question"
    if done.returncode < 0:
        return f"ends its process by {signal.Signals(-done.returncode).name}"
    if done.returncode:  # the tokenizer is at fault, or the limits were met outside of the template
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return f"cannot be rendered: {lines[-1] if lines else f'exit code {done.returncode}'}"
    return json.loads(done.stdout.splitlines()[-1])


def _render(folder: Path) -> str:
    """Words for what is wrong with a folder's template, within the limits that hold from here on."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    try:
        for conversation in CONVERSATIONS:
            tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    except MemoryError:
        return f"takes more than {MEMORY / 2**30:.0f} GiB of memory for one question"
    except Exception as error:  # a template can raise anything: it is told in its own words, with its line
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
        line = getattr(error, "lineno", None) or next(reversed(lines), None)
        return f"fails{f' in line {line}' if line else ''}: {type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    print(json.dumps(_render(Path(sys.argv[1]))))
