"""Chat templates are rendered in a process that ends what would not, and goes on with the next."""

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from pdapt.core.hf import chat_rendering
from pdapt.core.hf.chat_rendering import JinjaTemplate, TemplateFault, render

SOUND = JinjaTemplate("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ mark }}{% endfor %}", {"mark": "\n"})
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def chat(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def in_a_fork(content: str) -> list[str]:
    return render([chat(content)], SOUND)


def test_threads_and_forks_get_their_own_texts() -> None:
    with ThreadPoolExecutor(4) as threads:
        every = [*threads.map(lambda n: render([chat(f"{n}é\0"), chat("b")], SOUND), range(40))]
    assert every == [[f"user: {n}é\0\n", "user: b\n"] for n in range(40)]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.apply_async(in_a_fork, ("there",))
        assert in_a_fork("here") == ["user: here\n"]
        assert there.get(60) == ["user: there\n"]


def test_what_does_not_end_is_ended_and_the_next_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_rendering, "SECONDS", 0.3)
    for source, at, message in (
        ("{% if messages[0].content == 'b' %}" + ENDLESS + "{% endif %}", 1, r"takes more than 0\.3 s of CPU"),
        ("{% if messages[0].content == 'b' %}\n{{ 'a' * 10 ** 11 }}{% endif %}", 1, "takes more than 2 GiB of memory"),
        ("\n{{ messages[7].content.strip() }}", 0, "fails in line 2: UndefinedError"),
    ):
        with pytest.raises(TemplateFault, match=message) as fault:
            render([chat("a"), chat("b")], JinjaTemplate(source, {}))
        assert fault.value.at == at
        assert render([chat("c")], SOUND) == ["user: c\n"]


@pytest.mark.slow
def test_a_template_that_never_comes_back_to_python_is_ended_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal's handler is called within one long operation."""
    monkeypatch.setattr(chat_rendering, "SECONDS", 0.1)
    slow = JinjaTemplate("{{ 7 ** (9 ** 9) % 5 }}", {})
    with pytest.raises(TemplateFault, match=r"takes more than 0\.1 s of CPU") as fault:
        render([chat("a")], slow)
    assert fault.value.at is None
    assert render([chat("c")], SOUND) == ["user: c\n"]


@pytest.mark.slow
def test_a_process_that_is_killed_is_said_and_another_started() -> None:
    assert render([chat("a")], SOUND) == ["user: a\n"]
    process = chat_rendering._RENDERER.start()
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGKILL)
    with suppress(TemplateFault):  # where it is not seen to be dead before it is asked
        render([chat("a")], SOUND)
    assert render([chat("c")], SOUND) == ["user: c\n"]
