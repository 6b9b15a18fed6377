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
    Alias,
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
        """Return what this plugin is and what it needs; called when the gateway starts."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def on_identity(
        self, changes: tuple[IdentityChange, ...], user: User, batch: Batch, memory: Memory, settings: Any
    ) -> Plan:
        """Handle the user's identities in a batch; ``changes`` are those gained, changed or lost, often none."""

    @hookspec(firstresult=True)
    def on_attributes(
        self, changes: tuple[AttributeChange, ...], user: User, batch: Batch, memory: Memory, settings: Any
    ) -> Plan:
        """Handle the user's whole profile in a batch; ``changes`` are the attributes set or removed, often none."""

    @hookspec(firstresult=True)
    def on_consent(
        self, changes: tuple[ConsentChange, ...], user: User, batch: Batch, memory: Memory, settings: Any
    ) -> Plan:
        """Handle the user's consent; ``changes`` is empty if a batch holds only the consent state."""

    @hookspec(firstresult=True)
    def on_event(self, event: Event, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """Handle an event: a custom event, a screen view, commerce, or any other kind except sessions."""

    @hookspec(firstresult=True)
    def on_session(self, session: Session, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """Handle the start or the end of a session."""

    @hookspec(firstresult=True)
    def on_audience(self, audience: Audience, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """Handle an audience that was connected, renamed or removed."""

    @hookspec(firstresult=True)
    def on_membership(self, membership: Membership, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """Handle a user's entry into an audience, exit from it, or a change of attributes shared with it."""

    @hookspec(firstresult=True)
    def on_alias(self, alias: Alias, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """Handle the statement that the data of another MPID belongs to the user."""

    @hookspec(firstresult=True)
    def on_erasure(self, erasure: Erasure, user: User, batch: Batch, memory: Memory, settings: Any) -> Plan:
        """Handle the erasure of the user."""

    @hookspec(firstresult=True)
    def coalesce(self, calls: tuple[Call, ...], settings: Any) -> list[Call] | None:
        """Return fewer calls for those that wait, of one lane in order or of a pool; a merged call has ``covers``."""

    @hookspec(firstresult=True)
    def sign(self, call: Call, settings: Any) -> Call:
        """Return a call with its credentials, just before it is sent; the result is never recorded."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def on_reply(self, call: Call, reply: Reply, settings: Any) -> Verdict | Plan:
        """Return the verdict on a reply, or follow-up calls in this call's place, or None for the default verdict."""

    @hookspec(firstresult=True)
    def rewrite(self, batch: Batch) -> Batch | None:
        """Return a batch changed before it is planned, or None to leave it as it is."""
