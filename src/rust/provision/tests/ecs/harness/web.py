"""The one server: all of AWS, and beside it how tests tell it what shall go wrong.

    GET  /_harness/state                                          calls, tasks, things with their tags
    POST /_harness/fault  {"call", "kind", "times", ...}          see `Faults`
    POST /_harness/spot   {"n"}                                   takes spare capacity back
    POST /_harness/kill   {"n", "group"} or {"task"}              SIGKILL
    POST /_harness/bucket {"name"}                                a bucket of S3
    POST /_harness/spoil  {"name"}                                what is in it is another's
    POST /_harness/quota  {code: processors}                      how many an account may have
    POST /_harness/who    {"arn"}                                 whom AWS takes the caller for
    POST /_harness/ghosts {}                                      from now on tasks have no containers
"""

import json
import threading
from collections import Counter
from io import BytesIO
from urllib.parse import parse_qs

from moto.core.resource_tagging import iter_taggable_backends
from moto.ecs.models import ecs_backends
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.models import s3_backends
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

ACCOUNT, REGION = "123456789012", "us-east-1"

WHO = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{arn}</Arn><UserId>u</UserId>"
    f"<Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)


class Faults:
    """What shall go wrong. `throttle`: the call is refused; `denied`: it is not allowed; `lost`: it is
    done, and its answer is not; `young`: the role is too new; `failure`: of the tasks of a RunTask
    `count` find no room at `provider`."""

    def __init__(self, cloud):
        self.cloud, self.lock = cloud, threading.Lock()
        self.calls, self.throttled = Counter(), Counter()
        self.waiting = []

    def add(self, fault):
        with self.lock:
            lacking = fault["kind"] == "failure"
            (self.cloud.lacking if lacking else self.waiting).append(fault)

    def next(self, call):
        with self.lock:
            for fault in self.waiting:
                if fault["call"] == call and fault["times"] > 0:
                    fault["times"] -= 1
                    counter = self.calls if fault["kind"] == "lost" else self.throttled
                    counter[call] += 1
                    return fault["kind"]
            self.calls[call] += 1
            return None


