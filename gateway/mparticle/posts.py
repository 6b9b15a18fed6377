"""Posts: bodies at the endpoint, recognised by their format, checked, and split into one part for each user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Literal
from uuid import uuid4

import msgspec

from gateway.mparticle import aliases
from gateway.mparticle.decoding import DIALECTS
from gateway.mparticle.events_batch import message as events_batch
from gateway.mparticle.fields import Unreadable, check_bound, known_id, required, text, word
from gateway.mparticle.firehose import audiences
from gateway.mparticle.firehose import message as firehose
from gateway.mparticle.firehose.fast import parse_fast
from gateway.mparticle.json import Malformed, Members, Oversized, check_sound, encode, kind_of, members, open_document
from gateway.mparticle.messages import Message, read_plain, read_word
from gateway.mparticle.parts import Part, make_part

__all__ = ["Malformed", "Part", "Post", "parse_full", "read"]


TOLD = 20
"""The most unreadable batches of an array that are listed one by one."""

MAX_TIMES = 8
SMALL = 65_536
"""The parts of a post take no more than so many times the bytes of its body; a small body counts as this large."""


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One body that mParticle posted.

    ``kind`` is the type of a Firehose message, or ``events``, ``alias``, ``opendsr_request``,
    ``opendsr_callback``, ``nothing``; ``dialect`` is what its parts are decoded with. ``id`` is Firehose's id
    of the message. ``accepted`` names the batches in it, in their order, those without a part included. ``account`` are
    the members of a Firehose message that tell of its account; see ``read_account``. ``is_usual``: one pass read
    it.
    """

    kind: str
    dialect: str = "events"
    id: str | None = None
    accepted: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    account: Members = {}
    is_usual: bool = False

    def __repr__(self) -> str:
        return f"<post {self.kind} {self.id}: {len(self.parts)} parts>"


def read(body: bytes) -> Post:
    """Recognise a body and split it by user; its events are not read. Raises Malformed."""
    body = check_sound(body)
    fast = parse_fast(body)
    if fast is None:
        return parse_full(body)
    part, account = fast
    return Post(
        kind="event_processing_request",
        dialect="firehose",
        id=part.message,
        parts=(part,),
        account=account,
        is_usual=True,
    )


class RegistrationRequest(msgspec.Struct):
    """The members of a request for registration that are read of a stranger's post."""

    type: Literal["module_registration_request"]
    id: str | None = None


_registration_request = msgspec.json.Decoder(RegistrationRequest).decode


def read_registration_id(body: bytes) -> str | None:
    """Return the id of a request for registration, "" for one without an id, and None for any other body."""
    try:
        return _registration_request(body).id or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_full(body: bytes) -> Post:
    """Read a sound body in any format. Raises Malformed."""
    body, document = open_document(body)
    try:
        return _read_bulk(document) if isinstance(document, list) else _read_object(document, body)
    except Unreadable as wrong:
        raise Malformed(wrong.problem, wrong.where) from None


def _read_object(document: Members, body: bytes) -> Post:
    """Read a body that is one object; the first member that identifies a format decides."""
    type = read_word(document, "type")
    if type in firehose.REQUESTS:
        return _read_firehose(type, document, body)
    if type in RESPONSES:
        raise Malformed(f"{type} is an answer, no message to a receiver", "$.type")
    if type.endswith(("_request", "_response")):
        raise Malformed("no type of Firehose message", "$.type")
    if read_word(document, "request_type") == "alias":
        return _read_alias(document)
    if not document.keys().isdisjoint(events_batch.MARKS):
        return _make_events_post([_read_batch(document, body, 0)])
    if document.keys() >= {"subject_request_id", "subject_request_type"}:
        return _read_opendsr(document, body)
    if document.keys() >= {"subject_request_id", "request_status"}:
        return Post(kind="opendsr_callback", dialect="opendsr")
    if not document:
        return Post(kind="nothing")
    raise Malformed(_describe_unrecognised(document), "$")


