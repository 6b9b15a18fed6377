"""The application of an ingest process: the endpoint for mParticle, and the paths of the operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from gateway.admin import probes
from gateway.ingest.accounts import AccountRouter
from gateway.ingest.endpoint import Endpoint, Receive, Scope, Send
from gateway.journal.port import Journal
from gateway.plugins.connections import Connection, HostedConnection
from gateway.settings import IngressSettings

PATHS = ("/mparticle", "/mparticle/", "/mparticle/{connection}", "/mparticle/{connection}/")


def create(  # noqa: PLR0913  # an application is made of as much
    ingress: IngressSettings,
    journal: Journal,
    connections: Mapping[str, Connection | HostedConnection],
    *,
    configured: frozenset[str],
    problems: tuple[str, ...] = (),
    router: AccountRouter | None = None,
    backpressure: Callable[[], str] = lambda: "",
) -> Router:
    """Return the application, without middleware: the endpoint does without it.

    ``connections`` are those that can be used; ``configured`` names all of them, since work is kept for the others too.
    ``problems`` says why the others cannot be used. ``router`` is there if some connections have their settings from
    customers' accounts. ``backpressure`` returns the reason why no post can be taken now, or an empty string.

    A post to any other path is answered 503, which mParticle retries: it loses for good what is answered 404.
    """
    endpoint = Endpoint(ingress, journal, connections, configured, router, backpressure)

    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            await endpoint(scope, receive, send)
        else:
            await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)

    return Router(
        [
            *(Route(path, endpoint, methods=["POST"]) for path in PATHS),
            *probes.routes(journal, problems, backpressure),
        ],
        redirect_slashes=False,  # mParticle loses what is answered with a redirect
        default=elsewhere,
    )
