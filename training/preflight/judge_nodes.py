"""Checks that the nodes of a start are alike and have what it needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ...core.memory import MOMENTS, WEIGHT, WHOLE_MOMENTS, WHOLE_WEIGHT
from ...recipes.schema import Recipe, shape_of
from .environment import differences, shortened
from .node_facts import NodeFacts


@dataclass
class Judgement:
    """The judgement on a start: problems end it, warnings are said."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Space:
    """Bytes on disk that a start needs for its checkpoints.

    Attributes:
        each: for one of them; 0 where none is saved.
        all: for those that are there at once, at most.
        count: how many those are.
        limited: whether a time limit may end the start before it has saved them all.
    """

    each: int
    all: int
    count: int
    limited: bool


def space_needed(recipe: Recipe, *, reached: int, last: int, others: int, limited: bool) -> Space:
    """The space that the checkpoints of a start need, beside those that are there.

    Args:
        recipe: that is trained.
        reached: step that it goes on after.
        last: step that it ends with.
        others: checkpoints there that make way for newer ones, as `checkpoint.keep_last` says.
        limited: see `Space`.
    """
    chosen = recipe.checkpoint
    steps = {last, *range(chosen.every, last, chosen.every)}
    new = sorted(step for step in steps if step > reached)
    if chosen.keep_every is None:
        count = len(new)
    else:
        kept = sum(step % chosen.keep_every == 0 for step in new)
        # One more than are kept is there while it is written.
        count = min(len(new), kept + max(1, chosen.keep_last + 1 - others))
    bytes_each = WEIGHT + MOMENTS if recipe.model.precision == "bf16" else WHOLE_WEIGHT + WHOLE_MOMENTS
    size = shape_of(recipe).parameters * bytes_each
    return Space(size if new else 0, size * count, count, limited)


def judge_nodes(recipe: Recipe, nodes: list[NodeFacts], space: Space) -> Judgement:
    """Check the facts of all nodes; each problem names the node, its value and the expected one."""
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
                    f"{name}: {value(other)} on {other.node}, {value(first)} on {first.node}; the same is expected"
                )
        unlike = differences(first.environment, other.environment, f"on {first.node}", f"on {other.node}")
        if unlike:
            judgement.problems.append(f"packages: {shortened(unlike)}; the same are expected on all nodes")
    return judgement


def _own(recipe: Recipe, node: NodeFacts) -> Iterator[str]:
    wanted = recipe.parallel.ranks_per_node
    if node.ranks != wanted:
        yield f"ranks: {node.ranks} on {node.node}, parallel.ranks_per_node={wanted} is expected"
    if node.gpus and len(node.gpus) < wanted:
        yield f"GPUs: {len(node.gpus)} seen on {node.node}, {wanted} are expected, one for each rank"
    if node.unreadable:
        yield f"tokens: not readable on {node.node}: {node.unreadable}"


def _judge_space(node: NodeFacts, space: Space, judgement: Judgement) -> None:
    text = f"disk: {node.free / 1e9:,.3f} GB free on {node.node}, {{0:,.3f}} GB expected for {{1}} of this start"
    if node.free < space.each or (node.free < space.all and not space.limited):
        needed, which = (
            (space.all, f"the {space.count} checkpoints") if not space.limited else (space.each, "one checkpoint")
        )
        judgement.problems.append(text.format(needed / 1e9, which))
    elif node.free < space.all:
        judgement.warnings.append(text.format(space.all / 1e9, f"the {space.count} checkpoints"))
