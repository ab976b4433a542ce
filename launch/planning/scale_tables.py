"""The tables of docs/scaling.md: Qwen3-8B and a Qwen3 of 32B's size on 48 to 16,384 GPUs, as the planner predicts.

`speed_tables.py` writes them. Each cell is what `pdapt plan recipe` chooses for that model, batch and number of GPUs,
or where the table says so, what `pdapt plan curves` gives: the recipe spread as it is, with more copies.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from textwrap import fill

from ...core.errors import UserError
from ...core.gpus import GIB
from ...data_prep.tokens.layouts import Layout
from ...recipes.filling import filling
from ...recipes.load import load
from ...recipes.schema import Recipe, masked, model_parallel, world_size
from ...scaling.constants import Extent, read_fit, read_reach
from ...scaling.curves import COUNTED
from ...scaling.predict_run import Run, Site, beyond, predict_run, work_of_recipe
from ...scaling.search import Choice, Settings, plan
from ...scaling.step_time import step_time

RECIPE = "qwen3_8b_cpt_48xh100_packed"
SHAPE_32B = "{layers: 64, hidden: 5120, ffn: 25600, heads: 64, kv_heads: 8, head_dim: 128, vocab: 151936, tied: false}"
MODELS: dict[str, tuple[str, ...]] = {"8B": (), "32B": ("model.size=null", f"model.shape={SHAPE_32B}")}
"""Name of a model -> what it changes of RECIPE. The larger one has the sizes of Qwen3-32B's configuration."""
GPUS = (48, 192, 768, 3072, 12_288, 16_384)
NODE = 4
EACH = 12
"""Sequences of 2,048 a GPU and step, as in RECIPE."""
BATCHES = tuple(576 * 2**power for power in range(9))
"""Sequences of 2,048 a step: from RECIPE's; all GPUS divide them, or a part of these that shares a sequence does."""
SHOWN = BATCHES[::2]
ENOUGH = 0.9
"""Share of the speed with the largest batch that is enough."""
MARK = "†"
WIDTH = 150
"""Characters of a line."""
LENGTHS = (8192, 32_768)


