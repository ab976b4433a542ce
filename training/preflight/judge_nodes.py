"""Checks that the nodes of a start are alike and have what it needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ...core.memory import MOMENTS, WEIGHT, WHOLE_MOMENTS, WHOLE_WEIGHT
from ...recipes.schema import Recipe, shape_of
from .environment import differences, shortened
from .node_facts import NodeFacts


@dataclass
class Judgement:
    """The judgement on a start: a problem ends it, a warning is only logged."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Space:
    """Bytes on disk that a start needs for its checkpoints.

    Attributes:
        each: bytes for one checkpoint; 0 if none is saved.
        all: bytes for the most checkpoints that exist at the same time.
        count: number of those checkpoints.
        limited: whether a time limit may end the start before it has saved them all.
    """

    each: int
    all: int
    count: int
    limited: bool


def space_needed(recipe: Recipe, *, reached: int, last: int, others: int, limited: bool) -> Space:
    """Compute the space that the checkpoints of a start need, beside those that are there.

    Args:
        recipe: the recipe.
        reached: step that the start continues after.
        last: step that the start ends with.
        others: existing checkpoints that newer ones replace, as `checkpoint.keep_last` says.
        limited: see `Space`.
    """
    chosen = recipe.checkpoint
    steps = {last, *range(chosen.every, last, chosen.every)}
    new = sorted(step for step in steps if step > reached)
    if chosen.keep_every is None:
        count = len(new)
    else:
        kept = sum(step % chosen.keep_every == 0 for step in new)
        # While a checkpoint is written, there is one more than are kept.
        count = min(len(new), kept + max(1, chosen.keep_last + 1 - others))
    bytes_each = WEIGHT + MOMENTS if recipe.model.precision == "bf16" else WHOLE_WEIGHT + WHOLE_MOMENTS
    size = shape_of(recipe).parameters * bytes_each
    return Space(size if new else 0, size * count, count, limited)


def judge_nodes(recipe: Recipe, nodes: list[NodeFacts], space: Space) -> Judgement:
    """Check the facts of all nodes; each problem names the node, its value and the expected value."""
    judgement = Judgement()
    first = nodes[0]
    for node in nodes:
        judgement.problems += _own(recipe, node)
        _judge_space(node, space, judgement)
    comparisons: list[tuple[str, Callable[[NodeFacts], object]]] = [
        ("GPUs", lambda node: ", ".join(node.gpus) or "none"),
        ("code", lambda node: node.code or "no commit"),
        ("bytes of tokens", lambda node: f"{node.tokens:,}"),
    ]
    for other in nodes[1:]:
        for name, value in comparisons:
            if value(other) != value(first):
                judgement.problems.append(
                    f"{name}: {value(other)} on {other.node}, {value(first)} on {first.node}; expected: the same"
                )
        unlike = differences(first.environment, other.environment, f"on {first.node}", f"on {other.node}")
        if unlike:
            judgement.problems.append(f"packages: {shortened(unlike)}; expected: the same")
    return judgement


def _own(recipe: Recipe, node: NodeFacts) -> Iterator[str]:
    wanted = recipe.parallel.ranks_per_node
    if node.ranks != wanted:
        yield f"ranks: {node.ranks} on {node.node}; expected: {wanted} (parallel.ranks_per_node)"
    if node.gpus and len(node.gpus) < wanted:
        yield f"GPUs: {len(node.gpus)} seen on {node.node}; expected: {wanted}, one for each rank"
    if node.unreadable:
        yield f"tokens: not readable on {node.node}: {node.unreadable}"


def _judge_space(node: NodeFacts, space: Space, judgement: Judgement) -> None:
    text = f"disk: {node.free / 1e9:,.3f} GB free on {node.node}; expected: {{0:,.3f}} GB for {{1}} of this start"
    if node.free < space.each or (node.free < space.all and not space.limited):
        needed, which = (
            (space.all, f"the {space.count} checkpoints") if not space.limited else (space.each, "one checkpoint")
        )
        judgement.problems.append(text.format(needed / 1e9, which))
    elif node.free < space.all:
        judgement.warnings.append(text.format(space.all / 1e9, f"the {space.count} checkpoints"))
