//! A container as it is to be: what it is made of, and the files that are put into it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;

use zeroize::Zeroizing;

/// A container that somebody wants.
#[derive(Debug, Clone, Default)]
pub struct NewContainer {
    /// Its name, which no other container of the daemon has.
    pub name: String,
    /// Its image, by name or id; it has to be there.
    pub image: String,
    /// Its network.
    pub network: String,
    /// By what name the others in the network find it, besides its own.
    pub alias: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The program and its arguments, in place of the image's. No secret stands in it.
    pub command: Vec<String>,
    /// The environment besides the image's. No secret stands in it.
    pub environment: BTreeMap<String, String>,
    /// Processors, in thousandths; no limit when absent.
    pub cpu: Option<u32>,
    /// Memory, in MiB, beyond which there is no swap, either; no limit when absent.
    pub memory: Option<u64>,
    /// A TCP port of it that its daemon's machine is to listen for, at a free port of this address.
    pub publish: Option<(IpAddr, u16)>,
}

/// A file, or a folder, as it is to be in a container.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The path, without the leading `/`.
    pub path: &'a str,
    /// The permissions.
    pub mode: u32,
    /// What is in the file; `None` for a folder.
    pub content: Option<&'a [u8]>,
}

/// The user that a container's programs run as, by the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// The user.
    pub user: u64,
    /// The group.
    pub group: u64,
}

impl NewContainer {
    /// The arguments of `docker` that make it.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = strings(["create", "--init", "--pull=never", "--name", &self.name]);
        words.extend(strings(["--network", &self.network]));
        if let Some(alias) = &self.alias {
            words.extend(strings(["--network-alias", alias]));
        }
        words.extend(pairs("--label", &self.labels));
        words.extend(pairs("--env", &self.environment));
        if let Some(cpu) = self.cpu {
            words.push(format!("--cpus={}.{:03}", cpu / 1000, cpu % 1000));
        }
        if let Some(memory) = self.memory {
            words.extend([format!("--memory={memory}m"), format!("--memory-swap={memory}m")]);
        }
        if let Some((address, port)) = self.publish {
            let address = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            words.push(format!("--publish={address}::{port}"));
        }
        let (program, arguments) =
            self.command.split_first().map_or(("", &[][..]), |(p, a)| (p, a));
        words.extend([format!("--entrypoint={program}"), "--".into(), self.image.clone()]);
        words.extend_from_slice(arguments);
        words
    }
}

/// The entries as a tar archive, in a place that is wiped.
pub(super) fn archive(owner: Owner, entries: &[Entry<'_>]) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // A vector that outgrows its place leaves a copy behind: each entry has a head, and is filled up
    // to whole blocks.
    let size: usize = entries.iter().map(|e| 4096 + e.content.map_or(0, <[u8]>::len)).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 4096));
    let mut archive = tar::Builder::new(&mut *bytes as &mut dyn Write);
    for entry in entries {
        let mut head = tar::Header::new_gnu();
        head.set_uid(owner.user);
        head.set_gid(owner.group);
        head.set_mode(entry.mode);
        let content = entry.content.unwrap_or_default();
        head.set_size(content.len() as u64);
        head.set_entry_type(match entry.content {
            Some(_) => tar::EntryType::Regular,
            None => tar::EntryType::Directory,
        });
        archive.append_data(&mut head, entry.path, content)?;
    }
    archive.finish()?;
    drop(archive);
    Ok(bytes)
}

pub(super) fn strings<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

/// `--label a=b` and the like.
pub(super) fn pairs(
    option: &str,
    pairs: &BTreeMap<String, String>,
) -> impl Iterator<Item = String> {
    pairs.iter().map(move |(name, value)| format!("{option}={name}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_ports_are_said_as_docker_reads_them() {
        let plan = NewContainer {
            image: "r".into(),
            cpu: Some(1050),
            memory: Some(512),
            publish: Some(([127, 0, 0, 1].into(), 6379)),
            command: strings(["/a", "b"]),
            environment: BTreeMap::from([("A".into(), "b c".into())]),
            ..NewContainer::default()
        };
        let words = plan.words();
        for word in [
            "--cpus=1.050",
            "--memory=512m",
            "--memory-swap=512m",
            "--publish=127.0.0.1::6379",
            "--env=A=b c",
        ] {
            assert!(words.iter().any(|w| w == word), "{word}: {words:?}");
        }
        assert_eq!(words[words.len() - 4..], ["--entrypoint=/a", "--", "r", "b"]);
        assert!(!NewContainer::default().words().iter().any(|w| w.starts_with("--memory")));
    }

    #[test]
    fn an_archive_says_whose_its_files_are_and_leaves_no_copy() {
        let content = vec![7; 100_000];
        let entries = [
            Entry { path: "a/", mode: 0o700, content: None },
            Entry { path: "a/b", mode: 0o400, content: Some(&content) },
        ];
        let bytes = archive(Owner { user: 7, group: 8 }, &entries).expect("an archive");
        assert_eq!(bytes.capacity(), 4096 * 3 + content.len(), "it outgrew its place");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let heads = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("an entry");
            let (path, head) = (entry.path().expect("a path"), entry.header());
            let numbers = [head.uid(), head.gid(), head.mode().map(u64::from), head.size()];
            (path.display().to_string(), numbers.map(|n| n.expect("a number")))
        });
        let heads: Vec<_> = heads.collect();
        assert_eq!(
            heads,
            [("a/".into(), [7, 8, 0o700, 0]), ("a/b".into(), [7, 8, 0o400, 100_000])]
        );
    }
}
