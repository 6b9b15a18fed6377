"""The next step of an errand, once the reply to the last one has come."""

from __future__ import annotations

from gateway.sdk import Call, Plan, Reply, Skip, Verdict, delivered, rejected, retry
from gateway_sessionm import errand as errands
from gateway_sessionm.errand import Errand, Step
from gateway_sessionm.identities import MAX_LOOKS, confirmed, missing, shown
from gateway_sessionm.replies import NOT_THERE, Meaning, meaning, verdict
from gateway_sessionm.settings import SessionMSettings


def judge(call: Call, reply: Reply, settings: SessionMSettings) -> Verdict | Plan:
    """A verdict, the calls to make in this call's place, or None for the gateway's own rules."""
    errand, said = errands.errand_of(call), meaning(reply)
    if said.word == "ok":
        return _done(errand, said, settings)
    if said.word == "unknown_user":
        return _unknown(errand, said.code, settings)
    if said == NOT_THERE and "%" in call.path:
        return rejected(said.code)  # a proxy that dislikes a quoted id says nothing about the connection
    return _failed(errand, said, reply)


def _done(errand: Errand, said: Meaning, settings: SessionMSettings) -> Verdict | Plan:
    match errand.step:
        case Step.UPDATE if errand.unconfirmed:
            return errands.compare(errand)
        case Step.IDENTIFY | Step.COMPARE:
            return _compared(errand, said, settings)
        case Step.LOOK:
            return _found(errand, said, settings)
        case Step.ADOPT | Step.CREATE | Step.EXTEND:
            return _settled(errand)
        case Step.RETURN if errand.unconfirmed:
            return retry("lost_race", after_s=0, restart=True)  # known by MPID now, who may lack some of the ids
        case _:
            return delivered()


def _failed(errand: Errand, said: Meaning, reply: Reply) -> Verdict | Plan:
    match errand.step:
        case Step.ERASE if _is_gone(said, reply):
            return delivered(said.code)
        case Step.EXTEND if _is_about_the_body(said, reply):
            return rejected("identity_conflict")  # nothing but ids was written
        case Step.CREATE | Step.ADOPT if _is_about_the_body(said, reply):
            return _declined(errand, said.code)
        case _:
            return verdict(said)


def _unknown(errand: Errand, code: str, settings: SessionMSettings) -> Verdict | Plan:
    match errand.step:
        case Step.UPDATE | Step.IDENTIFY | Step.SEND:
            looks = dict.fromkeys(identifier.external_id for identifier in errand.identifiers)
            return _look_on(errand.at(errand.step, looks=list(looks)[:MAX_LOOKS]), settings)
        case Step.LOOK:
            return _look_on(errand, settings)
        case Step.ERASE:
            return delivered(code)
        case _:
            return rejected(errand.declined or code)


def _compared(errand: Errand, said: Meaning, settings: SessionMSettings) -> Verdict | Plan:
    known = shown(said.user)
    if known is None:
        return rejected("identifiers_not_shown")  # writing a list that may be shorter would take ids away
    if missing(errand.identifiers, known):
        return errands.extend(errand, known, settings.external_id_type)
    return confirmed(errand.mpid, errand.identifiers)


def _found(errand: Errand, said: Meaning, settings: SessionMSettings) -> Verdict | Plan:
    found = said.user.get("id")
    if not isinstance(found, str) or not found:
        return verdict(Meaning(word="unclear"))
    if errand.found not in (None, found):
        return rejected("identity_conflict")
    return _look_on(errand.at(errand.step, found=found, known=shown(said.user)), settings)


def _look_on(errand: Errand, settings: SessionMSettings) -> Plan:
    """Look under the next id; after the last one adopt who was found, or create the user, or skip."""
    if errand.looks:
        return errands.look(errand)
    if errand.found is not None:
        return errands.adopt(errand, settings.external_id_type)
    if settings.on_unknown_user == "skip":
        return Skip(reason="unknown_user")
    return errands.create(errand, settings.external_id_type)


def _is_gone(said: Meaning, reply: Reply) -> bool:
    """Whether a deletion that was not answered with ok has come true: it may answer with nothing, or find nobody."""
    if said.word == "declined":
        return said.code == "not_found" or reply.status == 404
    return said.word == "unclear" and not reply.body


def _is_about_the_body(said: Meaning, reply: Reply) -> bool:
    """Whether what was written is at fault: an id or an address, say, that is somebody else's by now."""
    return said.word == "declined" and (said.code == "validation" or reply.status in (400, 409, 422))


def _declined(errand: Errand, code: str) -> Plan:
    """Somebody may have been faster and have given the MPID to a user: try once more under that."""
    declined = errand.at(errand.step, declined=code)
    return errands.send(declined) if errand.events else errands.write_profile(declined)


def _settled(errand: Errand) -> Verdict | Plan:
    """The user is known by MPID: remember the ids, and post the event that was waiting for it."""
    if errand.step is Step.ADOPT and errand.known is None:
        return errands.send(errand) if errand.events else delivered()  # ids not shown are not known to be complete
    memory = confirmed(errand.mpid, errand.identifiers)
    return [memory, errands.send(errand)] if errand.events else memory
