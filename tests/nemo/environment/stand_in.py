"""Stand-ins for packages that only GPUs have, so that Megatron-Bridge can be imported where there is none.

Every name in them is a class that refuses to be made. They refuse to load where a GPU is: the packages belong there.
"""

from collections.abc import Callable
from typing import Any

import torch


class Refusing(type):
    """A class whose attributes are such classes, too: Bridge annotates with `te.ops.Sequential`."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return refusing(f"{cls.__name__}.{name}")


def refusing(name: str) -> type:
    """Make a class that cannot be made an object of; a module, because Bridge makes subclasses of some."""

    class Missing(torch.nn.Module, metaclass=Refusing):
        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError(f"{name} needs a GPU: this is a stand-in for tests")

    Missing.__name__ = Missing.__qualname__ = name.rpartition(".")[2]
    return Missing


def names_of(module: str) -> Callable[[str], type]:
    """Make a module's `__getattr__`.

    Raises:
        ImportError: there is a GPU.
    """
    if torch.cuda.is_available():
        raise ImportError(f"this {module} is a stand-in for tests without a GPU: install the package itself")

    def answer(name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return refusing(f"{module}.{name}")

    return answer
