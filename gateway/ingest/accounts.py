"""Reception: which accounts' connections a post is for, and what there is to keep of its customer's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.journal.port import Journal
from gateway.journal.types import Sealed
from gateway.log import logger
from gateway.mparticle.firehose.accounts import Account, account
from gateway.mparticle.posts import Post

if TYPE_CHECKING:
    from gateway.sealing import Sealer  # heavy, and of use only where there are accounts

KEPT_AGAIN_MS = 3_600_000
MEMBERSHIP = "audience_membership_change_request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A post received: the connections that it is for, settings to keep with it, and whether to ask for no more.

    ``account`` is what the customer is called, empty for none. ``suspended``: each of these connections is an
    account's whose settings are not accepted.
    """

    connections: tuple[str, ...]
    account: str = ""
    sealed: tuple[Sealed, ...] = ()
    suspended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Receives posts where some connections, the ``hosted`` ones, have their settings from the customers' accounts."""

    configured: tuple[str, ...]
    hosted: frozenset[str]
    journal: Journal
    sealer: Sealer

    async def receive(self, post: Post, body: bytes, only: str | None, now_ms: int) -> Visit:
        """Say whom a post is for. One that brings no account is for a hosted connection itself, which skips it."""
        of = account(body) if post.dialect == "firehose" else Account()
        key = self._key(of)
        wanted = self.configured if only is None else (only,)
        names = tuple(f"{name}/{key}" if key and name in self.hosted else name for name in wanted)
        if not key:
            if post.parts and not self.hosted.isdisjoint(wanted):
                logger.info("message without an account", kind=post.kind, id=post.id)
            return Visit(connections=names)
        known = {name: await self.journal.sealed(name) for name in names if "/" in name}
        told_ms = min(now_ms, now_ms if of.told_ms is None else of.told_ms)
        found = (self._to_keep(name, known[name], of.settings, told_ms, now_ms) for name in known)
        told = tuple(one for one in found if one is not None)
        changed = any(before is None or before.print != one.print for one in told for before in [known[one.connection]])
        suspended = post.kind == MEMBERSHIP and not changed and _all_in_trouble(names, known)
        return Visit(connections=names, account=key, sealed=told, suspended=suspended)

    def _key(self, of: Account) -> str:
        """What an account is called; one without an id, by its settings. Empty where there is none."""
        if of.id is not None:
            return of.id
        return f"~{self.sealer.print(written(of.settings), '').hex()[:16]}" if of.settings else ""

    def _to_keep(
        self, name: str, known: Sealed | None, settings: Mapping[str, Any], told_ms: int, now_ms: int
    ) -> Sealed | None:
        """The settings to keep; None where there are none, or they are known for less than an hour, or newer ones are.

        What is told again and again has to be kept again: what came long ago is forgotten.
        """
        if not settings:
            return None
        plain = written(settings)
        print_ = self.sealer.print(plain, name)
        if known is not None:
            is_known = known.print == print_ and now_ms - known.received_ms < KEPT_AGAIN_MS
            if is_known or told_ms < known.told_ms:
                return None
        sealed = self.sealer.seal(plain, name)
        return Sealed(connection=name, print=print_, sealed=sealed, told_ms=told_ms, received_ms=now_ms)


def written(settings: Mapping[str, Any]) -> bytes:
    """Settings as they are sealed: the same bytes for the same settings."""
    return msgspec.json.encode(settings, order="deterministic")


def _all_in_trouble(names: Sequence[str], known: Mapping[str, Sealed | None]) -> bool:
    troubles = [one.trouble for one in known.values() if one is not None]
    return len(troubles) == len(names) and all(troubles)
