"""The cleaning profiles: named steps in an order, each of which counts what it changes.

`clinical`, the default, changes no value; `paper` and `partages_llm` are what was published. docs/cleaning.md lists the
steps of each.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

from ...core.errors import check_known
from . import published_cleaning as published
from .boilerplate import remove_boilerplate
from .characters import compose, normalise, trim_ends, trim_lines
from .line_hyphens import join_hyphenated
from .markup import remove_addresses, remove_tags
from .source_facts import NO_FACTS, SourceFacts, find_facts

DEFAULT = "clinical"


@dataclass(frozen=True)
class Step:
    """One step of a profile.

    Attributes:
        name: its name.
        apply: takes a text, counts by kind that it adds to, and the facts about the text's source; gives the text
            after the step.
        of_source: whether it needs the facts.
    """

    name: str
    apply: Callable[[str, Counter[str], SourceFacts], str]
    of_source: bool = False


@dataclass(frozen=True)
class Profile:
    """A way to clean texts.

    Attributes:
        name: its name.
        version: raised whenever the result for some text may differ.
        steps: in their order.
        keeps_values: whether it may change no value of a text, which `value_check` then checks of every document.
    """

    name: str
    version: int
    steps: tuple[Step, ...]
    keeps_values: bool

    def __str__(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}"

    @property
    def before_source(self) -> tuple[Step, ...]:
        """The steps up to the first that needs the facts about the source."""
        first = next((number for number, step in enumerate(self.steps) if step.of_source), len(self.steps))
        return self.steps[:first]

    @property
    def from_source(self) -> tuple[Step, ...]:
        """The steps from the first that needs the facts about the source; none where no step does."""
        return self.steps[len(self.before_source) :]


def run_steps(steps: tuple[Step, ...], text: str, changes: Counter[str], facts: SourceFacts = NO_FACTS) -> str:
    """The text after some steps.

    Args:
        steps: a profile's, or some of them.
        text: the text before.
        changes: counts by kind, added to.
        facts: about the text's source.
    """
    return reduce(lambda before, step: step.apply(before, changes, facts), steps, text)


def clean_alone(profile: Profile, text: str, changes: Counter[str] | None = None) -> str:
    """Clean a text as the only one of its source: no line repeats, and only its own words say which cut words to join.

    Args:
        profile: how.
        text: the text.
        changes: counts by kind, added to.
    """
    changes = Counter() if changes is None else changes
    text = run_steps(profile.before_source, text, changes)
    return run_steps(profile.from_source, text, changes, find_facts(lambda: [text])) if profile.from_source else text


def profile_of(name: str, option: str = "--profile") -> Profile:
    """The profile of a name.

    Raises:
        UserError: there is none.
    """
    check_known(name, PROFILES, "cleaning profile", option)
    return PROFILES[name]


def _step(apply: Callable[[str, Counter[str]], str], name: str) -> Step:
    return Step(name, lambda text, changes, _: apply(text, changes))


def _published(expressions: Sequence[published.Expression]) -> tuple[Step, ...]:
    return tuple(_step(expression.apply, expression.name) for expression in expressions)


_SECTION_3_3 = _published(
    (
        published.APOSTROPHES,
        published.CHARACTERS,
        published.REPETITIONS,
        published.BLANKS_AFTER,
        published.BLANKS_BEFORE,
        published.LONG_WORDS,
    )
)
_CLINICAL = (
    _step(normalise, "characters"),
    _step(remove_tags, "tags"),
    _step(remove_addresses, "addresses"),
    _step(trim_lines, "line_ends"),
    Step("hyphenation", lambda text, changes, facts: join_hyphenated(text, changes, facts.words), of_source=True),
    Step(
        "boilerplate", lambda text, changes, facts: remove_boilerplate(text, changes, facts.boilerplate), of_source=True
    ),
    _step(trim_ends, "ends"),
)
_PAPER = (
    _step(compose, "nfc"),
    *_published((published.FORM_FEEDS, published.CARRIAGE_RETURNS, published.ADDRESSES_AND_TAGS)),
    *_SECTION_3_3,
    *_published([published.BLANKS]),
)
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("clinical", 1, _CLINICAL, keeps_values=True),
        Profile("paper", 1, _PAPER, keeps_values=False),
        Profile("partages_llm", 1, (*_SECTION_3_3, _step(published.strip, "ends")), keeps_values=False),
    )
}
