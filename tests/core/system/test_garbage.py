"""Libraries' objects are left out of Python's garbage collection."""

import gc
import subprocess
import sys

import pytest

from pdapt.core.system.garbage import importing


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_and_then_works_as_before(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: states.append(gc.isenabled()))
    try:
        gc.enable() if enabled else gc.disable()
        with importing():
            states.append(gc.isenabled())
        states.append(gc.isenabled())
    finally:
        gc.enable()
    assert states == [False, False, enabled]


def test_what_was_imported_is_not_looked_through_again() -> None:
    program = "import gc; from pdapt.core.system.garbage import importing\n"
    program += "with importing(): import json, decimal, asyncio\n"
    program += "print(gc.get_freeze_count() > 10_000, any(value is asyncio.__dict__ for value in gc.get_objects()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