RESPONSES = frozenset(type.replace("_request", "_response") for type in firehose.REQUESTS)


def _pick(document: Members, *names: str) -> Members:
    return {name: document[name] for name in names if name in document}


def _describe_unrecognised(document: Members) -> str:
    names = [name for name in document if name.isidentifier() and len(name) < 40]
    shown = ", ".join(names[:5]) or "other members"
    return f"none of mParticle's formats: an object with {shown}"


def _read_firehose(kind: str, document: Members, body: bytes) -> Post:
    id = text(read_plain(_pick(document, "id")), "id")
    stored, body = _drop_settings(document, body)
    message = known_id(id) or uuid4().hex
    parts = (
        make_part(said, DIALECTS["firehose"], dedupe=f"{message}/{said.batch.part}", body=body)
        for said, body in _iter_firehose_users(kind, stored, body, message)
    )
    return Post(
        kind=kind,
        dialect="firehose",
        id=id,
        parts=tuple(one for one in parts if one),
        account=_pick(document, "account", "timestamp_ms"),
    )


def _drop_settings(document: Members, body: bytes) -> tuple[Members, bytes]:
    """Return the message with only the id in ``account``. All else keeps its order and its bytes.

    The stored body is built from the members as they were read: however a name was spelled, and if it
    occurred twice, nothing of the customer's settings can remain.
    """
    if "account" not in document:
        return document, body
    stored = {**document, "account": _keep_id(document["account"])}
    return stored, encode(stored)


def _keep_id(account: msgspec.Raw) -> msgspec.Raw:
    """Return an account with its id alone; without a valid id, an empty value of the same type."""
    try:
        id = members(account).get("account_id")
    except msgspec.DecodeError:
        return BLANK.get(kind_of(account), account)
    if id is None:
        return BLANK["object"]
    kind = kind_of(id)
    return msgspec.Raw(b'{"account_id":%b}' % (id if kind == "string" else BLANK.get(kind, id)))


BLANK = {"object": msgspec.Raw(b"{}"), "array": msgspec.Raw(b"[]"), "string": msgspec.Raw(b'""')}
"""Empty values that replace values which may hold anything."""


def _iter_firehose_users(kind: str, stored: Members, body: bytes, message: str) -> Iterator[tuple[Message, bytes]]:
    """Yield the message about each user, and a body that holds no more than that. Raises Unreadable."""
    if kind == "module_registration_request":
        return
    if kind != "audience_membership_change_request":
        yield firehose.read_message(stored, id=message, part=0), body
        return
    envelope = {name: raw for name, raw in stored.items() if name in firehose.ENVELOPE}
    batch, profiles = firehose.read_envelope_and_entries(
        {**envelope, **_pick(stored, "user_profiles")}, id=message, part=0
    )
    start = encode(envelope)[:-1] + b',"user_profiles":['
    if len(start) * len(profiles) > MAX_TIMES * max(len(body), SMALL):
        raise Oversized(
            "too many profiles for so large an envelope: each is stored in one of its own", "$.user_profiles"
        )
    for number, profile in enumerate(profiles):
        member = audiences.read_member(msgspec.structs.replace(batch, part=number), profile)
        yield Message(member), b"%b%b]}" % (start, profile)


def _read_bulk(batches: list[msgspec.Raw]) -> Post:
    """Read an array of Events batches, and set aside those that cannot be read.

    Raises Unreadable if none can be, or if they are more than MAX_ELEMENTS.
    """
    read: list[tuple[str | None, Part | None]] = []
    unreadable: list[msgspec.Raw] = []
    problems: list[Unreadable] = []
    for number, raw in enumerate(check_bound(batches)):
        try:
            read.append(_read_element(raw, number))
        except Unreadable as wrong:
            unreadable.append(raw)
            if len(unreadable) <= TOLD:
                problems.append(wrong.bare())
    if not unreadable:
        return _make_events_post(read)
    if not read:
        raise problems[0]
    return _make_events_post([*read, (None, _make_unreadable_part(unreadable, problems))])


