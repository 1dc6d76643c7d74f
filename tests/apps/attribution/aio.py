"""aiohttp, on one event loop. UPSTREAM is the port of a server that answers late."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from aiohttp import ClientSession, TCPConnector, web

from work import work

UPSTREAM = f"http://127.0.0.1:{os.environ['UPSTREAM']}/"
pool = ThreadPoolExecutor(4)
session = None


async def sync(number):
    work(number, 1)


async def ask():
    async with session.get(UPSTREAM) as answer:
        await answer.read()


async def upstream(number):
    work(number, 1)
    await ask()
    work(number, 2)
    await ask()
    work(number, 3)


async def sleep(number):
    work(number, 1)
    await asyncio.sleep(0.003)
    work(number, 2)


async def executor(number):
    work(number, 1)
    await asyncio.get_running_loop().run_in_executor(pool, work, number, 2)
    work(number, 3)


SHAPES = {"sync": sync, "upstream": upstream, "sleep": sleep, "executor": executor}


async def handle(request):
    await SHAPES[request.match_info["shape"]](int(request.match_info["number"]))
    return web.Response(text="done\n")


async def serve():
    global session
    # No client waits for another's connection.
    session = ClientSession(connector=TCPConnector(limit=0))
    app = web.Application()
    app.router.add_get("/{shape}/{number}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("listening on", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(serve())
