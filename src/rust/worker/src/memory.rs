//! The memory that this worker and its R processes may use, as the kernel counts it: how many
//! processes it has killed for want of memory, the limit, and the peak.
//!
//! Control groups come in two versions, and in both a container may not see the path that it is told
//! it is in. Where there are none (macOS), nothing is known.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A limit this large is none: version 1 writes the largest multiple of a page for "no limit".
const NO_LIMIT: u64 = 1 << 60;

/// The groups of a process, as far as they can be seen.
#[derive(Debug, Default)]
pub struct Memory {
    /// The process' own group first, then those above it.
    groups: Vec<Group>,
    /// The kernel's count up to which every kill has explained a death.
    explained: Mutex<u64>,
}

/// What the kernel killed for: whichever of the two it is not possible to know is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit that was reached, in bytes; `None` also when it was the machine's whole memory.
    pub limit: Option<u64>,
    /// The most that the group of that limit has used, in bytes.
    pub peak: Option<u64>,
}

#[derive(Debug)]
struct Group {
    folder: PathBuf,
    files: &'static Files,
}

/// The names of a version's files.
#[derive(Debug)]
struct Files {
    /// What the mount is called.
    kind: &'static str,
    /// Has a line `oom_kill <n>`.
    kills: &'static str,
    limit: &'static str,
    peak: &'static str,
}

const V1: Files = Files {
    kind: "cgroup",
    kills: "memory.oom_control",
    limit: "memory.limit_in_bytes",
    peak: "memory.max_usage_in_bytes",
};

const V2: Files =
    Files { kind: "cgroup2", kills: "memory.events", limit: "memory.max", peak: "memory.peak" };

impl Memory {
    /// The groups of this process.
    pub fn ours() -> &'static Self {
        static OURS: LazyLock<Memory> = LazyLock::new(|| Memory::seen_from(Path::new("/")));
        &OURS
    }

    /// The groups of the process that sees the file system `root`. What can't be read is left out.
    fn seen_from(root: &Path) -> Self {
        let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let (told, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
        // A machine with both versions counts memory in one of them, and names it where that is 1.
        let groups = place(&told, &mounts, &V1)
            .or_else(|| place(&told, &mounts, &V2))
            .map(|place| place.groups(root))
            .unwrap_or_default();
        Self { groups, explained: Mutex::new(0) }
    }

    /// How many processes of the group the kernel has killed, as far back as it counts. The kernel
    /// counts a kill where the process was, whichever limit above it was reached; so a group above
    /// is asked only when the own one can't be seen, and a neighbour's kill is not taken for ours.
    pub fn kills(&self) -> u64 {
        self.groups.iter().find_map(Group::kills).unwrap_or(0)
    }

    /// What explains the death by SIGKILL of a process that was alive when the count was `before`:
    /// `None` when the kernel has killed nobody since, or only those whose deaths it has explained.
    pub fn explain(&self, before: u64) -> Option<Exceeded> {
        let mut explained = self.explained.lock().unwrap_or_else(PoisonError::into_inner);
        let known = before.max(*explained);
        if self.kills() <= known {
            return None;
        }
        *explained = known + 1;
        let reached = |exceeded: &Exceeded| match (exceeded.limit, exceeded.peak) {
            (Some(limit), Some(peak)) => peak >= limit - limit / 10,
            (limit, _) => limit.is_some(),
        };
        Some(self.groups.iter().map(Group::exceeded).find(reached).unwrap_or_default())
    }
}

impl Group {
    fn read(&self, file: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join(file)).ok()
    }

    fn kills(&self) -> Option<u64> {
        let text = self.read(self.files.kills)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        count.trim().parse().ok()
    }

    fn exceeded(&self) -> Exceeded {
        // Without a limit version 2 has the word "max" there.
        let number = |file| self.read(file)?.trim().parse::<u64>().ok();
        Exceeded {
            limit: number(self.files.limit).filter(|&limit| limit < NO_LIMIT),
            peak: number(self.files.peak),
        }
    }
}

/// Where a process' group would be: under a mount that shows the hierarchy from `top` on.
struct Place {
    mount: PathBuf,
    top: PathBuf,
    own: PathBuf,
    files: &'static Files,
}

