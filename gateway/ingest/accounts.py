"""Accounts: which connections of its customer a post is for, and which of the customer's settings to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.journal.port import Journal
from gateway.journal.types import SealedSettings
from gateway.log import logger
from gateway.mparticle.firehose.accounts import MessageAccount, read_account
from gateway.mparticle.firehose.answers import SUSPENDED_BY
from gateway.mparticle.posts import Post

if TYPE_CHECKING:
    from gateway.sealing import Sealer  # heavy, and of use only where there are accounts

KEPT_AGAIN_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The connections that a post is for, and the settings to keep with it.

    ``account`` is the customer's name, empty for none. ``suspended``: each of these connections belongs to an account
    whose settings are not accepted, so mParticle is asked to send no more.
    """

    connections: tuple[str, ...]
    account: str = ""
    sealed: tuple[SealedSettings, ...] = ()
    suspended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRouter:
    """Routes posts if some connections, the ``hosted`` ones, have their settings from customers' accounts."""

    configured: tuple[str, ...]
    hosted: frozenset[str]
    journal: Journal
    sealer: Sealer

    async def route(self, post: Post, only: str | None, now_ms: int) -> Routing:
        """Return whom a post is for. One without an account is for the hosted connection itself, which skips it."""
        of = read_account(post.account)
        key = self._key(of)
        wanted = self.configured if only is None else (only,)
        names = tuple(f"{name}/{key}" if key and name in self.hosted else name for name in wanted)
        if not key:
            if post.parts and not self.hosted.isdisjoint(wanted):
                logger.info("message without an account", kind=post.kind, id=post.id)
            return Routing(connections=names)
        known = {name: await self.journal.sealed(name) for name in names if "/" in name}
        told_ms = min(now_ms, now_ms if of.told_ms is None else of.told_ms)
        found = (self._to_keep(name, known[name], of.settings, told_ms, now_ms) for name in known)
        told = tuple(one for one in found if one is not None)
        changed = any(before is None or before.print != one.print for one in told for before in [known[one.connection]])
        suspended = post.kind in SUSPENDED_BY and not changed and _all_in_trouble(names, known)
        return Routing(connections=names, account=key, sealed=told, suspended=suspended)

    def _key(self, of: MessageAccount) -> str:
        """Return the name of an account, made of its settings if it has no id; empty for no account."""
        if of.id is not None:
            return of.id
        return f"~{self.sealer.print(encode_settings(of.settings), '').hex()[:16]}" if of.settings else ""

    def _to_keep(
        self, name: str, known: SealedSettings | None, settings: Mapping[str, Any], told_ms: int, now_ms: int
    ) -> SealedSettings | None:
        """Return the settings to keep; None if there are none, if they are known, or if newer ones are.

        Settings that were kept over an hour ago are kept again, since old ones are forgotten.
        """
        if not settings:
            return None
        plain = encode_settings(settings)
        print_ = self.sealer.print(plain, name)
        if known is not None:
            is_known = known.print == print_ and now_ms - known.received_ms < KEPT_AGAIN_MS
            if is_known or told_ms < known.told_ms:
                return None
        sealed = self.sealer.seal(plain, name)
        return SealedSettings(connection=name, print=print_, sealed=sealed, told_ms=told_ms, received_ms=now_ms)


def encode_settings(settings: Mapping[str, Any]) -> bytes:
    """Return settings as JSON to be sealed: equal settings give equal bytes."""
    return msgspec.json.encode(settings, order="deterministic")


def _all_in_trouble(names: Sequence[str], known: Mapping[str, SealedSettings | None]) -> bool:
    troubles = [one.trouble for one in known.values() if one is not None]
    return len(troubles) == len(names) and all(troubles)
