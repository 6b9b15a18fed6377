"""What the PostgreSQL engine does beyond the port: many processes, lost connections, lost leases, upgrades."""

import asyncio
import itertools
import signal
import time

import pytest
from msgspec.structs import replace
from support.journal_words import BOTH, DELIVERED, find, finish, settle
from support.postgres_server import QUOTED, postgres_server
from support.proxy import proxy

from gateway.journal.engines import inspect, open_journal, prepare, shown
from gateway.journal.shared_limits import ClosedGate, SharedLimits
from gateway.journal.types import Count, Finished, JournalUnavailable, JournalUnusable, Memo, hash64
from gateway.journal.wait_reasons import RETRY, WaitReason
from gateway.settings import JournalSettings

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
LEASE_S = 0.6
FAR_MS = 2**50  # everything is due by then; leases go by the server's clock


async def claim(journal, connection="loyalty", *, lanes=10, items=10):
    return await journal.claim(connection, now_ms=FAR_MS, lanes=lanes, items=items)


@pytest.fixture
def engine():
    return "postgresql"


@pytest.fixture
def sql(settings, server):
    """Run a statement on the journal's database."""
    return lambda statement: server.sql(statement, settings.url.rpartition("/")[2])


@pytest.fixture
async def others(settings, anyio_backend):
    """Another process's journal, with short leases: ``await others()``."""
    opened = []

    async def another(**fields):
        made = await open_journal(settings.model_copy(update={"lease_s": LEASE_S, **fields}))
        assert await made.take_over()
        opened.append(made)
        return made

    await prepare(settings)
    yield another
    for one in opened:
        await one.close()


def die(journal):
    """What is left of a process that was killed: it renews nothing, and gives nothing back."""
    for task in journal._tasks.values():
        task.cancel()
    journal._held.clear()


async def until(look, seconds=10.0):
    """What ``look()`` finds, once it finds something."""
    end = asyncio.get_running_loop().time() + seconds
    while not (found := await look()):
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)
    return found


async def test_two_dispatchers_share_the_lanes(others, make_entry):
    first, second = await others(), await others()
    await first.accept([make_entry(f"m{n}", user=str(n)) for n in range(200)], ("loyalty",))
    both = await asyncio.gather(*(claim(one, lanes=10) for _ in range(15) for one in (first, second)))
    claimed = [[lane.user for lanes in both[start::2] for lane in lanes] for start in (0, 1)]
    assert sorted(claimed[0] + claimed[1]) == sorted(hash64(str(n)) for n in range(200))
    assert min(map(len, claimed)) > 0


async def test_what_a_dead_dispatcher_had_is_taken_over_once_its_lease_ends(others, make_entry):
    first, second = await others(), await others()
    await first.accept([make_entry("m1"), make_entry("m2")], ("loyalty",))
    (old,) = await claim(first, items=1)
    die(first)
    assert await claim(second) == []
    (new,) = await until(lambda: claim(second))
    assert [item.message for item in new.items] == ["m1", "m2"]
    assert await first.settle(finish(old, *old.items, release=True)) is False
    assert await second.settle(finish(new, *new.items, release=True)) is True
    assert [count.facts for count in await first.counts() if count.state == "delivered"] == [2]


SET_BACK = "UPDATE lanes SET due_ms = due_ms + 36000000 WHERE owner IS NOT NULL"


async def test_leases_given_before_the_servers_clock_was_set_back_begin_anew(others, make_entry, sql):
    first, second = await others(), await others()
    await first.accept([make_entry("m1", user="ann")], ("loyalty",))
    (dead,) = await claim(first)
    die(first)
    await second.accept([make_entry("m2", user="bob")], ("loyalty",))
    (alive,) = await claim(second)
    sql(SET_BACK)
    third = await others()
    await third.reschedule_after_clock_jump(after_ms=FAR_MS, now_ms=FAR_MS, limit=10)
    assert await claim(third) == []
    (taken,) = await until(lambda: claim(third))
    assert taken.user == dead.user
    assert await second.settle(finish(alive, *alive.items, release=True)) is True


