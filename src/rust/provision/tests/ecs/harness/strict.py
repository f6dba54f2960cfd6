"""What moto wrongly accepts is refused, and what it leaves out is done.

Source of the rules: the API reference of Amazon ECS, and "Task CPU and memory" of its developer guide.
"""

import json

from moto.core.responses import ActionResult
from moto.ec2.exceptions import DependencyViolationError
from moto.ec2.models import ec2_backends
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.models.subnets import SubnetBackend
from moto.ecs.exceptions import (
    ClusterNotFoundException,
    EcsClientException,
    InvalidParameterException,
)
from moto.ecs.models import EC2ContainerServiceBackend as Backend
from moto.ecs.responses import EC2ContainerServiceResponse as Response
from moto.iam.models import iam_backends
from moto.servicequotas.exceptions import NoSuchResource
from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.responses import ServiceQuotasResponse

# Processors in 1024ths: the memory in MiB that goes with them.
SIZES = {
    256: [512, 1024, 2048],
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}

LACKING = "Capacity is unavailable at this time. Please try again later or in a different availability zone"


def harden(cloud):
    cloud.tokens = {}
    cloud.lacking = []
    cloud.quotas = {}
    cloud.who = None
    for patch in (clusters, definitions, running, listing, network, quotas):
        patch(cloud)


def clusters(cloud):
    inner = Backend._get_cluster
    delete = Backend.delete_cluster

    def get(self, name):
        cluster = inner(self, name)
        if cluster.status != "ACTIVE":
            raise ClusterNotFoundException
        return cluster

    def strict_delete(self, name):
        cluster = get(self, name)
        here = self.tasks.get(cluster.name, {}).values()
        if any(task.status != "STOPPED" for task in here):
            raise EcsClientException("The Cluster cannot be deleted while Tasks are active.")
        return delete(self, name)

    create = Response.create_cluster
    asked = {}

    def strict_create(self):
        wanted = json.loads(self.body)
        name = wanted["clusterName"]
        there = self.ecs_backend.clusters.get(name)
        if there is not None and there.status == "ACTIVE" and asked.get(name, wanted) != wanted:
            raise InvalidParameterException(
                "Arguments on this idempotent request are inconsistent with arguments used in "
                "previous request(s)."
            )
        asked[name] = wanted
        return create(self)

    Backend._get_cluster, Backend.delete_cluster = get, strict_delete
    Response.create_cluster = strict_create


def definitions(cloud):
    register = Backend.register_task_definition

    def strict(self, family, container_definitions, **more):
        cpu, memory = int(more["cpu"] or 0), int(more["memory"] or 0)
        if memory not in SIZES.get(cpu, []):
            raise EcsClientException("No Fargate configuration exists for given values.")
        names = [one["name"] for one in container_definitions]
        for one in container_definitions:
            if one.get("secrets") and not more["execution_role_arn"]:
                raise EcsClientException(
                    "When you are specifying container secrets, you must also specify a value for "
                    "'executionRoleArn'."
                )
            if not 2 <= one.get("stopTimeout", 30) <= 120:
                raise EcsClientException("Max stop timeout for Fargate is 120 seconds.")
            if any(one["containerName"] not in names for one in one.get("dependsOn") or []):
                raise EcsClientException("A container depends on one that is not there.")
        return register(self, family, container_definitions, **more)

    Backend.register_task_definition = strict
    # A task's memory is enough.
    Backend._calculate_task_resource_requirements = staticmethod(lambda definition: {})


