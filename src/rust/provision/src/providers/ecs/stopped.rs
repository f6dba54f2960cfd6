//! Why a task ended, in ECS's words, and what helps.
//!
//! Source of the words: Amazon ECS developer guide, "Stopped task error messages" and `stopCode` of
//! `DescribeTasks`.

use aws_sdk_ecs::types::{Container, Task, TaskStopCode};

use super::instance::role;
use super::task::INIT;

/// By this it is known that there is no room.
pub(super) const CAPACITY: &str = "apacity is unavailable";

/// By these, that the account may have no more.
const LIMITS: [&str; 2] = ["reached the limit", "above your limit"];

/// Whether there is no room, or none for this account.
pub(super) fn is_full(said: &str) -> bool {
    said.contains(CAPACITY) || LIMITS.iter().any(|words| said.contains(words))
}

/// Where to ask for more.
const MORE: &str = "Your account may have no more processors at once: ask for more at \
                    https://console.aws.amazon.com/servicequotas/home/services/fargate/quotas";

/// What ECS says, in part, and what helps. The first that fits is taken.
const ADVICE: [(&str, &str); 20] = [
    ("exit code 78", "See what it wrote: the image lacks something."),
    (
        "toomanyrequests",
        "The registry has had enough of anonymous pulls: copy the image into Amazon ECR, or name \
         that of public.ecr.aws.",
    ),
    (
        "pull access denied",
        "See that the image's name is right; one that is private has to be in Amazon ECR.",
    ),
    ("not found: manifest", "See that the image has this tag: `docker manifest inspect <image>`."),
    ("manifest unknown", "See that the image has this tag: `docker manifest inspect <image>`."),
    ("does not match platform", "Name an image for the task's processor, or its `architecture`."),
    ("no space left", "Ask for more `disk`: the image does not fit."),
    (
        "i/o timeout",
        "The subnet has no way to the registry: name one with a route to an Internet gateway \
         (`publicIp = TRUE`) or to a NAT gateway.",
    ),
    (
        "CannotPullContainerError",
        "See that the image's name and tag are right, and that the subnet has a way to its registry.",
    ),
    (
        "unable to pull secrets or registry auth",
        "See that the execution role may read the parameter (ssm:GetParameters) and pull from ECR, \
         and that the subnet has a way to both.",
    ),
    (
        "failed to validate logger args",
        "See that the log group is there, and that the execution role may write to it.",
    ),
    ("ResourceInitializationError", "See that the subnet has a way to AWS, and the role's rights."),
    ("OutOfMemory", "Ask for more `memory`: R needed more than the task has."),
    (
        "exec format error",
        "The image is for another processor: name one for the task's, or its `architecture`.",
    ),
    ("CannotStartContainerError", "See that the image has what is started in it."),
    (
        CAPACITY,
        "Fargate has no room now: name subnets in more zones, another region, or `spot = \"prefer\"` \
         in place of \"only\".",
    ),
    (LIMITS[0], MORE),
    (LIMITS[1], MORE),
    ("vCPU", MORE),
    ("TaskFailedToStart", "What ECS says of it: `aws ecs describe-tasks`."),
];

/// What helps when this was said.
pub(super) fn advice(said: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(words, _)| said.contains(words)).map(|(_, way)| *way)
}

/// The container of ours that ended badly, where one did: its name and how. An account may put others
/// into every task.
pub(super) fn culprit(task: &Task) -> Option<(&str, String)> {
    let main = role(task).to_string();
    let is = |container: &&Container, name: &str| container.name() == Some(name);
    let ours = task.containers().iter().filter(|c| is(c, &main) || is(c, INIT));
    let bad = ours.into_iter().find_map(|container| {
        let code = container.exit_code();
        let reason = container.reason().unwrap_or_default();
        let how = match (code, reason) {
            (Some(0) | None, "") => return None,
            (Some(code), "") => exit(code),
            (Some(code), reason) => format!("{}: {reason}", exit(code)),
            (None, reason) => reason.to_owned(),
        };
        Some((container.name().unwrap_or("container"), how))
    });
    bad.or_else(|| {
        let main = task.containers().iter().find(|c| is(c, &main))?;
        Some((main.name().unwrap_or("container"), exit(main.exit_code()?)))
    })
}

/// The reason of one that was ended by a signal, which shells and Docker count from 128.
fn exit(code: i32) -> String {
    match code {
        129..=192 => format!("it was killed by signal {}", code - 128),
        code => format!("exit code {code}"),
    }
}

/// Why a task ended, without what its containers wrote.
pub(super) fn why(task: &Task) -> String {
    let reason = task.stopped_reason().unwrap_or("ECS did not say why");
    let code = task.stop_code();
    let cause = match code {
        Some(TaskStopCode::SpotInterruption) => "Fargate took its spare capacity back: ".to_owned(),
        Some(TaskStopCode::EssentialContainerExited | TaskStopCode::UserInitiated) | None => {
            String::new()
        }
        Some(code) => format!("{}: ", code.as_str()),
    };
    let ended = culprit(task).map_or(String::new(), |(name, how)| format!("; {name}: {how}"));
    format!("{cause}{reason}{ended}")
}

/// What helps against it.
pub(super) fn way(task: &Task, why: &str) -> Option<&'static str> {
    match task.stop_code() {
        Some(TaskStopCode::SpotInterruption | TaskStopCode::UserInitiated) => None,
        _ => advice(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(code: TaskStopCode, reason: &str, exits: Option<i32>, why: Option<&str>) -> Task {
        let init = Container::builder().name(INIT).exit_code(0).build();
        let main = Container::builder()
            .name("worker")
            .set_exit_code(exits)
            .set_reason(why.map(Into::into));
        let other = Container::builder().name("guard").reason("CannotPullContainerError");
        let task = Task::builder().stop_code(code).stopped_reason(reason).containers(other.build());
        task.containers(init).containers(main.build()).build()
    }

    #[test]
    fn ecs_is_quoted_and_told_what_helps() {
        use TaskStopCode::{EssentialContainerExited, SpotInterruption, TaskFailedToStart};
        let cases = [
            (
                task(
                    TaskFailedToStart,
                    "CannotPullContainerError: pull image manifest has been retried 1 time(s): \
                     failed to resolve ref docker.io/library/no-such:1: pull access denied",
                    None,
                    None,
                ),
                "CannotPullContainerError",
                "See that the image's name is right",
            ),
            (
                task(
                    TaskFailedToStart,
                    "ResourceInitializationError: unable to pull secrets or registry auth: \
                     AccessDeniedException",
                    None,
                    None,
                ),
                "unable to pull secrets",
                "ssm:GetParameters",
            ),
            (
                task(
                    EssentialContainerExited,
                    "Essential container in task exited",
                    Some(137),
                    Some("OutOfMemoryError: Container killed due to memory usage"),
                ),
                "worker: it was killed by signal 9: OutOfMemoryError",
                "more `memory`",
            ),
            (
                task(TaskFailedToStart, "Capacity is unavailable at this time.", None, None),
                "Capacity",
                "more zones",
            ),
        ];
        for (task, quoted, helps) in cases {
            let said = why(&task);
            assert!(said.contains(quoted), "{said}");
            let way = way(&task, &said).unwrap_or_default();
            assert!(way.contains(helps), "{said}: {way}");
        }
        let taken = task(SpotInterruption, "Your Spot Task was interrupted.", Some(143), None);
        assert!(why(&taken).starts_with("Fargate took its spare capacity back: Your Spot"));
        assert_eq!(way(&taken, &why(&taken)), None);
    }
}
