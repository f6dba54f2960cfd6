"""AWS on this machine, for tests: moto (https://github.com/getmoto/moto) joined to Docker.

    python -m harness

moto keeps the account: networks, roles, parameters, logs, task definitions. What it does not do is
done here: RunTask starts real containers (tasks.py), what AWS refuses is refused (strict.py), and
what can go wrong goes wrong when it is told to (control.py). Prints "ready <port>" and serves on
127.0.0.1 until its standard input ends; then nothing is left of it.
"""

import faulthandler
import logging
import signal
import sys

import stage as docker
from strict import harden
from tasks import Cloud
from web import serve


def main() -> None:
    # What it does, where somebody waits in vain.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    stage = docker.Stage()
    try:
        cloud = Cloud(stage)
        harden(cloud)
        port = serve(cloud)
        print(f"ready {port}", flush=True)
        sys.stdin.buffer.read()
        cloud.end()
    finally:
        stage.close()


main()