def running(cloud):
    """RunTask: limits, tokens (ECS API reference, "Idempotency"), capacity; and the containers."""
    run = Response.run_task

    def strict(self):
        backend = self.ecs_backend
        cluster = backend._get_cluster(self._get_param("cluster", "default"))
        count, token = self._get_int_param("count", 1), self._get_param("clientToken")
        asked = json.dumps({**json.loads(self.body), "clientToken": None}, sort_keys=True)
        key = (cluster.name, token)
        if token and key in cloud.tokens:
            before, result = cloud.tokens[key]
            if before != asked:
                raise EcsClientException("ConflictException: the token was used for another call.")
            return ActionResult(result)
        if not 1 <= count <= 10:
            raise InvalidParameterException("Count must be between 1 and 10.")
        if len(json.dumps(self._get_param("overrides") or {})) > 8192:
            raise InvalidParameterException("Overrides may have 8192 characters.")
        strategy = self._get_param("capacityProviderStrategy") or []
        for item in strategy:
            if item["capacityProvider"] not in (cluster.capacity_providers or []):
                raise InvalidParameterException(
                    "The specified capacity provider was not found on the cluster."
                )
        wanted = self._get_param("networkConfiguration")["awsvpcConfiguration"]
        ec2 = ec2_backends[self.current_account][self.region]
        groups = {name for vpc in ec2.groups.values() for name in vpc}
        if not set(wanted["securityGroups"]) <= groups:
            raise InvalidParameterException("The security group does not exist.")
        definition = backend.describe_task_definition(self._get_param("taskDefinition"))
        roles = iam_backends[self.current_account]["aws"].roles.values()
        if definition.execution_role_arn not in [role.arn for role in roles]:
            raise EcsClientException(
                f"ECS was unable to assume the role '{definition.execution_role_arn}' that was "
                "provided for this task."
            )
        result = self.start(run, cloud, definition, count, strategy)
        if token:
            cloud.tokens[key] = (asked, result)
        return ActionResult(result)

    def start(self, run, cloud, definition, count, strategy):
        provider = strategy[0]["capacityProvider"] if strategy else "FARGATE"
        missing = 0
        for fault in cloud.lacking:
            if fault["times"] > 0 and fault.get("provider", provider) == provider:
                fault["times"] -= 1
                missing = min(count, fault["count"])
                break
        tasks = []
        if count > missing:
            self.data["count"] = count - missing
            original = self._get_int_param
            self._get_int_param = lambda name, *rest: (
                count - missing if name == "count" else original(name, *rest)
            )
            tasks = run(self).result["tasks"]
        for task in tasks:
            task.interface = next(
                d["value"] for d in task.attachments[0]["details"] if d["name"] == "networkInterfaceId"
            )
            cloud.adopt(task, definition)
        return {"tasks": tasks, "failures": [{"reason": LACKING}] * missing}

    def stop(self):
        cluster = self.ecs_backend._get_cluster(self._get_param("cluster", "default"))
        wanted = self._get_param("task").split("/")[-1]
        task = cloud.tasks.get(wanted)
        if task is None or task.cluster_name != cluster.name:
            raise InvalidParameterException("The referenced task was not found.")
        cloud.stop(task, "UserInitiated", self._get_param("reason") or "Task stopped by user")
        return ActionResult({"task": task})

    Response.run_task, Response.start, Response.stop_task = strict, start, stop


def listing(cloud):
    """ListTasks in pages, of those that shall run unless others are named; DescribeTasks in hundreds."""
    describe = Response.describe_tasks

    def tasks(self):
        cluster = self.ecs_backend._get_cluster(self._get_param("cluster", "default"))
        desired = self._get_param("desiredStatus") or "RUNNING"
        family = self._get_param("family")
        here = [
            task.task_arn
            for task in self.ecs_backend.tasks.get(cluster.name, {}).values()
            if task.desired_status == desired
            and (not family or task.definition.family == family)
        ]
        first = int(self._get_param("nextToken") or 0)
        most = min(self._get_int_param("maxResults", 100), 100)
        result = {"taskArns": here[first : first + most]}
        if first + most < len(here):
            result["nextToken"] = str(first + most)
        return ActionResult(result)

    def strict(self):
        if len(self._get_param("tasks", [])) > 100:
            raise InvalidParameterException("Tasks may be 100 at most.")
        return describe(self)

    Response.list_tasks, Response.describe_tasks = tasks, strict


def network(cloud):
    """What hangs on an interface stays until that is gone."""
    group, subnet = SecurityGroupBackend._delete_security_group, SubnetBackend.delete_subnet

    def no(kind, name):
        return DependencyViolationError(f"resource {name} has a dependent object ({kind})")

    def strict_group(self, vpc, name):
        for interface in self.enis.values():
            if name in [one.id for one in interface.group_set]:
                raise no("network interface", name)
        return group(self, vpc, name)

    def strict_subnet(self, name):
        for interface in self.enis.values():
            if interface.subnet.id == name:
                raise no("network interface", name)
        return subnet(self, name)

    SecurityGroupBackend._delete_security_group = strict_group
    SubnetBackend.delete_subnet = strict_subnet


def quotas(cloud):
    """Those of Fargate that a test has set."""
    inner = ServiceQuotasBackend.get_service_quota

    def get(self, service_code, quota_code):
        if service_code == "fargate" and quota_code in cloud.quotas:
            return {"QuotaCode": quota_code, "Value": cloud.quotas[quota_code]}
        return inner(self, service_code, quota_code)

    def default(self):
        raise NoSuchResource

    ServiceQuotasBackend.get_service_quota = get
    ServiceQuotasResponse.get_aws_default_service_quota = default
