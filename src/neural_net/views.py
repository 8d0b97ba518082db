"""Views into the network's vectors: an attribute that is one keeps its place, and assigning to it copies numbers."""

from typing import TYPE_CHECKING, Any

from .values import Array, fitting

_set = object.__setattr__  # looked up once: layers assign in every step


class Views:
    """An owner of arrays that others share, such as views into a vector: assignment copies into them."""

    _views: frozenset[str] = frozenset()  # the names of these attributes

    def place(self, name: str, array: Array) -> None:
        """Make ``array`` itself the attribute ``name``."""
        self._views |= {name}
        vars(self)[name] = array

    if not TYPE_CHECKING:  # mypy reports attributes that a class does not declare

        def __setattr__(self, name: str, value: Any) -> None:
            """Raise ValueError for numbers that do not fit, and if their place does not exist yet."""
            if name not in self._views:
                _set(self, name, value)
            elif value is not (place := vars(self).get(name)):  # it is after layer.W *= 2
                owner = getattr(self, "name", "") or type(self).__name__
                if place is None:
                    raise ValueError(f"{owner}.{name} cannot be assigned before the sizes are known")
                place[...] = fitting(place, f"{owner}.{name}", value)


class Places(dict[str, Array]):
    """Arrays by name that keep their places: assigning to one copies the numbers into it."""

    def __setitem__(self, name: str, value: Any) -> None:
        place = self.get(name)
        if place is None:
            super().__setitem__(name, value)
        elif value is not place:  # it is after state["mean"] *= 2
            place[...] = fitting(place, name, value)