def serve(cloud):
    faults = Faults(cloud)
    aws = DomainDispatcherApplication(create_backend_app)

    def application(environ, start):
        # Read whole at once: the server waits for the client to close where something is left unread,
        # as the client does for the server. And it is read twice.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = BytesIO(body)
        if environ["PATH_INFO"].startswith("/_harness/"):
            return control(cloud, faults, Request(environ))(environ, start)
        if environ.get("HTTP_HOST") == "checkip.amazonaws.com":
            return Response(environ["REMOTE_ADDR"] + "\n")(environ, start)
        call = called(environ, body)
        fault = faults.next(call)
        if call == "GetCallerIdentity" and cloud.who:
            return Response(WHO.format(arn=cloud.who), content_type="text/xml")(environ, start)
        if fault == "throttle":
            return refuse("ThrottlingException", "Rate exceeded", 400)(environ, start)
        if fault == "denied":
            said = "User: moto is not authorized to perform this."
            code = "AccessDenied" if "Version=" in body.decode(errors="replace") else "AccessDeniedException"
            return refuse(code, said, 400)(environ, start)
        if fault == "young":
            said = "ECS was unable to assume the role that was provided for this task."
            return refuse("ClientException", said, 400)(environ, start)
        answer = aws(environ, start if fault is None else lambda *_, **__: None)
        if fault == "lost":
            b"".join(answer)
            return refuse("ServerException", "Service Unavailable", 503)(environ, start)
        return answer

    def inside(environ, start):
        """What tasks reach: who they are, and what they have a link to."""
        if environ["PATH_INFO"].startswith("/v4/"):
            return metadata(cloud, environ["PATH_INFO"])(environ, start)
        return application(environ, start)

    def listen(host, what):
        server = make_server(host, 0, what, True, request_handler=MotoRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    gateway = cloud.stage.gateway
    port = listen("127.0.0.1", application)
    cloud.outside = f"http://127.0.0.1:{port}"
    cloud.inside = f"http://{gateway}:{listen(gateway, inside)}"
    return port


def called(environ, body):
    """The call: from a header, or from a form."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    if target:
        return target.rsplit(".", 1)[-1]
    if "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", ""):
        # As policies name it: who may read an object may ask whether it is there.
        return "PutObject" if environ["REQUEST_METHOD"] == "PUT" else "GetObject"
    if "X-Amz-Signature=" in environ.get("QUERY_STRING", ""):
        # Who has a link may do what they may do who signed it.
        return "GetObject"
    return parse_qs(body.decode(errors="replace")).get("Action", ["unknown"])[0]


def refuse(code, message, status):
    body = json.dumps({"__type": code, "message": message})
    return Response(body, status=status, content_type="application/x-amz-json-1.1")


def control(cloud, faults, request):
    given = request.get_json(force=True) if request.method == "POST" else {}
    verb = request.path.rsplit("/", 1)[-1]
    if verb == "state":
        return Response(json.dumps(state(cloud, faults)), content_type="application/json")
    if verb == "fault":
        faults.add(given)
    elif verb == "spot":
        for task in cloud.running(provider="FARGATE_SPOT")[: given["n"]]:
            cloud.stop(task, "SpotInterruption", "Your Spot Task was interrupted.")
    elif verb == "kill" and "task" in given:
        cloud.kill(cloud.tasks[given["task"]])
    elif verb == "kill":
        for task in cloud.running(group=given["group"])[: given["n"]]:
            cloud.kill(task)
    elif verb == "bucket":
        s3_backends[ACCOUNT]["aws"].create_bucket(given["name"], REGION)
    elif verb == "spoil":
        # Somebody else writes to a bucket.
        s3 = s3_backends[ACCOUNT]["aws"]
        for key in list(s3.get_bucket(given["name"]).keys):
            s3.put_object(given["name"], key, b"#!/bin/sh\nexit 0\n")
    elif verb == "quota":
        cloud.quotas = given
    elif verb == "who":
        cloud.who = given["arn"]
    elif verb == "ghosts":
        cloud.ghosts = True
    else:
        return Response("no such verb", status=404)
    return Response("{}", content_type="application/json")


def state(cloud, faults):
    with cloud.lock:
        tasks = [
            {
                "id": task.id,
                "cluster": task.cluster_name,
                "group": task.group,
                "status": task.status,
                "code": task.stop_code,
                "reason": task.stopped_reason,
                "provider": task.capacity_provider_name,
                "container": cloud.main_name(task),
            }
            for task in cloud.tasks.values()
        ]
    return {
        "calls": faults.calls,
        "throttled": faults.throttled,
        "tasks": tasks,
        "things": things(),
        "network": cloud.stage.name,
    }


def things():
    """All that is tagged, but tasks and what has been deleted, by ARN, with its tags."""
    found = {}
    for backend in iter_taggable_backends(ACCOUNT, REGION):
        for thing in backend.iter_tagged_resources():
            if thing.tags and ":task/" not in thing.arn and not gone(thing.arn):
                found[thing.arn] = dict(thing.tags)
    for role in iam_backends[ACCOUNT]["aws"].roles.values():
        found[role.arn] = {tag["Key"]: tag["Value"] for tag in role.tags or []}
    return found


def gone(arn):
    """ECS remembers what has been deleted."""
    ecs, name = ecs_backends[ACCOUNT][REGION], arn.rsplit("/", 1)[-1]
    if ":task-definition/" in arn:
        family, revision = name.split(":")
        there = ecs.task_definitions.get(family, {}).get(int(revision))
        return there is None or there.status != "ACTIVE"
    if ":cluster/" in arn and ":ecs:" in arn:
        return ecs.clusters[name].status != "ACTIVE"
    return False


def metadata(cloud, path):
    """What a task is told of itself."""
    parts = path.split("/")
    task = cloud.tasks.get(parts[2].rsplit("-", 1)[0]) if len(parts) > 3 else None
    body = json.dumps({"TaskARN": task.task_arn} if task else {})
    return Response(body, status=200 if task else 404)
