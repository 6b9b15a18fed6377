"""The bare limit: the same Hypercorn, and a Starlette handler that only reads the body. ``bare.py PORT``."""

import asyncio
import sys

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route


async def take(request):
    await request.body()
    return Response(status_code=202)


async def main():
    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.accesslog = config.errorlog = None
    config.include_server_header = False
    await serve(
        Starlette(routes=[Route("/mparticle", take, methods=["POST"])]), config, shutdown_trigger=asyncio.Event().wait
    )


uvloop.run(main())
