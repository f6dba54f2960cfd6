"""Tasks of Fargate, each a few containers that share a volume.

The order of a task's life, and what ECS says of its end, are those of the Amazon ECS developer guide
("Task lifecycle", "Stopped task error messages").
"""

import subprocess
import threading
import time
from datetime import datetime, timezone

import stage as docker
from moto.ec2.models import ec2_backends
from moto.logs.models import logs_backends
from secret import secrets_of

# Seconds: how long a step before the containers takes, how long a container may take to end, how long
# a network interface outlives its task.
STEP = 0.05
GRACE = 5
INTERFACE = 1


class Container:
    """What DescribeTasks tells of a container."""

    def __init__(self, task, definition):
        self.definition = definition
        self.name = definition["name"]
        self.image = definition["image"]
        self.container_arn = f"{task.task_arn}/{self.name}"
        self.task_arn = task.task_arn
        self.last_status = "PENDING"
        self.exit_code = None
        self.reason = None
        self.network_interfaces = []


class Failure(Exception):
    """Why a task did not start, or ended: stopCode and stoppedReason."""

    def __init__(self, code, reason):
        super().__init__(reason)
        self.code, self.reason = code, reason


class Cloud:
    """All tasks."""

    def __init__(self, stage):
        self.stage = stage
        self.lock = threading.Lock()
        self.tasks = {}
        # Without containers, for tests of many.
        self.ghosts = False
        # Where all this is reached, by clients and by tasks.
        self.outside = self.inside = None

    def adopt(self, task, definition):
        """Takes over a task that moto has made."""
        task.definition = definition
        task.containers = [Container(task, one) for one in definition.container_definitions]
        task.status, task.desired_status = "PROVISIONING", "RUNNING"
        task.cpu, task.memory = definition.cpu, definition.memory
        task.created_at, task.stop_code = now(), None
        task.ended = threading.Event()
        task.advance = lambda: None
        with self.lock:
            self.tasks[task.id] = task
        threading.Thread(target=self.live, args=(task,), daemon=True).start()

    def live(self, task):
        """A task's life, from its first step to the end of its interface."""
        why = Failure("EssentialContainerExited", "Essential container in task exited")
        try:
            time.sleep(STEP)
            self.step(task, "PENDING")
            task.pull_started_at = now()
            if self.ghosts:
                self.haunt(task)
            else:
                self.play(task)
        except Failure as failure:
            why = failure
        except docker.Refused as refused:
            why = Failure("TaskFailedToStart", f"CannotStartContainerError: {refused}")
        with self.lock:
            task.desired_status = "STOPPED"
            if task.stop_code is None:
                task.stop_code, task.stopped_reason = why.code, why.reason
            task.stopping_at = now()
            task.status = "DEPROVISIONING"
        for one in task.containers:
            one.last_status = "STOPPED"
        names = [self.main_name(task), *(self.first_name(task, one) for one in task.containers)]
        if not self.ghosts:
            docker.run("rm", "--force", *names, check=False)
            docker.run("volume", "rm", "--force", self.volume(task), check=False)
        with self.lock:
            task.stopped_at, task.status = now(), "STOPPED"
        time.sleep(INTERFACE)
        self.interfaces(task).pop(task.interface, None)

    def step(self, task, status):
        with self.lock:
            if task.desired_status == "STOPPED":
                raise Failure("UserInitiated", task.stopped_reason)
            task.status = status

    def haunt(self, task):
        self.connect(task, self.interfaces(task)[task.interface].private_ip_address)
        self.step(task, "RUNNING")
        task.started_at = now()
        for one in task.containers:
            one.last_status = "RUNNING"
        task.ended.wait()

    def play(self, task):
        """Runs the containers, one after the other."""
        environment = {one.name: secrets_of(task, one.definition) for one in task.containers}
        for values in environment.values():
            for name, value in values.items():
                # The machine's own address is another one in a container.
                values[name] = value.replace(self.outside, self.inside)
        for one in task.containers:
            if not self.stage.has_image(one.image):
                raise Failure(
                    "TaskFailedToStart",
                    "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
                    f"failed to resolve ref docker.io/library/{one.image}: pull access denied, "
                    "repository does not exist or may require authorization",
                )
        docker.run("volume", "create", "--label", self.stage.label, self.volume(task))
        for one in task.containers:
            if not one.definition["essential"]:
                self.first(task, one, environment[one.name])
        for one in task.containers:
            if one.definition["essential"]:
                self.main(task, one, environment[one.name])

    def first(self, task, one, environment):
        """A container on whose good end the others depend."""
        name = self.first_name(task, one)
        self.create(task, one, name, environment)
        one.last_status = "RUNNING"
        docker.run("start", name)
        follower = self.follow(task, one, name)
        docker.run("wait", name)
        follower.join()
        one.exit_code, _ = self.stage.end(name)
        one.last_status = "STOPPED"
        # With it goes its environment, as on Fargate.
        docker.run("rm", "--force", name)
        if one.exit_code != 0:
            raise Failure("TaskFailedToStart", f"Task failed to start: {one.name} did not succeed")

    def main(self, task, one, environment):
        name = self.main_name(task)
        self.step(task, "ACTIVATING")
        self.create(task, one, name, environment)
        docker.run("start", name)
        self.connect(task, self.stage.address(name))
        one.last_status = "RUNNING"
        self.step(task, "RUNNING")
        task.started_at = now()
        follower = self.follow(task, one, name)
        docker.run("wait", name, check=False)
        follower.join()
        one.exit_code, memory = self.stage.end(name)
        one.last_status = "STOPPED"
        if memory:
            one.reason = "OutOfMemoryError: Container killed due to memory usage"

    def create(self, task, one, name, environment):
        wanted = one.definition
        command = [*(wanted.get("entryPoint") or []), *(wanted.get("command") or [])]
        options = ["--label", f"rustbatch.task={task.id}", "--user", wanted.get("user", "")]
        options += ["--memory", f"{task.memory}m"]
        if (wanted.get("linuxParameters") or {}).get("initProcessEnabled"):
            options += self.stage.init
        for mount in wanted.get("mountPoints") or []:
            options += ["--volume", f"{self.volume(task)}:{mount['containerPath']}"]
        environment["ECS_CONTAINER_METADATA_URI_V4"] = f"{self.inside}/v4/{task.id}-1"
        self.stage.create(name, one.image, command, options, environment)

    def follow(self, task, one, name):
        """Passes what a container writes to its log stream."""
        options = one.definition["logConfiguration"]["options"]
        group = options["awslogs-group"]
        stream = f"{options['awslogs-stream-prefix']}/{one.name}/{task.id}"
        logs = logs_backends[task._account_id][task.region_name]

        def pump():
            command = ["docker", "logs", "--follow", name]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as process:
                for line in process.stdout:
                    if group not in logs.groups:
                        continue
                    if stream not in logs.groups[group].streams:
                        logs.create_log_stream(group, stream)
                    event = {"timestamp": int(time.time() * 1000), "message": line.rstrip("\n")}
                    logs.put_log_events(group, stream, [event])

        thread = threading.Thread(target=pump, daemon=True)
        thread.start()
        return thread

    def interfaces(self, task):
        return ec2_backends[task._account_id][task.region_name].enis

    def connect(self, task, address):
        """A task's interface has the address of its container, in public too where that is wanted."""
        interface = self.interfaces(task)[task.interface]
        interface.private_ip_address = address
        wanted = task.network_configuration["awsvpcConfiguration"]
        if wanted.get("assignPublicIp") == "ENABLED":
            interface.public_ip = address
        for detail in task.attachments[0]["details"]:
            if detail["name"] == "privateIPv4Address":
                detail["value"] = address

    def stop(self, task, code, reason):
        """Ends a task: a signal that can be heard, and after a while one that can't."""
        with self.lock:
            if task.desired_status == "STOPPED":
                return
            task.desired_status, task.stop_code, task.stopped_reason = "STOPPED", code, reason
            if task.status == "RUNNING":
                task.status = "STOPPING"
        task.ended.set()
        if self.ghosts:
            return
        arguments = ("stop", "--time", str(GRACE), self.main_name(task))
        threading.Thread(
            target=docker.run, args=arguments, kwargs={"check": False}, daemon=True
        ).start()

    def kill(self, task):
        docker.run("kill", self.main_name(task), check=False)

    def main_name(self, task):
        return f"{self.stage.name}-{task.id}"

    def first_name(self, task, one):
        return f"{self.stage.name}-{task.id}-{one.name}"

    def volume(self, task):
        return f"{self.stage.name}-{task.id}"

    def running(self, group=None, provider=None):
        with self.lock:
            all_tasks = [t for t in self.tasks.values() if t.status == "RUNNING"]
        if group:
            all_tasks = [t for t in all_tasks if t.group == group]
        if provider:
            all_tasks = [t for t in all_tasks if t.capacity_provider_name == provider]
        return all_tasks

    def end(self):
        with self.lock:
            for task in self.tasks.values():
                task.desired_status = "STOPPED"
                task.ended.set()


def now():
    return datetime.now(timezone.utc)
