"""The customers whom the fake knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import msgspec

FIELDS = (
    "email",
    "first_name",
    "last_name",
    "gender",
    "dob",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "locale",
    "opted_in",
    "ip",
    "phone_numbers",
)


class Claim(msgspec.Struct, frozen=True):
    """An external id of a customer; the higher ``order``, the later it was given."""

    external_id: str
    external_id_type: str | None
    order: int

    def shown(self) -> dict[str, Any]:
        """The id, as a reply shows it."""
        return {"external_id": self.external_id, "external_id_type": self.external_id_type}


class Person(msgspec.Struct, kw_only=True):
    """A customer. ``external_id`` is the main id that was given last."""

    id: str
    external_id: str | None = None
    claims: list[Claim] = []
    fields: dict[str, Any] = {}
    profile: dict[str, str] = {}
    created_at: str
    updated_at: str

    def shown(self, *, profile: bool = False, identifiers: bool = False) -> dict[str, Any]:
        """The customer, as a reply shows them."""
        fields = {name: self.fields.get(name) for name in FIELDS}
        user = {
            "id": self.id,
            "external_id": self.external_id,
            **fields,
            "opted_in": bool(fields["opted_in"]),
            "phone_numbers": fields["phone_numbers"] or None,
            "activated": False,
            "suspended": False,
            "account_status": "good",
            "available_points": 0,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
        if identifiers:
            user["identifiers"] = [claim.shown() for claim in self.claims]
        if profile:
            user["user_profile"] = {"_version": 1, **self.profile}
        return user


class People:
    """All customers, found by SessionM's id or by any external id."""

    def __init__(self) -> None:
        self._people: dict[str, Person] = {}
        self._order = count()

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people.values())

    def add(self, now: str, id: str | None = None) -> Person:
        """A new customer without any data."""
        person = Person(id=id or str(uuid4()), created_at=now, updated_at=now)
        self._people[person.id] = person
        return person

    def remove(self, person: Person) -> None:
        """Forget a customer and their ids."""
        del self._people[person.id]

    def by_id(self, id: str) -> Person | None:
        """The customer with this id of SessionM's."""
        return self._people.get(id)

    def by_external_id(self, external_id: str) -> Person | None:
        """The customer with this external id; of several the one who was given it last."""
        owners = [
            (claim.order, person) for person in self for claim in person.claims if claim.external_id == external_id
        ]
        return max(owners, key=lambda owner: owner[0])[1] if owners else None

    def by_email(self, email: str) -> Person | None:
        """The customer with this e-mail in any casing."""
        wanted = email.lower()
        return next((person for person in self if str(person.fields.get("email")).lower() == wanted), None)

    def claim(self, person: Person, external_id: str, external_id_type: str | None) -> None:
        """Give a customer an external id, unless they have it already."""
        given = Claim(external_id, external_id_type, next(self._order))
        if given.shown() not in [claim.shown() for claim in person.claims]:
            person.claims.append(given)

    def replace_claims(self, person: Person, identifiers: Iterable[dict[str, Any]]) -> None:
        """Give a customer exactly these external ids."""
        person.claims = []
        for identifier in identifiers:
            self.claim(person, identifier["external_id"], identifier.get("external_id_type"))
        if person.external_id not in [claim.external_id for claim in person.claims]:
            person.external_id = None
