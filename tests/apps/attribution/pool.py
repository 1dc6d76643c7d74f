"""Two gunicorn workers that each have a pool of threads."""

from concurrent.futures import ThreadPoolExecutor

from gunicorn.app.base import BaseApplication

from work import target, work

# Its threads start with the first job, in the worker.
pool = ThreadPoolExecutor(4)


def sync(number):
    work(number, 1)


def executor(number):
    work(number, 1)
    pool.submit(work, number, 2).result()
    work(number, 3)


SHAPES = {"sync": sync, "executor": executor}


def app(environ, start_response):
    shape, number = target(environ["PATH_INFO"])
    SHAPES[shape](number)
    start_response("200 OK", [("Content-Length", "5")])
    return [b"done\n"]


def when_ready(server):
    print("listening on", server.LISTENERS[0].sock.getsockname()[1], flush=True)


class Server(BaseApplication):
    def load_config(self):
        options = {
            "bind": "127.0.0.1:0",
            "workers": 2,
            "worker_class": "gthread",
            "threads": 8,
            "loglevel": "warning",
            "when_ready": when_ready,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self):
        return app


Server().run()
