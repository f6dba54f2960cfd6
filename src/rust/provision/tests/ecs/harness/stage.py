"""Docker, by its command: what carries the label of this stage is removed with it."""

import json
import os
import secrets
import shutil
import subprocess

LABEL = "rustbatch.harness"


class Refused(Exception):
    """What docker said."""


def run(*arguments, env=None, check=True):
    done = subprocess.run(
        ["docker", *arguments],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if check and done.returncode != 0:
        raise Refused(done.stderr.strip())
    return done.stdout.strip()


class Stage:
    """A network of its own, and what runs in it."""

    def __init__(self):
        self.name = f"rb-ecs-{secrets.token_hex(6)}"
        self.label = f"{LABEL}={self.name}"
        # A first process that collects orphans is another package of some systems.
        self.init = ["--init"] if shutil.which("docker-init") else []
        run("network", "create", "--label", self.label, self.name)
        described = json.loads(run("network", "inspect", self.name))
        self.gateway = described[0]["IPAM"]["Config"][0]["Gateway"]

    def has_image(self, image):
        return run("image", "inspect", "--format", "{{.Id}}", image, check=False) != ""

    def create(self, name, image, command, options, environment):
        """A container that has not been started. Its environment is not on a command line."""
        names = [word for key in environment for word in ("--env", key)]
        entry, *rest = command
        run(
            *("create", "--name", name, "--label", self.label, "--network", self.name),
            *options,
            *names,
            *("--entrypoint", entry, image, *rest),
            env=environment,
        )
        return name

    def address(self, container):
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return run("inspect", "--format", form, container)

    def end(self, container):
        """How a container has ended: its exit code, and whether it had too little memory."""
        form = "{{.State.ExitCode}} {{.State.OOMKilled}}"
        code, memory = run("inspect", "--format", form, container).split()
        return int(code), memory == "true"

    def close(self):
        mine = ("--filter", f"label={self.label}")
        for things, removal in (
            (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
            (("volume", "ls", "--quiet"), ("volume", "rm", "--force")),
            (("network", "ls", "--quiet"), ("network", "rm")),
        ):
            found = run(*things, *mine, check=False).split()
            if found:
                run(*removal, *found, check=False)