async def test_a_node_whose_clock_is_behind_takes_over_all_the_same(others, make_entry):
    first, second = await others(), await others()
    await first.accept([make_entry("m1", received_ms=2**45)], ("loyalty",))  # by a clock that is ahead
    assert len(await first.claim("loyalty", now_ms=int(time.time() * 1000), lanes=1, items=1)) == 1
    die(first)
    assert len(await until(lambda: second.claim("loyalty", now_ms=5_000, lanes=1, items=1))) == 1


async def test_what_dispatchers_told_before_the_servers_clock_was_set_back_is_not_heeded(others, sql):
    first, second = await others(), await others()
    await first.exchange("loyalty", [ClosedGate(scope="users", left_ms=60_000, reason=WaitReason(RETRY, "too_many"))])
    assert len((await second.exchange("loyalty", [])).closings) == 1
    sql("UPDATE gates SET until_ms = until_ms + 36000000; UPDATE dispatchers SET seen_ms = seen_ms + 36000000")
    assert (await second.exchange("loyalty", [])).closings == ()
    await second.prune(before_ms=0, dead_before_ms=0, after_seq=0, limit=1)
    assert await second.exchange("loyalty", []) == SharedLimits(dispatchers=1)
    await first.exchange("loyalty", [ClosedGate(scope="users", left_ms=60_000, reason=WaitReason(RETRY, "too_many"))])
    heard = await second.exchange("loyalty", [])
    assert (heard.dispatchers, [one.scope for one in heard.closings]) == (2, ["users"])


async def test_a_dispatcher_keeps_what_it_works_on_for_long(others, make_entry):
    first, second = await others(), await others()
    await first.accept([make_entry("m1")], ("loyalty",))
    (lane,) = await claim(first)
    await asyncio.sleep(3 * LEASE_S)
    assert await claim(second) == []
    assert await first.settle(finish(lane, *lane.items, release=True)) is True


async def test_a_lease_that_ended_holds_until_somebody_takes_the_lane(others, make_entry):
    first = await others()
    await first.accept([make_entry("m1")], ("loyalty",))
    (lane,) = await claim(first)
    die(first)
    await asyncio.sleep(2 * LEASE_S)
    assert await first.settle(finish(lane, *lane.items, release=True)) is True


async def test_a_dispatcher_that_was_late_takes_nothing_from_itself_but_what_it_does_not_know_of(others, make_entry):
    journal = await others()
    await journal.accept([make_entry("m1")], ("loyalty",))
    (lane,) = await claim(journal)
    for task in journal._tasks.values():
        task.cancel()
    await asyncio.sleep(2 * LEASE_S)
    assert await claim(journal) == []
    journal._held.clear()  # as if the answer to the claim had been lost
    assert [one.user for one in await claim(journal)] == [lane.user]


async def test_an_orderly_stop_gives_back_what_is_claimed_at_once(settings, others, make_entry):
    first, second = await open_journal(settings), await others()
    await first.accept([make_entry("m1")], ("loyalty",))
    assert len(await claim(first)) == 1
    await first.close()
    assert len(await claim(second)) == 1


async def test_a_clock_that_runs_ahead_takes_nobodys_lane(others, make_entry):
    first, second = await others(lease_s=30), await others()
    await first.accept([make_entry("m1")], ("loyalty",))
    assert len(await claim(first)) == 1
    await asyncio.sleep(2 * LEASE_S)
    assert await claim(second) == []


async def test_nobody_looks_again_and_again_at_what_another_has_claimed(others, make_entry):
    first, second = await others(lease_s=30), await others()
    await first.accept([make_entry("m1", received_ms=1)], ("loyalty",))
    assert len(await claim(first)) == 1
    lasted = []
    for _ in range(3):  # the first may end at a hint of what was accepted
        started = time.monotonic()
        await second.wait(["loyalty"], now_ms=FAR_MS, timeout_s=0.3)
        lasted.append(time.monotonic() - started)
    assert max(lasted) > 0.25


