"""How a function of moto is replaced: `@patch(owner, "name")` above `def f(old, self, …)`."""

import functools
from collections.abc import Callable
from typing import Any


def patch(owner: Any, name: str) -> Callable[[Callable], Callable]:
    """Replaces `owner.name` by the decorated function, which is given the old one first."""

    def install(new: Callable) -> Callable:
        old = getattr(owner, name)

        @functools.wraps(old)
        def replaced(*args: Any, **kwargs: Any) -> Any:
            return new(old, *args, **kwargs)

        setattr(owner, name, replaced)
        return new

    return install


def add(owner: Any, name: str) -> Callable[[Callable], Callable]:
    """Adds a function that moto has not got."""

    def install(new: Callable) -> Callable:
        setattr(owner, name, new)
        return new

    return install