/// The place in the hierarchy of a version, from the texts of `/proc/self/cgroup` and
/// `/proc/self/mountinfo`; `None` when it is not there, or does not count memory.
fn place(told: &str, mounts: &str, files: &'static Files) -> Option<Place> {
    let first = files.kind == V1.kind;
    // "4:memory:/docker/1234", "0::/user.slice"
    let own = told.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours =
            if first { controllers.split(',').any(|c| c == "memory") } else { number == "0" };
        ours.then(|| PathBuf::from(path))
    })?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (top, mount) = (unescaped(left.next()?), unescaped(left.next()?));
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let memory = || options.split(',').any(|option| option == "memory");
        let ours = kind == files.kind && (!first || memory());
        ours.then(|| Place { mount: mount.into(), top: top.into(), own: own.clone(), files })
    })
}

impl Place {
    /// The groups from the own one up to the top of the mount. Where the own path leads nowhere, the
    /// top is all that the container is shown; groups without files are passed over when read.
    fn groups(&self, root: &Path) -> Vec<Group> {
        let within = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let mount = within(&self.mount);
        let below = self.own.strip_prefix(&self.top).or_else(|_| self.own.strip_prefix("/"));
        let own = below.map_or_else(|_| mount.clone(), |path| mount.join(path));
        own.ancestors()
            .take_while(|folder| folder.starts_with(&mount))
            .map(|folder| Group { folder: folder.to_owned(), files: self.files })
            .collect()
    }
}

