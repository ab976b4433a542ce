"""Rendering of chat templates in a process that can be ended, within limits of time and memory.

A template is a program that came with the model. transformers runs it in a sandbox, which protects the system, but
prevents neither endless loops nor the use of all memory.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

SECONDS = 5
"""Seconds of CPU time that a template may take for a conversation; a normal one takes milliseconds."""
MEMORY = 2**31
"""Bytes that a template may add to the memory of its process."""
Conversation = list[dict[str, Any]]


@dataclass(frozen=True)
class JinjaTemplate:
    """A template as text, and the tokens to which it may refer."""

    source: str
    named: dict[str, str]


class TemplateFault(Exception):
    """A template that cannot be rendered.

    Attributes:
        what: what is wrong, worded to follow "the chat template".
        at: number of the conversation, from 0, among those that were given; None if unknown.
    """

    def __init__(self, what: str, at: int | None = None) -> None:
        super().__init__(what)
        self.what, self.at = what, at


class SlowTemplateError(Exception):
    """A template took too long."""


def bounded(
    render: Callable[..., str], what: str = "chat template", seconds: float | None = None
) -> Callable[..., str]:
    """Wrap a rendering function so that each call ends: the result is to be called in a process's first thread.

    Args:
        render: the function.
        what: name of what renders, for the error.
        seconds: CPU time that a call may take; None for SECONDS.

    Raises:
        SlowTemplateError: raised by the returned function if a call takes longer.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        del number, frame
        raise SlowTemplateError(f"the {what} takes more than {seconds or SECONDS:g} s of CPU for a prompt of this task")

    @wraps(render)
    def within_limit(*arguments: Any, **options: Any) -> str:
        before = signal.signal(signal.SIGPROF, end)
        signal.setitimer(signal.ITIMER_PROF, seconds or SECONDS)
        try:
            return render(*arguments, **options)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)

    return within_limit


class _Renderer:
    """The process that renders for this one, started when it is first needed; threads take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._of = 0

    def start(self) -> subprocess.Popen[bytes]:
        # A fork inherits this process's pipes, but the answers in them are not meant for it.
        if self._process is None or self._of != os.getpid() or self._process.poll() is not None:
            command = [sys.executable, "-m", "pdapt.core.hf.chat_rendering"]
            quiet = os.environ | {"TRANSFORMERS_VERBOSITY": "error"}
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=quiet)
            self._of = os.getpid()
        return self._process

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            process = self.start()
            assert process.stdin, "a pipe"
            assert process.stdout, "a pipe"
            try:
                process.stdin.write(line)
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = b""
            if answer:
                return json.loads(answer)
            code = process.wait()
        if code == -signal.SIGXCPU:
            return {"fault": _too_long(request["seconds"]), "at": None}
        ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return {"fault": f"ends its process {ended}", "at": None}


_RENDERER = _Renderer()


def prepare() -> None:
    """Start the process that `render` uses, which takes seconds to load; otherwise `render` starts it."""
    _RENDERER.start()


def render(conversations: Sequence[Conversation], template: JinjaTemplate | Path, *, prompt: bool = False) -> list[str]:
    """Render conversations one by one, in a process beside this one.

    Args:
        conversations: conversations of messages, as transformers takes them.
        template: a template's text, or a Hugging Face folder whose tokenizer has a template.
        prompt: whether to append the beginning of an answer.

    Raises:
        TemplateFault: a conversation is refused, or takes more than SECONDS of CPU time or MEMORY.
    """
    request: dict[str, Any] = {"conversations": conversations, "prompt": prompt, "seconds": SECONDS, "memory": MEMORY}
    if isinstance(template, Path):
        request["folder"] = str(template)
    else:
        request |= {"source": template.source, "named": template.named}
    answer = _RENDERER.ask(request)
    if "fault" in answer:
        raise TemplateFault(answer["fault"], answer["at"])
    return answer["texts"]


def _too_long(seconds: float) -> str:
    return f"takes more than {seconds:g} s of CPU for one conversation"


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request with the texts, or with the fault: the other side of `_Renderer.ask`."""
    seconds, memory = request["seconds"], request["memory"]
    try:
        write = bounded(_writer(request), seconds=seconds)
    except Exception as error:  # a tokenizer can be damaged in any way
        return {"fault": f"cannot be rendered: {type(error).__name__}: {error}", "at": None}
    texts = []
    for at, conversation in enumerate(request["conversations"]):
        fault = ""
        _limit(seconds, memory)
        try:
            texts.append(write(conversation))
        except SlowTemplateError:
            fault = _too_long(seconds)
        except MemoryError:
            fault = f"takes more than {memory / 2**30:.0f} GiB of memory for one conversation"
        except Exception as error:  # a template can raise anything: report its own message, with its line
            fault = _told(error)
        finally:
            _limit(None, None)
        if fault:
            return {"fault": fault, "at": at}
    return {"texts": texts}


def _writer(request: dict[str, Any]) -> Callable[[Conversation], str]:
    """Make the function that renders one conversation."""
    prompt = request["prompt"]
    if "folder" in request:
        from transformers import AutoTokenizer

        folder = request["folder"]
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return lambda chat: tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)
    from transformers.utils.chat_template_utils import render_jinja_template

    def write(chat: Conversation) -> str:
        named, source = request["named"], request["source"]
        (text,), _ = render_jinja_template(
            conversations=[chat], chat_template=source, add_generation_prompt=prompt, **named
        )
        return text

    return write


def _told(error: Exception) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    line = getattr(error, "lineno", None) or next(reversed(lines), None)
    return f"fails{f' in line {line}' if line else ''}: {type(error).__name__}: {error}"


def _limit(seconds: float | None, memory: int | None) -> None:
    """Limit what this process may still use from now on, or lift the limits.

    The limit of CPU time is for a template that never returns to Python, where no signal handler is called.
    """
    used, (_, most) = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)
    cpu = most if seconds is None else int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, most))
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (most if memory is None else size + memory, most))


def _serve() -> None:
    """Answer requests, one per line, until the process that sends them ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is not an answer
    for line in sys.stdin.buffer:
        answers.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
