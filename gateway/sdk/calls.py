"""Calls: what a plugin's hooks return; calls to make, facts to skip, and verdicts on replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import msgspec

Form: TypeAlias = Mapping[str, str]


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file sent as the part ``field`` of a multipart form, next to the fields of ``Call.form``."""

    field: str
    name: str
    content: bytes
    type: str = "application/octet-stream"


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request to make to the destination.

    ``path`` is relative to the connection's base URL, and empty for that URL itself; build it with ``path()``. At most
    one of ``json`` and ``form`` is sent (``file`` makes the form multipart). ``scope`` names the rate limit that the
    call draws on, ``memo`` is the plugin's own note: carried to ``on_reply``, never sent.

    ``pool`` names the pool in which the call waits to be merged with calls of other lanes; a call with an undeclared
    pool is made by itself. ``after_s`` is for a follow-up call that ``on_reply`` returns while the destination is still
    working: the call is made so many seconds from now (an hour at most). Its lane waits, and so does an erasure.

    The gateway fills in ``id``, made of message, user, connection, fact and position and equal on every attempt. In a
    pool it fills in ``lane``, equal for all calls of one user. ``covers`` is set by ``coalesce`` alone: the ids of all
    the calls that this one replaces, its own included.
    """

    method: str
    path: str
    json: Any = None
    form: Form | None = None
    file: File | None = None
    params: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    scope: str = ""
    memo: Any = None
    pool: str = ""
    after_s: float = 0.0
    id: str = ""
    lane: str = ""
    covers: tuple[str, ...] = ()


class Skip(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact, or a part of one, that is deliberately not sent.

    Without ``what`` it is the fact itself; with it, a named part of the fact, such as an attribute. ``reason`` is one
    short word in snake_case. Both appear in the ledger, so neither may hold a value of the user's. ``setting`` is the
    name of the plugin's setting that skips the fact, if there is one: `gateway explain` shows its full key.
    """

    reason: str
    what: str | None = None
    setting: str | None = None


class Remember(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value to keep for later plans of this user on this connection, or (``shared``) of the whole connection.

    It is stored together with the outcome of the fact that it was planned for, unless that is a dead letter. A
    ``value`` of None forgets it. Later hooks find it in ``memory``. Keep it small, and never put a credential there.
    """

    key: str
    value: Any = None
    shared: bool = False


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a plugin: ``user`` for the user at hand, ``shared`` for the connection.

    If several messages are planned together, a later one finds what the earlier ones will remember.
    """

    user: Mapping[str, Any] = {}
    shared: Mapping[str, Any] = {}


PlanItem: TypeAlias = Call | Skip | Remember
Plan: TypeAlias = Iterable[PlanItem] | PlanItem | None
"""The values that a planning hook may return: nothing, one item, or many in order (a generator will do)."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The meaning of a reply for its call. Build it with ``delivered``, ``retry``, ``rejected`` or ``refused``."""

    word: Literal["delivered", "retry", "rejected", "refused"]
    reason: str = ""
    detail: str = ""
    after_s: float | None = None
    holds: Literal["lane", "scope", "connection"] = "lane"
    restart: bool = False


def delivered(note: str = "") -> Verdict:
    """Accept the reply: the destination has the data. ``note`` goes into the ledger."""
    return Verdict(word="delivered", reason=note)


def retry(
    reason: str,
    *,
    after_s: float | None = None,
    holds: Literal["lane", "scope", "connection"] = "lane",
    restart: bool = False,
) -> Verdict:
    """Try again later: after ``after_s`` seconds (an hour at most), or after a growing, jittered wait.

    ``holds`` says what has to wait: this user's lane, everything of the call's rate-limit ``scope``
    (the destination said "too many"), or the whole connection. ``restart``, on the reply to a further call that
    ``on_reply`` asked for, begins again with the planned call that it stands in for.
    """
    return Verdict(word="retry", reason=reason, after_s=after_s, holds=holds, restart=restart)


def rejected(reason: str, *, detail: str = "") -> Verdict:
    """Reject the call for good: it becomes a dead letter. Neither argument may hold a user's value.

    ``reason`` is one word; ``detail`` explains it in the ledger, by default with the status of the reply.
    """
    return Verdict(word="rejected", reason=reason, detail=detail)


def refused(reason: str) -> Verdict:
    """Report wrong credentials or set-up: the connection pauses, keeps its work and spends no attempts.

    A call that is refused again after others of its connection were taken is retried by itself instead.
    """
    return Verdict(word="refused", reason=reason)


FOREIGN = frozenset({*range(300, 400), 404, 405, 406, 410, 451})


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A partner's answer to a call.

    ``status`` is None where no answer came; ``failure`` then says how (``connect``, ``connect_timeout``, ``timeout``,
    ``closed``, ``garbage``, ``bad_url``, ``no_descriptors``) and ``sent`` whether the destination may have seen the
    call. Header names are in lower case. ``at_ms`` is when it came, ``attempt`` counts from 1.
    """

    status: int | None
    headers: Mapping[str, str] = {}
    body: bytes = b""
    failure: str | None = None
    sent: bool = True
    at_ms: int = 0
    attempt: int = 1

    @property
    def is_foreign(self) -> bool:
        """True if a proxy or web server answered instead of the destination.

        Such an answer is a redirect, or HTML with the status 404, 405, 406, 410 or 451.
        """
        if self.status is None or self.status not in FOREIGN:
            return False
        is_html = self.headers.get("content-type", "").lower().startswith("text/html")
        return self.status < 400 or is_html or self.body[:64].lstrip().startswith(b"<")

    def json(self) -> Any:
        """Return the body as JSON; None if it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class BadPath(ValueError):
    """A path segment that would aim a call at something else: empty, ``.`` or ``..``."""


def path(*segments: str) -> str:
    """Join segments into a path, each percent-encoded whole, nothing left as a separator.

    Raises BadPath for what is no text (a user may have no ``mpid``), for an empty segment, and for ``.`` and ``..``,
    which proxies collapse.
    """
    for number, segment in enumerate(segments, 1):
        if not isinstance(segment, str):
            raise BadPath(f"segment {number} is {type(segment).__name__}, not text")
        if segment in ("", ".", ".."):
            raise BadPath(f"{segment!r} cannot be a path segment")
    return "/".join(map(_quoted, segments))


_quoted = lru_cache(maxsize=4096)(partial(quote, safe=""))  # most segments are the same in every path
