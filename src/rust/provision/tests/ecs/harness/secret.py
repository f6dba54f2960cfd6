"""What the execution role brings into a container's environment, and may not."""

import fnmatch
import json
from urllib.parse import unquote

from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.ssm.models import ssm_backends


def secrets_of(task, container):
    """The environment of a container, its secrets read by the execution role."""
    from tasks import Failure

    def no(reason):
        return Failure("TaskFailedToStart", f"ResourceInitializationError: {reason}")

    group = container["logConfiguration"]["options"]["awslogs-group"]
    if group not in logs_backends[task._account_id][task.region_name].groups:
        raise no(
            "failed to validate logger args: create stream has been retried 1 times: "
            "ResourceNotFoundException: The specified log group does not exist."
        )
    environment = {one["name"]: one["value"] for one in container.get("environment") or []}
    for secret in container.get("secrets") or []:
        arn = secret["valueFrom"]
        head = "unable to pull secrets or registry auth: execution resource retrieval failed: "
        if not allowed(task, "ssm:GetParameters", arn):
            raise no(
                f"{head}unable to retrieve secret from ssm: AccessDeniedException: "
                f"{task.definition.execution_role_arn} is not authorized to perform: "
                f"ssm:GetParameters on resource: {arn}"
            )
        name = arn.split(":parameter", 1)[1]
        found = ssm_backends[task._account_id][task.region_name].get_parameter(name)
        if found is None:
            raise no(f"{head}unable to retrieve secrets from ssm: invalid parameters: {name}")
        environment[secret["name"]] = found.response_object(decrypt=True)["Value"]
    return environment


def allowed(task, action, arn):
    """Whether the inline policies of the execution role allow this."""
    roles = iam_backends[task._account_id]["aws"].roles.values()
    role = next((r for r in roles if r.arn == task.definition.execution_role_arn), None)
    for policy in (role.policies if role else {}).values():
        text = policy if policy.lstrip().startswith("{") else unquote(policy)
        for statement in json.loads(text)["Statement"]:
            actions, resources = listed(statement["Action"]), listed(statement["Resource"])
            if action in actions and any(fnmatch.fnmatch(arn, one) for one in resources):
                return True
    return False


def listed(value):
    return value if isinstance(value, list) else [value]
