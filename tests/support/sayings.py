"""The same facts as each of mParticle's dialects posts them."""

import time
from dataclasses import dataclass, field, replace

FIREHOSE_TYPES = {"customer_id": "customer", "other_id_2": "other2"}
FIREHOSE_PLATFORMS = {"web": "mobileweb"}
EVENTS_PLATFORMS = {"ios": "iOS", "android": "Android"}


@dataclass(frozen=True)
class Saying:
    """What a message says of one user. ``events`` are (kind, name, attributes), numbered from 1 as they happened."""

    events: tuple = ()
    identities: dict = field(default_factory=lambda: {"customer_id": "c-1", "email": "jo@example.com"})
    attributes: dict = field(default_factory=lambda: {"$FirstName": "Jo", "Colour": "red"})
    removed: tuple = ()
    gdpr: dict = field(default_factory=dict)
    ccpa: dict = field(default_factory=dict)
    platform: str | None = "ios"
    environment: str | None = "production"
    app_version: str | None = "4.2.0"
    age_hours: float = 0
    mpid: str = "42"
    memberships: tuple = ()
    audience: tuple = ()
    erasure: bool = False

    def but(self, **changes):
        return replace(self, **changes)

    def _time(self, number=0):
        return int((time.time() - self.age_hours * 3600) * 1000) + number

    @property
    def is_of_events(self):
        """Whether both dialects can say it."""
        return not (self.memberships or self.audience or self.erasure)

    def firehose(self, message):
        """The Firehose message."""
        return {
            "id": message,
            "timestamp_ms": self._time(),
            "firehose_version": "3.2.0",
            "account": {"account_id": 7, "account_settings": {}},
            **(self._events_request() if self.is_of_events else self._other_request()),
        }

    def _users(self):
        return [
            {"type": FIREHOSE_TYPES.get(type, type), "encoding": "raw", "value": value}
            for type, value in self.identities.items()
        ]

    def _other_request(self):
        if self.erasure:
            known = {"controller_customer_id": self.identities["customer_id"], "email": self.identities["email"]}
            return {
                "type": "dsr_processing_request",
                "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
                "subject_request_type": "erasure",
                "submitted_time": "2024-05-01T12:00:00Z",
                "regulation": "gdpr",
                "api_version": "3.0",
                "subject_identities": {type: {"encoding": "raw", "value": value} for type, value in known.items()},
            }
        if self.audience:
            name, action = self.audience
            return {"type": "audience_subscription_request", "audience_id": 1, "audience_name": name, "action": action}
        audiences = [
            {
                "audience_id": number,
                "audience_name": name,
                "action": action,
                "user_attributes": [{"key": key, "value": value, "action": "upsert"} for key, value in shared.items()],
            }
            for number, (name, action, shared) in enumerate(self.memberships, 1)
        ]
        profile = {"mpid": self.mpid, "user_identities": self._users(), "audiences": audiences}
        return {"type": "audience_membership_change_request", "user_profiles": [profile]}

    def _events_request(self):
        said = {
            "type": "event_processing_request",
            "mpid": self.mpid,
            "user_identities": self._users(),
            "user_attributes": self.attributes,
            "consent_state": {
                "gdpr_consent_state": {purpose: {"consented": given} for purpose, given in self.gdpr.items()},
                "ccpa_consent_state": {purpose: {"consented": given} for purpose, given in self.ccpa.items()},
            },
            "events": [self._firehose_event(number, *event) for number, event in enumerate(self.events, 1)],
        }
        if self.removed:
            change = {"type": "user_attribute_change", "id": "r", "timestamp_ms": self._time(), "added": {}}
            said["events"].append({**change, "removed": dict.fromkeys(self.removed, "")})
        if self.platform is not None:
            said["runtime_environment"] = {
                "type": FIREHOSE_PLATFORMS.get(self.platform, self.platform),
                "is_debug": self.environment == "development",
                **({"application_version": self.app_version} if self.app_version else {}),
            }
        return said

    def _firehose_event(self, number, kind, name, attributes):
        own = {"id": f"{number}", "timestamp_ms": self._time(number), "attributes": attributes}
        if kind == "screen_view":
            return {**own, "type": kind, "screen_name": name}
        if kind == "commerce_event":
            products = [{"id": "p", "name": "p", "attributes": {"size": "L"}}]
            return {**own, "type": "product_action", "action": name, "products": products}
        return {**own, "type": kind, **({"name": name} if name else {})}

    def batch(self, message):
        """The Events batch."""
        said = {
            "message_id": message,
            "mpid": int(self.mpid),
            "timestamp_unixtime_ms": self._time(),
            "user_identities": self.identities,
            "user_attributes": self.attributes,
            "deleted_user_attributes": list(self.removed) or None,
            "consent_state": {
                "gdpr": {purpose: {"consented": given} for purpose, given in self.gdpr.items()},
                "ccpa": {purpose: {"consented": given} for purpose, given in self.ccpa.items()},
            },
            "events": [self._batch_event(number, *event) for number, event in enumerate(self.events, 1)],
        }
        for name in self.removed:
            data = {"user_attribute_name": name, "new": None, "old": "x", "deleted": True, "is_new_attribute": False}
            change = {"event_type": "user_attribute_change", "data": {**data, "timestamp_unixtime_ms": self._time()}}
            said["events"].append(change)
        if self.platform is not None:
            said["environment"] = self.environment
            said["device_info"] = {"platform": EVENTS_PLATFORMS.get(self.platform, self.platform)}
            said["application_info"] = {"application_version": self.app_version}
        return said

    def _batch_event(self, number, kind, name, attributes):
        data = {"event_id": number, "timestamp_unixtime_ms": self._time(number), "custom_attributes": attributes}
        if kind == "custom_event":
            data |= {"event_name": name, "custom_event_type": "other"}
        elif kind == "screen_view":
            data |= {"screen_name": name}
        elif kind == "commerce_event":
            products = [{"id": "p", "name": "p", "custom_attributes": {"size": "L"}}]
            data |= {"product_action": {"action": name, "products": products}}
        return {"event_type": kind, "data": data}