/// A path as `mountinfo` writes it, where a blank is `\040`.
fn unescaped(path: &str) -> String {
    path.replace("\\040", " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    /// A file system with these files.
    fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        files.iter().for_each(|(name, text)| put(root.path(), name, text));
        root
    }

    fn put(root: &Path, name: &str, text: &str) {
        let file = root.join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("to make it");
        std::fs::write(file, text).expect("to write");
    }

    const MOUNT_2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    #[test]
    fn version_2_tells_a_kill_with_limit_and_peak() {
        let own = "sys/fs/cgroup/a.slice/worker";
        let file = |name: &str| format!("{own}/{name}");
        let root = fake(&[
            ("proc/self/cgroup", "0::/a.slice/worker\n"),
            ("proc/self/mountinfo", MOUNT_2),
            (&file("memory.events"), "low 0\noom 1\noom_kill 1\noom_group_kill 0\n"),
            (&file("memory.max"), "2147483648\n"),
            (&file("memory.peak"), "2126008811\n"),
        ]);
        let memory = Memory::seen_from(root.path());
        let before = memory.kills();
        assert_eq!((before, memory.explain(before)), (1, None));
        put(root.path(), &file("memory.events"), "low 0\noom 2\noom_kill 2\noom_group_kill 9\n");
        let seen = Exceeded { limit: Some(2_147_483_648), peak: Some(2_126_008_811) };
        assert_eq!(memory.explain(before), Some(seen));
        // One kill explains one death.
        assert_eq!(memory.explain(before), None);
    }

    #[test]
    fn the_limit_that_was_reached_may_be_one_above() {
        let root = fake(&[
            ("proc/self/cgroup", "0::/pod/worker\n"),
            ("proc/self/mountinfo", MOUNT_2),
            ("sys/fs/cgroup/pod/worker/memory.events", "oom_kill 1\n"),
            ("sys/fs/cgroup/pod/worker/memory.max", "8000\n"),
            ("sys/fs/cgroup/pod/worker/memory.peak", "500\n"),
            ("sys/fs/cgroup/pod/memory.events", "oom_kill 7\n"),
            ("sys/fs/cgroup/pod/memory.max", "1000\n"),
        ]);
        let memory = Memory::seen_from(root.path());
        assert_eq!(memory.kills(), 1);
        // A kernel older than 5.19 knows no peak.
        assert_eq!(memory.explain(0), Some(Exceeded { limit: Some(1000), peak: None }));
        put(root.path(), "sys/fs/cgroup/pod/worker/memory.events", "oom_kill 2\n");
        put(root.path(), "sys/fs/cgroup/pod/memory.max", "max\n");
        assert_eq!(memory.explain(1), Some(Exceeded::default()));
    }

    #[test]
    fn version_1_is_found_beside_version_2() {
        let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let group = |name: &str| format!("sys/fs/cgroup/memory/w/{name}");
        let root = fake(&[
            ("proc/self/cgroup", "4:memory:/w\n1:cpu:/\n0::/\n"),
            ("proc/self/mountinfo", mounts),
            (&group("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            (&group("memory.limit_in_bytes"), "200\n"),
            (&group("memory.max_usage_in_bytes"), "200\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let memory = Memory::seen_from(root.path());
        assert_eq!(memory.kills(), 3);
        assert_eq!(memory.explain(2), Some(Exceeded { limit: Some(200), peak: Some(200) }));
        put(root.path(), &group("memory.limit_in_bytes"), "9223372036854771712\n");
        put(root.path(), &group("memory.oom_control"), "oom_kill 4\n");
        assert_eq!(memory.explain(3), Some(Exceeded::default()));
    }

    #[test]
    fn a_container_that_does_not_see_its_path_is_shown_its_group_as_the_top() {
        // Told the host's path, shown the group that a bind mount begins with.
        let bound = "9 8 0:32 /docker/1 /sys/fs/cgroup/a\\040b ro - cgroup cgroup rw,memory\n";
        let root = fake(&[
            ("proc/self/cgroup", "4:cpu,memory:/docker/1/inner\n"),
            ("proc/self/mountinfo", bound),
            ("sys/fs/cgroup/a b/inner/memory.oom_control", "oom_kill 5\n"),
        ]);
        assert_eq!(Memory::seen_from(root.path()).kills(), 5);
        // Told a path that leads nowhere here, or out of the name space.
        for told in ["0::/docker/1/docker/2\n", "0::/../../other\n"] {
            let root = fake(&[
                ("proc/self/cgroup", told),
                ("proc/self/mountinfo", MOUNT_2),
                ("sys/fs/cgroup/memory.events", "oom_kill 6\n"),
            ]);
            assert_eq!(Memory::seen_from(root.path()).kills(), 6, "{told}");
        }
    }

    #[test]
    fn without_groups_nothing_is_known() {
        let root = fake(&[]);
        let memory = Memory::seen_from(root.path());
        assert_eq!((memory.kills(), memory.explain(0)), (0, None));
    }

    /// A group with a limit, made for the test and removed after it.
    struct Limited(PathBuf);

    impl Drop for Limited {
        fn drop(&mut self) {
            // It goes only after its last process, and the rest of the pipeline ends after the shell.
            let deadline = Instant::now() + Duration::from_secs(10);
            while std::fs::remove_dir(&self.0).is_err() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    fn limited(bytes: u64) -> std::io::Result<Limited> {
        let (top, file) = match Path::new("/sys/fs/cgroup/memory").is_dir() {
            true => ("/sys/fs/cgroup/memory", V1.limit),
            false => ("/sys/fs/cgroup", V2.limit),
        };
        let folder = Path::new(top).join(format!("rustbatch-test-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let group = Limited(folder);
        std::fs::write(group.0.join(file), bytes.to_string())?;
        Ok(group)
    }

    /// A shell in the group, which waits for a line before it uses `memory`.
    fn hungry(group: &Limited) -> std::io::Result<Child> {
        let script = "echo $$ > $0/cgroup.procs && read x && \
                      a=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#a}";
        Command::new("sh").arg("-c").arg(script).arg(&group.0).stdin(Stdio::piped()).spawn()
    }

    #[test]
    fn a_real_kernel_tells_a_real_kill() {
        const LIMIT: u64 = 64 << 20;
        let group = match limited(LIMIT) {
            Ok(group) => group,
            Err(error) => {
                writeln_stderr(&format!("SKIPPED: no memory group can be made here: {error}"));
                return;
            }
        };
        let files = if group.0.join(V1.limit).is_file() { &V1 } else { &V2 };
        let groups = vec![Group { folder: group.0.clone(), files }];
        let memory = Memory { groups, explained: Mutex::new(0) };
        let before = memory.kills();
        let mut shell = hungry(&group).expect("a shell");
        drop(shell.stdin.take().map(|mut stdin| std::io::Write::write_all(&mut stdin, b"go\n")));
        let status = shell.wait().expect("its end");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
        let seen = memory.explain(before).expect("a kill");
        assert_eq!(seen.limit, Some(LIMIT));
        assert!(seen.peak.is_none_or(|peak| peak > LIMIT / 2 && peak <= LIMIT), "{seen:?}");
    }

    fn writeln_stderr(text: &str) {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
