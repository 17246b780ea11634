"""The web server's application: the worker API and the live socket natively, Django's pages on bounded threads.

Pages run as plain WSGI on a pool whose threads keep their database connections; one thread a request, as ASGI does
for synchronous views, would open a connection each.
"""

from __future__ import annotations

from typing import Any

from a2wsgi import WSGIMiddleware
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.wsgi import get_wsgi_application
from django.urls import path

from execplane.api.worker.app import PREFIX, Receive, Scope, Send
from execplane.compose import Deployment, setup
from execplane.metrics.page import PATH as METRICS


class Application:
    """Routes by kind and path; `close` ends the threads."""

    def __init__(self, deployment: Deployment) -> None:
        from execplane.actions import pending, unserved
        from execplane.web import wiring
        from execplane.web.live import LiveConsumer, hub

        self.deployment = deployment
        self.metrics = deployment.metrics.page
        self.worker = deployment.worker_app()
        self.pages: Any = WSGIMiddleware(get_wsgi_application(), workers=deployment.config.web.threads)  # type: ignore[arg-type]
        self.live = AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws/live", LiveConsumer.as_asgi())]))
        )
        hub.attach(deployment.bus)
        config = deployment.config
        unserved.serve(deployment.served)
        pending.serve(deployment.why_pending)
        wiring.wire(
            wiring.Parts(
                logs=deployment.logs,
                blobs=deployment.blobs,
                secrets=deployment.secrets,
                bundles=deployment.bundles,
                watch=deployment.worker_api.watched.touch,
                clock=deployment.clock,
                executors=config.all_executors,
                dags_folders=tuple(str(folder) for folder in config.dags_folders),
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await self.live(scope, receive, send)
        elif scope["path"].startswith(PREFIX):
            await self.worker(scope, receive, send)
        elif self.metrics is not None and scope["path"] == METRICS:
            await self.metrics(scope, receive, send)
        else:
            await self.pages(scope, receive, send)

    def close(self) -> None:
        self.worker.close()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def __getattr__(name: str) -> Any:
    """`execplane.asgi:application` for any ASGI server; made at the first use."""
    if name != "application":
        raise AttributeError(name)
    config = setup()
    globals()["application"] = application = Application(Deployment(config))
    return application
