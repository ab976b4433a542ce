"""Writes the tables of predicted speeds into the documentation: `python -m pdapt.launch.planning.speed_tables`.

A table stands between a comment with its name and a comment that ends it. A test compares each with what is computed.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import fill

from ...core.files import write_text
from ...core.gpus import GIB
from ...core.qwen3 import SIZES
from ...recipes.filling import filling
from ...recipes.load import load
from ...recipes.memory import of_gpu
from ...recipes.published_recipes import RUNS
from ...scaling.constants import read_fit
from ...scaling.predict_run import Site, predict_run
from ..slurm_site import read_site, speed_path
from .compare_recipes import FSDP_PADDED, compare
from .compare_recipes import lines as compare_lines
from .scale_tables import WIDTH, batch_table, growth_table, long_table, reach_lines

DOCS = Path(__file__).parents[2] / "docs"
JEAN_ZAY = "jean_zay_h100"
SCALING_PAGE = "scaling.md"
COMMAND = "python -m pdapt.launch.planning.speed_tables"


def recipes_table() -> Iterator[str]:
    """The published recipes on 48 GPUs, as Markdown lines: as NVIDIA's clusters are, and as Jean Zay measured."""
    constants, there = read_fit().constants, read_fit(speed_path(JEAN_ZAY))
    low, high = there.interval
    yield (
        "| size | layout | micro-batch | gradients | memory | step | tokens/s/GPU | MFU | run | GPU-hours | kWh "
        "| step with one card per node | step on Jean Zay | GPU-hours there |"
    )
    yield "|---" * 14 + "|"
    for size in SIZES:
        for layout in sorted(RUNS):
            recipe = load(f"qwen3_{size}_cpt_48xh100_{layout}")
            slots = filling(recipe, None)
            run, slow = (predict_run(recipe, slots, site, constants) for site in (Site(), Site(nics=1)))
            far = predict_run(recipe, slots, read_site(JEAN_ZAY).machines(), there.constants)
            yield (
                f"| {size.replace('p', '.').upper()} | {layout} | {recipe.batch.micro_size} | {recipe.optimizer.grads} "
                f"| {of_gpu(recipe).total / GIB:.1f} GiB | {run.step_seconds:.2f} s "
                f"| {run.tokens_per_second_per_gpu:,.0f} | {run.mfu:.1%} | {run.hours:.1f} h | {run.gpu_hours:,.0f} "
                f"| {run.kwh:,.0f} | {slow.step_seconds / run.step_seconds - 1:+.1%} "
                f"| {far.step_seconds:.2f} s ({far.step_seconds / high:.2f} to {far.step_seconds / low:.2f}) "
                f"| {far.gpu_hours:,.0f} |"
            )


def beside_fsdp() -> Iterator[str]:
    """The 8B recipe beside the paper's way, as the command prints it, in lines of the documents' width."""
    name = "qwen3_8b_cpt_48xh100_packed"
    yield f"```\n$ pdapt plan compare {name} --with {FSDP_PADDED}"
    for line in compare_lines(name, compare(load(name), FSDP_PADDED, None, site=Site())):
        words = line.lstrip()
        indent = line[: -len(words)]
        yield line if len(line) <= WIDTH else fill(words, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
    yield "```"


TABLES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "recipes": ("benchmarks.md", recipes_table),
    "comparison": ("planner.md", beside_fsdp),
    "reach": (SCALING_PAGE, reach_lines),
    "growth": (SCALING_PAGE, growth_table),
    "batches": (SCALING_PAGE, batch_table),
    "long sequences": (SCALING_PAGE, long_table),
}
"""Name of a table -> the page that has it, and what computes its lines."""


def replaced(text: str, name: str, lines: Iterator[str]) -> str:
    """A page with a table's lines in their place.

    Raises:
        ValueError: the page has no such place.
    """
    begin, end = f"<!-- table {name}: `{COMMAND}` writes it -->\n", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no place for the table {name!r}: {begin.strip()} ... {end}")
    table = "\n".join(lines)
    return pattern.sub(lambda _: f"{begin}\n{table}\n\n{end}", text)


def main() -> None:
    """Write all tables."""
    for name, (page, lines) in TABLES.items():
        path = DOCS / page
        write_text(path, replaced(path.read_text(encoding="utf-8"), name, lines()))


if __name__ == "__main__":
    main()