def _make_unreadable_part(unreadable: list[msgspec.Raw], wrong: list[Unreadable]) -> Part:
    """Return one part for all unreadable batches. Its body is an array of the problems and the batches.

    The first few are a quarantined fact each, and the rest is one together.
    """
    message = uuid4().hex
    problems = [f"{one.where}: {one.problem}" for one in wrong]
    if len(unreadable) > len(wrong):
        problems.append(f"$: {len(unreadable) - len(wrong)} more that cannot be read")
    return Part(
        message=message,
        number=0,
        dedupe=message,
        user_key=f"message:{message}",
        facts=len(problems),
        refs=(message,),
        body=encode([problems, [_drop_secrets(raw) for raw in unreadable]]),
    )


def _drop_secrets(raw: msgspec.Raw) -> msgspec.Raw:
    """Return what was posted as a batch, without the customer's settings."""
    if kind_of(raw) != "object":
        return BLANK.get(kind_of(raw), raw)  # no batch: it may hold anything
    _, kept = _drop_settings(members(raw), bytes(raw))
    return msgspec.Raw(kept)


def _read_element(raw: msgspec.Raw, number: int) -> tuple[str, Part | None]:
    try:
        document = members(raw)
    except msgspec.DecodeError:
        raise Unreadable(f"expected an object, got {kind_of(raw)}", number) from None
    if read_word(document, "type") in firehose.REQUESTS:
        raise Unreadable("a Firehose message cannot be part of an array", number)
    if document and document.keys().isdisjoint(events_batch.MARKS):
        raise Unreadable(_describe_unrecognised(document), number)
    try:
        return _read_batch(document, bytes(raw), number)
    except Unreadable as wrong:
        raise wrong.inside(number) from None


def _make_events_post(batches: Sequence[tuple[str | None, Part | None]]) -> Post:
    return Post(
        kind="events",
        accepted=tuple(message for message, _ in batches if message is not None),
        parts=tuple(one for _, one in batches if one),
    )


def _read_batch(document: Members, body: bytes, number: int) -> tuple[str, Part | None]:
    """Return the id and the part of an Events batch.

    mParticle may post one batch as several, with one event in each: then they share ``batch_id`` and
    ``source_request_id``, and the bytes must tell them apart.
    """
    ids = events_batch.read_ids(document)
    shared = ids.batch or ids.request
    message = ids.message or (f"{shared}.{blake2b(body, digest_size=16).hexdigest()}" if shared else uuid4().hex)
    stored, body = _drop_settings(document, body)
    said = events_batch.read_message(stored, id=message, part=number)
    return message, make_part(said, DIALECTS["events"], dedupe=message, refs=ids, body=body)


def _read_alias(document: Members) -> Post:
    stored = {name: raw for name, raw in document.items() if name not in aliases.SECRETS}
    message = known_id(text(read_plain(_pick(stored, "request_id")), "request_id")) or uuid4().hex
    dialect = DIALECTS["alias"]
    one = make_part(
        dialect.message(stored, id=message, part=0), dialect, dedupe=f"alias/{message}", body=encode(stored)
    )
    return Post(kind="alias", dialect="alias", accepted=(message,), parts=(one,) if one else ())


def _read_opendsr(document: Members, body: bytes) -> Post:
    head = read_plain(_pick(document, "subject_request_id", "subject_request_type"))
    required(word(head, "subject_request_type"), "subject_request_type")
    message = known_id(text(head, "subject_request_id")) or uuid4().hex
    stored, body = _drop_settings(document, body)
    dialect = DIALECTS["opendsr"]
    said = dialect.message(stored, id=message, part=0)
    one = make_part(said, dialect, dedupe=message, body=body)
    return Post(kind="opendsr_request", dialect="opendsr", accepted=(message,), parts=(one,) if one else ())
