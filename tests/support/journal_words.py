"""Words for tests of the journal: claim, settle, finish, find."""

from gateway.journal.types import Finished, Outcome, Settlement, hash_ref

BOTH = ("loyalty", "email")
DELIVERED = (Outcome("identities", "delivered"),)


async def claim(journal, connection="loyalty", *, now_ms=10_000, lanes=10, items=10):
    return await journal.claim(connection, now_ms=now_ms, lanes=lanes, items=items)


def settle(lane, **fields):
    return Settlement(connection=lane.connection, user=lane.user, fence=lane.fence, **fields)


def finish(lane, *items, outcomes=DELIVERED, is_wish=False, unkept=False, **fields):
    kinds = {"is_wish": is_wish, "unkept": unkept}
    finished = tuple(Finished(seq=item.seq, facts=item.facts, outcomes=outcomes, **kinds) for item in items)
    return settle(lane, finished=finished, **fields)


def ref(id, salt=b""):
    """An id, hashed; where an engine is given hashes, it cares not with what salt."""
    return hash_ref(id, salt)


async def find(journal, *ids):
    return await journal.find([ref(id) for id in ids])


async def seq_of(journal, id):
    (found,) = await find(journal, id)
    return found.seq
