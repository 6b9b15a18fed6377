"""The follow-up to each reply: a verdict, or the next call of the same delivery."""

from __future__ import annotations

from gateway.sdk import Call, Plan, Reply, Skip, Verdict, delivered, rejected, retry
from gateway_sessionm import calls
from gateway_sessionm.replies import Meaning, judge, read_reply
from gateway_sessionm.settings import SessionMSettings
from gateway_sessionm.steps import CallMemo, DeliveryStep, read_memo
from gateway_sessionm.user_keys import MAX_LOOKS, find_missing, read_identifiers, remember_identifiers


def follow_up(call: Call, reply: Reply, settings: SessionMSettings) -> Verdict | Plan:
    """Return a verdict, the calls to make in this call's place, or None for the gateway's own rules."""
    memo, meaning = read_memo(call), read_reply(reply)
    if meaning.word == "ok":
        return _after_success(memo, meaning, settings)
    if meaning.word == "unknown_user":
        return _after_unknown_user(memo, meaning.code, settings)
    return _after_failure(call, memo, meaning, reply)


def _after_success(memo: CallMemo, meaning: Meaning, settings: SessionMSettings) -> Verdict | Plan:
    match memo.step:
        case DeliveryStep.UPDATE if memo.unconfirmed:
            return calls.read_identifiers(memo)
        case DeliveryStep.IDENTIFY | DeliveryStep.COMPARE:
            return _compare_identifiers(memo, meaning, settings)
        case DeliveryStep.LOOK:
            return _note_found_user(memo, meaning, settings)
        case DeliveryStep.ADOPT | DeliveryStep.CREATE | DeliveryStep.EXTEND:
            return _finish(memo)
        case DeliveryStep.RETURN if memo.unconfirmed:
            return retry("lost_race", after_s=0, restart=True)  # known by MPID now, but perhaps without some of the ids
        case _:
            return delivered()


def _after_failure(call: Call, memo: CallMemo, meaning: Meaning, reply: Reply) -> Verdict | Plan:
    match memo.step:
        case DeliveryStep.ERASE if _is_gone(meaning, reply):
            return delivered(meaning.code)
        case DeliveryStep.EXTEND if _declines_body(meaning, reply):
            return rejected("identity_conflict")  # nothing but ids was written
        case DeliveryStep.SEND | DeliveryStep.RESEND if meaning.code == "not_found":
            return _reject_undefined(call)
        case DeliveryStep.CREATE | DeliveryStep.ADOPT if _declines_body(meaning, reply):
            return _try_by_mpid(memo, meaning.code)
        case _:
            return judge(meaning)


def _reject_undefined(call: Call) -> Verdict:
    """Reject a call because SessionM knows no event of this name; the names are those of the configuration."""
    events = call.json.get("events") if isinstance(call.json, dict) else None
    names = " or ".join(repr(name) for name in events) if isinstance(events, dict) else "this name"
    return rejected("undefined_event", detail=f"no event named {names} is defined at SessionM")


def _after_unknown_user(memo: CallMemo, code: str, settings: SessionMSettings) -> Verdict | Plan:
    match memo.step:
        case DeliveryStep.UPDATE | DeliveryStep.IDENTIFY | DeliveryStep.SEND:
            looks = dict.fromkeys(identifier.external_id for identifier in memo.identifiers)
            return _look_on(memo.at(memo.step, looks=list(looks)[:MAX_LOOKS]), settings)
        case DeliveryStep.LOOK:
            return _look_on(memo, settings)
        case DeliveryStep.ERASE:
            return delivered(code)
        case _:
            return rejected(memo.declined or code)


def _compare_identifiers(memo: CallMemo, meaning: Meaning, settings: SessionMSettings) -> Verdict | Plan:
    known = read_identifiers(meaning.user)
    if known is None:
        return rejected("identifiers_not_shown")  # writing a list that may be shorter would take ids away
    if find_missing(memo.identifiers, known):
        return calls.write_identifiers(memo, known, settings.external_id_type)
    return remember_identifiers(memo.mpid, memo.identifiers)


def _note_found_user(memo: CallMemo, meaning: Meaning, settings: SessionMSettings) -> Verdict | Plan:
    found = meaning.user.get("id")
    if not isinstance(found, str) or not found:
        return judge(Meaning(word="unclear"))
    if memo.found not in (None, found):
        return rejected("identity_conflict")
    return _look_on(memo.at(memo.step, found=found, known=read_identifiers(meaning.user)), settings)


def _look_on(memo: CallMemo, settings: SessionMSettings) -> Plan:
    """Look under the next id; after the last one adopt the user found, or create the user, or skip."""
    if memo.looks:
        return calls.look_up(memo)
    if memo.found is not None:
        return calls.adopt_user(memo, settings.external_id_type)
    if settings.on_unknown_user == "skip":
        return Skip(reason="unknown_user")
    return calls.create_user(memo, settings.external_id_type)


def _is_gone(meaning: Meaning, reply: Reply) -> bool:
    """Return whether a deletion took effect although the answer is not ok: it may be empty, or find no user."""
    if meaning.word == "declined":
        return meaning.code == "not_found" or reply.status == 404
    return meaning.word == "unclear" and not reply.body


def _declines_body(meaning: Meaning, reply: Reply) -> bool:
    """Return whether SessionM declines what was written: an id or an address, say, that is another user's by now."""
    return meaning.word == "declined" and (meaning.code == "validation" or reply.status in (400, 409, 422))


def _try_by_mpid(memo: CallMemo, code: str) -> Plan:
    """Try once more under the MPID, which a concurrent call may have given to a user."""
    declined = memo.at(memo.step, declined=code)
    return calls.post_event(declined) if memo.events else calls.write_profile(declined)


def _finish(memo: CallMemo) -> Verdict | Plan:
    """Remember the ids of a user who is now known by MPID, and post the event that was waiting for it."""
    if memo.step is DeliveryStep.ADOPT and memo.known is None:
        return calls.post_event(memo) if memo.events else delivered()  # ids not shown are not known to be complete
    memory = remember_identifiers(memo.mpid, memo.identifiers)
    return [memory, calls.post_event(memo)] if memo.events else memory
