"""Events reach every listener, in order; questions are answered by all of them together."""

from functools import partial
from typing import Any

import pytest

from pdapt.training.run.events import Events, Gradient, Listener, Save, ValidationResult, Verdict
from pdapt.training.run.sums import DataSums

RESULT: Any = object()
TOLD = {
    "phase_begins": ("optimizer",),
    "part_begins": ("saving",),
    "part_ends": (),
    "step_begins": (3,),
    "gradient_is_ready": (Gradient(3, 1.0, None),),
    "gradient_judged": (3, Verdict("skip", "nan")),
    "step_ended": (RESULT,),
    "validated": (ValidationResult(3, 1.0, DataSums([], [], 0.0)),),
    "may_save": (),
    "save_begins": (3,),
    "saved": (Save(3, asynchronous=False, stall_seconds=0.1, seconds=0.2),),
    "may_stop": (),
    "stopping": (3,),
    "ended": (None,),
}


class Recording(Listener):
    """Writes down each call, with its own name."""

    def __init__(self, name: str, told: list[tuple[str, str, tuple[Any, ...]]]) -> None:
        for event in TOLD:
            setattr(self, event, partial(self._tell, told, name, event))

    @staticmethod
    def _tell(told: list[tuple[str, str, tuple[Any, ...]]], name: str, event: str, *args: Any) -> Any:
        told.append((name, event, args))
        return getattr(Listener(), event)(*args)


def test_every_event_is_told_to_every_listener_in_order() -> None:
    told: list[tuple[str, str, tuple[Any, ...]]] = []
    events = Events([Recording("first", told)])
    events.add([Recording("second", told)])
    for event, args in TOLD.items():
        getattr(events, event)(*args)
    assert told == [(name, event, args) for event, args in TOLD.items() for name in ("first", "second")]
    public = {name for name in vars(Listener) if not name.startswith("_")}
    assert public == set(TOLD), "each event of a listener is passed on"


class Answering(Listener):
    """Answers each question with what it was made with."""

    def __init__(self, *, saves: bool = True, stop: str = "", verdict: Verdict | None = None) -> None:
        self.saves, self.stop, self.verdict = saves, stop, verdict

    def may_save(self) -> bool:
        return self.saves

    def may_stop(self) -> str:
        return self.stop

    def gradient_is_ready(self, gradient: Gradient) -> Verdict | None:
        return self.verdict if gradient.step else None


def test_one_listener_is_enough_to_stop_and_all_have_to_allow_a_save() -> None:
    skip = Verdict("skip", "nan")
    silent, speaking = Answering(), Answering(saves=False, stop="SIGTERM", verdict=skip)
    for events in (Events([silent, speaking]), Events([speaking, silent])):
        assert events.may_stop() == "SIGTERM"
        assert not events.may_save()
        assert events.gradient_is_ready(Gradient(1, 1.0, None)) is skip
    quiet = Events([silent, silent])
    assert (quiet.may_stop(), quiet.may_save(), quiet.gradient_is_ready(Gradient(1, 1.0, None))) == ("", True, None)


def test_the_end_is_told_with_the_error_that_it_ended_with_which_goes_on() -> None:
    told: list[tuple[str, str, tuple[Any, ...]]] = []
    error = ValueError("no such thing")
    with pytest.raises(ValueError, match="no such thing"), Events([Recording("only", told)]):
        raise error
    with Events([Recording("only", told)]):
        pass
    assert told == [("only", "ended", (error,)), ("only", "ended", (None,))]
