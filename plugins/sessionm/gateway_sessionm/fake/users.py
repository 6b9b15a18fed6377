"""Users: the customers that the fake stores, and the ids by which they are found."""

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


class ExternalId(msgspec.Struct, frozen=True):
    """An external id of a customer; the higher its ``order``, the later it was given."""

    external_id: str
    external_id_type: str | None
    order: int

    def to_json(self) -> dict[str, Any]:
        """Return the id as a reply shows it."""
        return {"external_id": self.external_id, "external_id_type": self.external_id_type}


class Customer(msgspec.Struct, kw_only=True):
    """A customer. ``external_id`` is the main id, the one that was given last."""

    id: str
    external_id: str | None = None
    external_ids: list[ExternalId] = []
    fields: dict[str, Any] = {}
    profile: dict[str, str] = {}
    created_at: str
    updated_at: str

    def to_json(self, *, profile: bool = False, identifiers: bool = False) -> dict[str, Any]:
        """Return the customer as a reply shows them."""
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
            user["identifiers"] = [each.to_json() for each in self.external_ids]
        if profile:
            user["user_profile"] = {"_version": 1, **self.profile}
        return user


class Users:
    """All customers, found by SessionM's id or by any external id."""

    def __init__(self) -> None:
        self._customers: dict[str, Customer] = {}
        self._order = count()

    def __iter__(self) -> Iterator[Customer]:
        return iter(self._customers.values())

    def add(self, now: str, id: str | None = None) -> Customer:
        """Add a customer without any data."""
        customer = Customer(id=id or str(uuid4()), created_at=now, updated_at=now)
        self._customers[customer.id] = customer
        return customer

    def remove(self, customer: Customer) -> None:
        """Forget a customer and their ids."""
        del self._customers[customer.id]

    def find(self, id: str) -> Customer | None:
        """Return the customer with this id of SessionM's, or None."""
        return self._customers.get(id)

    def find_by_external_id(self, external_id: str) -> Customer | None:
        """Return the customer with this external id, or None; of several the one who was given it last."""
        owners = [
            (each.order, customer)
            for customer in self
            for each in customer.external_ids
            if each.external_id == external_id
        ]
        return max(owners, key=lambda owner: owner[0])[1] if owners else None

    def find_by_email(self, email: str) -> Customer | None:
        """Return the customer with this e-mail address in any casing, or None."""
        wanted = email.lower()
        return next((customer for customer in self if str(customer.fields.get("email")).lower() == wanted), None)

    def add_external_id(self, customer: Customer, external_id: str, external_id_type: str | None) -> None:
        """Give a customer an external id, unless they have it already."""
        given = ExternalId(external_id, external_id_type, next(self._order))
        if given.to_json() not in [each.to_json() for each in customer.external_ids]:
            customer.external_ids.append(given)

    def replace_external_ids(self, customer: Customer, identifiers: Iterable[dict[str, Any]]) -> None:
        """Give a customer exactly these external ids."""
        customer.external_ids = []
        for identifier in identifiers:
            self.add_external_id(customer, identifier["external_id"], identifier.get("external_id_type"))
        if customer.external_id not in [each.external_id for each in customer.external_ids]:
            customer.external_id = None