async def test_what_is_due_later_ends_a_wait_then(others, make_entry):
    journal = await others()
    await journal.accept([make_entry("m1", received_ms=10_000)], ("loyalty",))
    started = time.monotonic()
    await journal.wait(["loyalty"], now_ms=9_700, timeout_s=60)
    assert time.monotonic() - started < 30


async def test_no_lane_is_left_behind_when_work_arrives_while_it_is_emptied(others, make_entry, sql):
    nodes = [await others(lease_s=30) for _ in range(3)]
    ends = itertools.count()

    async def post(node, start):
        for number in range(start, start + 150):
            await node.accept([make_entry(f"m{number}", user=str(number % 3), received_ms=0)], BOTH)

    async def work(node, connection):
        done = 0
        while done < 450 and next(ends) < 20_000:
            for lane in await claim(node, connection, lanes=2):
                done += len(lane.items)
                await node.settle(finish(lane, *lane.items, release=True))
            await asyncio.sleep(0)
        return done

    posting = [post(node, 1000 * number) for number, node in enumerate(nodes)]
    finished = await asyncio.gather(work(nodes[0], "loyalty"), work(nodes[1], "email"), *posting)
    assert finished[:2] == [450, 450]
    assert sql("SELECT count(*) FROM work") == sql("SELECT count(*) FROM lanes") == "0"


async def test_a_users_messages_keep_their_order_whichever_node_takes_them(others, make_entry):
    nodes = [await others() for _ in range(3)]
    for number in range(30):
        await nodes[number % 3].accept([make_entry(f"m{number}")], ("loyalty",))
    (lane,) = await claim(nodes[0], items=100)
    assert [item.message for item in lane.items] == [f"m{number}" for number in range(30)]


async def test_many_nodes_store_and_settle_at_once_without_waiting_in_a_circle(others, make_entry, sql):
    nodes = [await others(lease_s=30) for _ in range(4)]
    names = [f"m{number}" for number in range(40)]

    async def busy(node, step):
        for turn in range(10):
            some = [make_entry(name, user=name) for name in names[:: 1 if (turn + step) % 2 else -1]]
            await node.accept(some, BOTH)
            lanes = await claim(node, BOTH[step % 2], lanes=20)
            await asyncio.gather(*(node.settle(settle(lane, release=True)) for lane in lanes))

    await asyncio.gather(*(busy(node, step) for step, node in enumerate(nodes)))
    counted = {(count.connection, count.state): count.facts for count in await nodes[0].counts()}
    assert counted == {(name, "received"): 40 for name in BOTH}
    assert sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == "0"


async def test_a_server_that_goes_away_is_missed_and_found_again(make_entry):
    with postgres_server() as server:
        settings = JournalSettings(url=server.url(server.new_database()))
        await prepare(settings)
        journal = await open_journal(settings)
        assert await journal.accept([make_entry("m1")], ("loyalty",)) == 1
        for how in (signal.SIGINT, signal.SIGQUIT):
            server.stop(how)
            for call in (lambda: journal.accept([make_entry("m2")], ("loyalty",)), journal.ping, journal.counts):
                with pytest.raises(JournalUnavailable, match=r"127\.0\.0\.1"):
                    await call()
            server.start()
            await until(lambda: reachable(journal))
        assert await journal.accept([make_entry("m1"), make_entry("m2")], ("loyalty",)) == 1
        (lane,) = await claim(journal)
        assert [item.message for item in lane.items] == ["m1", "m2"]
        await journal.close()


async def reachable(journal):
    try:
        await journal.ping()
    except JournalUnavailable:
        return False
    return True