@dataclass(frozen=True)
class Place:
    """A cell of a table.

    Attributes:
        model: a key of MODELS.
        gpus: of the run.
        batch: sequences of a step.
        length: slots of a sequence.
        fp8: whether matrices are multiplied in FP8.
        masks: whether masks separate documents.
    """

    model: str
    gpus: int
    batch: int
    length: int = 2048
    fp8: bool = False
    masks: bool = True

    def recipe(self) -> Recipe:
        """RECIPE changed to this, spread as RECIPE is, which need not fit."""
        recipe = _recipe(self.model)
        layout = Layout.PACKED if self.masks else Layout.CONCAT
        return replace(
            recipe,
            model=replace(recipe.model, fp8=self.fp8),
            data=replace(
                recipe.data, seq_length=self.length, layout=layout, document_masks=None if self.masks else False
            ),
            parallel=replace(recipe.parallel, nodes=self.gpus // NODE),
            batch=replace(recipe.batch, global_size=self.batch),
        )


@cache
def _recipe(model: str) -> Recipe:
    return load(RECIPE, list(MODELS[model]), fitting=False)


@cache
def ways(place: Place) -> tuple[Choice, list[Choice]] | None:
    """The planner's choice there, and all ways that fit, fastest first; None where none does."""
    recipe = place.recipe()
    try:
        return plan(recipe, filling(recipe, None), Site(), read_fit().constants)
    except UserError:
        return None


def speed(place: Place) -> float:
    """Real tokens a second and GPU of the planner's choice; 0 where nothing fits."""
    chosen = ways(place)
    return chosen[0].run.tokens_per_second_per_gpu if chosen else 0.0


def spread_of(settings: Settings) -> str:
    """A way to spread a model, in words: what is 1 or off is left out."""
    sizes = {"TP": settings.tp, "PP": settings.pp, "CP": settings.cp}
    parts = [f"{name} {size}" for name, size in sizes.items() if size > 1] or ["DP alone"]
    parts += [f"{settings.interleaving} chunks"] if settings.interleaving > 1 else []
    return ", ".join([*parts, f"micro-batch {settings.micro}", *(["recomputed"] if settings.recompute else [])])


def marked(text: str, recipe: Recipe) -> str:
    """A predicted figure, marked where it goes beyond the rows that the planner is fitted to."""
    return text + MARK * bool(beyond(recipe, read_reach()))


def reach_lines() -> Iterator[str]:
    """How far the figures of all tables hold."""
    (low, high), rows = read_reach().interval, read_reach().rows
    assert isinstance(rows, Extent)
    few, many = rows.gpus
    yield wrapped(
        "**Every figure on this page is predicted, none is measured.** Of published runs of models that the planner "
        f"had not seen, 90 % took {1 / high:.2f} to {1 / low:.2f} times as long as predicted. A figure with {MARK} "
        f"goes beyond the rows that the planner is fitted to ({few:,} to {many:,} GPUs, DP of at most {rows.dp:,}, CP "
        f"of at most {rows.cp}): no row shows how far off it may be."
    )


def wrapped(sentences: str) -> str:
    """Sentences in lines of the documents' width."""
    kept = sentences.replace(" %", "\u00a0%")  # a number and its sign stay together
    return fill(kept, WIDTH, subsequent_indent="  " * sentences.startswith("- ")).replace("\u00a0", " ")


def percent(share: float) -> str:
    """A share, as sentences and tables say it."""
    return f"{100 * share:.0f} %"


def _millions(sequences: int) -> str:
    tokens = sequences * 2048 / 1e6
    return f"{tokens:,.1f}" if tokens < 10 else f"{tokens:,.0f}"


def growth_table() -> Iterator[str]:
    """Weak scaling: the way that 48 GPUs take, on more of them; and the way that is best there."""
    yield from growth_lines()
    yield ""
    yield (
        "| model | GPUs | sequences (M tokens) per step | spread of 48 GPUs: tokens/s/GPU | kept "
        "| largest term besides computing | best spread | tokens/s/GPU | kept |"
    )
    yield "|---" * 9 + "|"
    for model in MODELS:
        first = ways(Place(model, GPUS[0], EACH * GPUS[0]))
        assert first is not None
        before = first[0].run.tokens_per_second_per_gpu
        for gpus in GPUS:
            place = Place(model, gpus, EACH * gpus)
            kept, chosen = grown(first[0].recipe, gpus), ways(place)
            assert chosen is not None
            same, best = kept.run.tokens_per_second_per_gpu, chosen[0].run.tokens_per_second_per_gpu
            yield (
                f"| {model} | {gpus:,} | {place.batch:,} ({_millions(place.batch)}) "
                f"| {marked(f'{same:,.0f}', kept.recipe)} | {percent(same / before)} | {kept} "
                f"| {spread_of(chosen[0].settings)} | {marked(f'{best:,.0f}', chosen[0].recipe)} "
                f"| {percent(best / before)} |"
            )


def growth_lines() -> Iterator[str]:
    """The term that stops weak scaling, in sentences for each model."""
    last = GPUS[-1]
    for model in MODELS:
        first, there = ways(Place(model, GPUS[0], EACH * GPUS[0])), ways(Place(model, last, EACH * last))
        assert first is not None
        assert there is not None
        before, kept = first[0].run.tokens_per_second_per_gpu, grown(first[0].recipe, last)
        share, best = (run.tokens_per_second_per_gpu / before for run in (kept.run, there[0].run))
        yield wrapped(
            f"- {model}: with the spread of {GPUS[0]} GPUs, each of {last:,} GPUs keeps {percent(share)} of its speed. "
            f"The largest term besides computing is then {kept}. With the best spread for {last:,} GPUs "
            f"({spread_of(there[0].settings)}), it keeps {percent(best)}."
        )
    hop = read_fit().constants.hop
    yield wrapped(f"- The latency of a collective is counted as {1e6 * hop:.1f} µs for each rank of its group.")


@dataclass(frozen=True)
class Grown:
    """A way on more GPUs than it was chosen for.

    Attributes:
        recipe: on these.
        run: predicted.
        term: the largest term of its step other than computation.
        share: of the step that it takes.
        latency: share of the step that gradients and weights take because the group has so many ranks.
    """

    recipe: Recipe
    run: Run
    term: str
    share: float
    latency: float

    def __str__(self) -> str:
        latency = f", latency {percent(self.latency)}" if self.term == "dp" else ""
        return f"{COUNTED[self.term]}: {percent(self.share)}{latency}"


def grown(recipe: Recipe, gpus: int) -> Grown:
    """A chosen way with more copies of the model, as many sequences each: a point of `plan curves`' weak curve."""
    batch = recipe.batch.global_size * gpus // world_size(recipe)
    spread = model_parallel(recipe)
    assert gpus % spread == 0
    larger = replace(
        recipe,
        parallel=replace(recipe.parallel, nodes=gpus // NODE),
        batch=replace(recipe.batch, global_size=batch),
    )
    slots, constants = filling(larger, None), read_fit().constants
    run = predict_run(larger, slots, Site(), constants)
    work = work_of_recipe(larger, slots, Site())
    latency = float(run.terms.dp - step_time(work, replace(constants, hop=0.0)).dp) / run.step_seconds
    shares = {name: float(getattr(run.terms, name)) / run.step_seconds for name in COUNTED}
    name = max(shares, key=lambda term: shares[term])
    return Grown(larger, run, name, share=shares[name], latency=latency)


def batch_table() -> Iterator[str]:
    """Speed by number of GPUs and batch, each spread as is best there, and the least batch that is enough."""
    steps = _recipe("8B").steps
    heads = (f"{batch:,} ({_millions(batch)}; {round(steps * BATCHES[0] / batch):,})" for batch in SHOWN)
    yield f"| model | GPUs | {' | '.join(heads)} | least for {percent(ENOUGH)} of the last |"
    yield "|---" * (3 + len(SHOWN)) + "|"
    for model in MODELS:
        for gpus in GPUS:
            cells = [_speed_cell(Place(model, gpus, batch)) for batch in SHOWN]
            least = least_batch(model, gpus)
            yield f"| {model} | {gpus:,} | {' | '.join(cells)} | {least:,} ({_millions(least)}) |"


def _speed_cell(place: Place) -> str:
    chosen = ways(place)
    return marked(f"{speed(place):,.0f}", chosen[0].recipe) if chosen else "none fits"


def least_batch(model: str, gpus: int) -> int:
    """The smallest of BATCHES that is ENOUGH for a number of GPUs."""
    wanted = ENOUGH * speed(Place(model, gpus, BATCHES[-1]))
    return BATCHES[bisect_left(BATCHES, wanted, key=lambda batch: speed(Place(model, gpus, batch)))]


def long_table() -> Iterator[str]:
    """Long sequences on 48 GPUs, in BF16 and FP8: documents masked, the same with CP, and unmasked with CP."""
    yield from long_lines()
    yield ""
    yield "| model | length | precision | documents masked | masked, with CP: *refused by the trainer* | not masked |"
    yield "|---" * 6 + "|"
    for place in _long_places():
        cells = map(_way_cell, (ways(place), masked_with_cp(place), ways(replace(place, masks=False))))
        yield f"| {place.model} | {place.length:,} | {'FP8' if place.fp8 else 'BF16'} | {' | '.join(cells)} |"


def _long_places() -> list[Place]:
    """As many tokens a step as RECIPE has, in longer sequences."""
    tokens = EACH * GPUS[0] * 2048
    return [
        Place(model, GPUS[0], batch=tokens // length, length=length, fp8=fp8)
        for model in MODELS
        for length in LENGTHS
        for fp8 in (False, True)
    ]


def long_lines() -> Iterator[str]:
    """The gain of FP8, and that of CP with masks, which no trainer of ours has."""
    places = _long_places()
    gains = [speed(place) / speed(replace(place, fp8=False)) - 1 for place in places if place.fp8]
    yield f"- FP8 trains {percent(min(gains))} to {percent(max(gains))} more tokens a second than BF16, masked."
    spread = [(place, masked_with_cp(place)) for place in places]
    further = [
        chosen[0].run.tokens_per_second_per_gpu / speed(place) - 1 for place, chosen in spread if chosen is not None
    ]
    least, most = 100 * min(further), 100 * max(further)
    yield f"- CP with document masks would change the speed by {least:+.0f} to {most:+.0f} %."


@cache
def masked_with_cp(place: Place) -> tuple[Choice, list[Choice]] | None:
    """The fastest way that spreads sequences with masks over CP ranks, as if the trainer could.

    The ways are those of sequences without masks; what they attend to and hold are the masked ones' documents.
    """
    recipe = replace(place, masks=False).recipe()
    assert masked(place.recipe().data)
    _, every = plan(recipe, filling(place.recipe(), None), Site(), read_fit().constants)
    spread = [choice for choice in every if choice.settings.cp > 1]
    return (spread[0], spread) if spread else None


def _way_cell(chosen: tuple[Choice, list[Choice]] | None) -> str:
    if chosen is None:
        return "none fits"
    choice = chosen[0]
    figure = marked(f"{choice.run.tokens_per_second_per_gpu:,.0f} tokens/s/GPU", choice.recipe)
    return f"{figure}, {choice.memory.total / GIB:.0f} GiB: {spread_of(choice.settings)}"
