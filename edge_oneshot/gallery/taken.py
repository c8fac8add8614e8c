"""Which ids and names are in use."""

from __future__ import annotations

from collections.abc import Iterable

from edge_oneshot.errors import GalleryError
from edge_oneshot.types import Identity


class Taken:
    """The ids and the names of some people. Names are compared without regard to case."""

    def __init__(self, people: Iterable[Identity]) -> None:
        self._by_id: dict[str, Identity] = {}
        self._by_name: dict[str, Identity] = {}
        for identity in people:
            self.add(identity)

    def add(self, identity: Identity) -> None:
        self._by_id[identity.identity_id] = self._by_name[identity.name.casefold()] = identity

    def check_free(self, identity: Identity, *, replace: bool) -> None:
        """Raises GalleryError if the id or the name is in use. `replace` allows the same person, by id and name."""
        if (owner := self._by_id.get(identity.identity_id)) is not None:
            if owner.name.casefold() != identity.name.casefold():
                raise GalleryError(
                    f"the id {owner.identity_id!r} belongs to {owner.name!r}", "give another one with --id"
                )
            if not replace:
                raise GalleryError(
                    f"{owner.name!r} is already enrolled as {owner.identity_id!r}",
                    "--replace replaces the templates; enroll --add adds one; gallery import --missing enrolls only the others",
                )
        namesake = self._by_name.get(identity.name.casefold())
        if namesake is not None and namesake.identity_id != identity.identity_id:
            raise name_taken(identity.name, namesake)


def name_taken(name: str, owner: Identity) -> GalleryError:
    return GalleryError(f"the name {name!r} is already enrolled as {owner.identity_id!r}", "choose another name")