async def test_a_connection_lost_in_mid_transaction_stores_nothing(others, make_entry, sql):
    journal = await others()
    await journal.accept([make_entry("m0")], ("loyalty",))
    blocker = await others()
    held = asyncio.Event()

    async def block(connection):
        async with connection.transaction():
            await connection.execute("LOCK TABLE refs IN EXCLUSIVE MODE")
            storing = asyncio.create_task(journal.accept([make_entry("m1", refs=("r",))], ("loyalty",)))
            await asyncio.sleep(0.2)
            await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            held.set()
            with pytest.raises(JournalUnavailable):
                await storing

    await blocker._aside.run(block)
    assert sql("SELECT message FROM batches") == "m0"
    assert await journal.accept([make_entry("m1", refs=("r",))], ("loyalty",)) == 1


async def test_what_was_stored_though_its_answer_was_lost_is_stored_once(settings, server, make_entry):
    await prepare(settings)
    async with proxy(server.port) as between:
        journal = await open_journal(
            settings.model_copy(update={"url": settings.url.replace(str(server.port), str(between.port))})
        )
        await journal.accept([make_entry("m0")], ("loyalty",))
        between.loses_answers = True
        with pytest.raises(JournalUnavailable):
            await journal.accept([make_entry("m1")], ("loyalty",))
        between.loses_answers = False
        assert await until(lambda: again(journal, [make_entry("m1")])) == "repeated"
        await journal.close()


async def again(journal, entries):
    try:
        return "new" if await journal.accept(entries, ("loyalty",)) else "repeated"
    except JournalUnavailable:
        return None


async def test_what_is_settled_twice_counts_once(others, make_entry):
    journal = await others()
    await journal.accept([make_entry("m1", facts=2, refs=("m1",)), make_entry("m2")], ("loyalty",))
    (lane,) = await claim(journal)
    done = Finished(seq=lane.items[0].seq, facts=2, outcomes=DELIVERED)
    settlement = settle(lane, finished=(done,), memos=(Memo(key="k", value=1),))
    assert [await journal.settle(settlement) for _ in range(2)] == [True, True]
    assert await journal.counts() == [
        Count(connection="loyalty", state="delivered", reason="", facts=1),
        Count(connection="loyalty", state="received", reason="", facts=2),
    ]
    assert len((await find(journal, "m1"))[0].sightings) == 1


async def test_after_an_outage_everybody_can_first_record_what_they_have_in_hand(settings, server, make_entry):
    await prepare(settings)
    async with proxy(server.port) as between:
        url = settings.url.replace(str(server.port), str(between.port))
        first, second = [await open_journal(JournalSettings(url=url, lease_s=LEASE_S)) for _ in range(2)]
        await first.accept([make_entry("m1")], ("loyalty",))
        (lane,) = await claim(first)
        assert await claim(second) == []
        die(first)
        await asyncio.sleep(2 * LEASE_S)
        between.cut()
        assert await until(lambda: tried(second)) == "nothing"
        assert await until(lambda: settled(first, finish(lane, *lane.items, release=True)))
        for one in (first, second):
            await one.close()


async def tried(journal):
    """What a claim brought, None while the journal is away."""
    try:
        return await claim(journal) or "nothing"
    except JournalUnavailable:
        return None


async def settled(journal, settlement):
    try:
        return await journal.settle(settlement)
    except JournalUnavailable:
        return None


async def test_a_failed_commit_stores_nothing_and_says_so_without_any_row(others, make_entry, sql):
    journal = await others()
    sql("ALTER TABLE work ADD CONSTRAINT none CHECK (connection <> 'loyalty')")
    with pytest.raises(JournalUnavailable) as caught:
        await journal.accept([make_entry("m1", user="somebody")], ("loyalty",))
    assert (str(hash64("somebody")) in str(caught.value), "check constraint" in str(caught.value)) == (False, True)
    sql("ALTER TABLE work DROP CONSTRAINT none")
    assert await journal.accept([make_entry("m1")], ("loyalty",)) == 1


