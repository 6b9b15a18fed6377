"""The plugin contract: every hook, in the order in which the gateway asks.

Hooks are plain functions of facts: no I/O, no clock, no state. Given the same arguments they return the
same plan, on every attempt. A hook may take fewer arguments than its spec offers, and may be a generator.
"""

from __future__ import annotations

from typing import Any

import pluggy

from gateway.sdk.calls import Call, Memory, Plan, Reply, Verdict
from gateway.sdk.destination import Destination
from gateway.sdk.events import Event, Session
from gateway.sdk.model import (
    AttributeChange,
    Audience,
    Batch,
    ConsentChange,
    Erasure,
    IdentityChange,
    Membership,
    User,
)

hookspec = pluggy.HookspecMarker("gateway")
hookimpl = pluggy.HookimplMarker("gateway")


class Hooks:
    """The hooks of a destination plugin. Settings are an instance of the plugin's own settings model."""

    @hookspec(firstresult=True)
    def destination(self) -> Destination:
        """The gateway starts: say what this plugin is and what it needs."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def on_identity(
        self, changes: tuple[IdentityChange, ...], user: User, batch: Batch, memory: Memory, settings: Any
    ) -> Plan:
        """A batch told the user's identities; ``changes`` are those gained, changed or lost, often none."""

    @hookspec(firstresult=True)
    def on_attributes(
        self, changes: tuple[AttributeChange, ...], user: User, batch: Batch, memory: Memory, settings: Any
    ) -> Plan:
        """A batch told the user's whole profile; ``changes`` are the attributes set or removed, often none."""

    @hookspec(firstresult=True)
    def on_consent(
        self, changes: tuple[ConsentChange, ...], user: User, batch: Batch, memory: Memory, settings: Any
    ) -> Plan:
        """The user gave or withdrew consent; ``changes`` are none where a batch holds the consent state and no more."""

    @hookspec(firstresult=True)
    def on_event(self, event: Event, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """The user did something: a custom event, a screen view, commerce, and every other kind but sessions."""

    @hookspec(firstresult=True)
    def on_session(self, session: Session, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """A session of the user's started or ended."""

    @hookspec(firstresult=True)
    def on_audience(self, audience: Audience, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """An audience was connected, renamed or removed."""

    @hookspec(firstresult=True)
    def on_membership(self, membership: Membership, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """The user entered or left an audience, or attributes shared with it changed."""

    @hookspec(firstresult=True)
    def on_erasure(self, erasure: Erasure, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """The user asked to be forgotten."""

    @hookspec(firstresult=True)
    def coalesce(self, calls: tuple[Call, ...], settings: Any) -> list[Call] | None:
        """Calls wait together, one lane's in order or a pool's: return fewer, a merged one says what it ``covers``."""

    @hookspec(firstresult=True)
    def sign(self, call: Call, settings: Any) -> Call:
        """A call is about to be sent: return it with its credentials; nothing of the result is ever recorded."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def on_reply(self, call: Call, reply: Reply, settings: Any) -> Verdict | Plan:
        """A reply came: return a verdict, or further calls to make in this call's place, or None for the default."""

    @hookspec(firstresult=True)
    def rewrite(self, batch: Batch) -> Batch | None:
        """A batch is about to be planned: return it changed, or None to leave it as it is."""
