"""A chat template that is faulty or does not end is refused before the first task."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pdapt.core.errors import UserError
from pdapt.core.hf import chat_rendering
from pdapt.core.hf.chat_rendering import SlowTemplateError, bounded
from pdapt.eval.harness.chat_template import check_rendering

SOUND = "{% for m in messages %}{{ m.role }}\n{{ m.content }}\n{% endfor %}"
WRONG = {
    "syntax": (SOUND + "\n{% if %}", r"fails in line 4: TemplateSyntaxError"),
    "error": (SOUND + "\n\n{{ messages[7].content.strip() }}", r"fails in line 5: UndefinedError"),
    "refusal": ("{{ raise_exception('no examples') }}", r"fails in line 1: TemplateError: no examples"),
    "endless": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        r"takes more than 5 s of CPU",
    ),
    "memory": ("{{ 'a' * 10 ** 11 }}", r"takes more than 2 GiB of memory"),
}


def test_a_prompt_on_which_a_template_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time depends on the prompt: those that were tried before the first task are short."""
    text = "{% for a in m %}{% for b in m %}{% for c in m %}{% endfor %}{% endfor %}{% endfor %}{{ m | length }}"
    monkeypatch.setattr(chat_rendering, "SECONDS", 0.3)
    before = signal.getsignal(signal.SIGPROF)
    render = bounded(ImmutableSandboxedEnvironment().from_string(text).render)
    assert render(m="a" * 10) == "10"
    begin = time.process_time()
    with pytest.raises(SlowTemplateError, match=r"takes more than 0\.3 s of CPU for a prompt of this task"):
        render(m="a" * 5000)
    assert time.process_time() - begin < 10, "by itself it takes an hour"
    assert render(m="a" * 3) == "3"
    assert signal.getsignal(signal.SIGPROF) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


@pytest.mark.slow
def test_templates_that_fail_or_never_end_are_refused_with_their_line(
    tiny_qwen3: Callable[..., Path],
) -> None:
    folder = tiny_qwen3()
    template = folder / "chat_template.jinja"
    template.write_text(SOUND)
    check_rendering({"m": folder})
    for content, message in WRONG.values():
        template.write_text(content)
        with pytest.raises(UserError, match=f"m's chat template {message}"):
            check_rendering({"m": folder})
    template.write_text(SOUND)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="m's chat template cannot be rendered: "):
        check_rendering({"m": folder})