async def test_dispatchers_hear_of_each_other_and_of_what_is_closed(others):
    first, second = await others(), await others()
    assert await first.exchange("loyalty", []) == SharedLimits()
    assert (await second.exchange("loyalty", [])).dispatchers == 2
    assert (await second.exchange("email", [])).dispatchers == 1
    closing = ClosedGate(scope="api", left_ms=60_000, reason=WaitReason(RETRY, "status_429"))
    await first.exchange("loyalty", [closing])
    assert (await first.exchange("loyalty", [])).closings == ()
    (heard,) = (await second.exchange("loyalty", [])).closings
    assert (heard.scope, heard.reason, 55_000 < heard.left_ms <= 60_000) == ("api", closing.reason, True)
    await second.exchange("loyalty", [replace(closing, left_ms=10)])  # shorter than what is known
    assert len((await second.exchange("loyalty", [])).closings) == 1
    assert (await second.exchange("email", [])).closings == ()
    await first.close()
    assert (await second.exchange("loyalty", [])).dispatchers == 1


async def test_a_dispatcher_that_is_not_heard_of_any_more_does_not_count(others):
    first, second = await others(), await others()
    await first.exchange("loyalty", [])
    await asyncio.sleep(2 * LEASE_S)
    assert (await second.exchange("loyalty", [])).dispatchers == 1


async def test_a_journal_of_an_older_version_is_brought_up_to_date_while_it_is_used(settings, make_entry, sql):
    async with asyncio.timeout(20):
        await journal_of_version(1, settings)
        older = await open_journal(settings)
        posting = [asyncio.create_task(older.accept([make_entry(f"m{n}", user=str(n))], BOTH)) for n in range(50)]
        await asyncio.gather(*(prepare(settings) for _ in range(3)), *posting)
        assert versions(sql) == newest()
        assert len(await claim(older, lanes=100)) == 50
        await older.close()


async def journal_of_version(version, settings):
    import asyncpg

    from gateway.journal.postgres import schema

    connection = await asyncpg.connect(settings.url)
    await connection.execute(schema.VERSIONS)
    for number, script in enumerate(schema.MIGRATIONS[:version], 1):
        await connection.execute(script)
        await connection.execute("INSERT INTO journal_versions (version, oldest) VALUES ($1, 1)", number)
    await connection.close()


def newest():
    """The versions that the schema has had."""
    from gateway.journal.postgres import schema

    return [str(number) for number in range(1, len(schema.MIGRATIONS) + 1)]


def versions(sql):
    return sql("SELECT version FROM journal_versions ORDER BY version").splitlines()


async def test_nodes_that_start_together_make_the_journal_once(settings, sql):
    assert await inspect(settings) is False
    await asyncio.gather(*(prepare(settings) for _ in range(6)))
    assert await inspect(settings) is True
    assert versions(sql) == newest()


@pytest.mark.parametrize(("oldest", "usable"), [(1, True), (98, False)])
async def test_a_newer_schema_is_used_where_it_says_that_older_nodes_may(settings, sql, oldest, usable):
    await prepare(settings)
    sql(f"INSERT INTO journal_versions (version, oldest) VALUES (99, {oldest})")
    if usable:
        await prepare(settings)
    else:
        with pytest.raises(JournalUnusable, match="a newer one wrote it"):
            await prepare(settings)
    assert sql("SELECT max(version) FROM journal_versions") == "99"


async def test_what_is_committed_is_durable_even_where_the_database_says_otherwise(settings, make_entry, sql):
    sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
    await prepare(settings)
    journal = await open_journal(settings)
    shown = await journal._storing.run(lambda connection: connection.fetchval("SHOW synchronous_commit"))
    assert shown == "on"
    await journal.close()


async def test_a_server_is_reached_through_the_directory_of_its_socket(server, make_entry):
    database = server.new_database()
    url = f"postgresql://gateway:{QUOTED}@/{database}?host={server.directory}&port={server.port}"
    of = JournalSettings(url=url)
    await prepare(of)
    journal = await open_journal(of)
    try:
        assert await journal.accept([make_entry("m1")], ("loyalty",)) == 1
    finally:
        await journal.close()
    assert shown(of) == f"postgresql:///{database}?host={server.directory}"
