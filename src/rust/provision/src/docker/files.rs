//! Files that are put into containers, and read there.

use std::io::Read;

use super::wanted::archive;
use super::{Docker, Entry, Image, Owner, Trouble, refused, text};

impl Docker {
    /// Puts files and folders into a container, whether it runs or not, over the command's standard
    /// input: on this machine's disks nothing is written. Not cancel-safe: some may be there.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn put(
        &self,
        container: &str,
        owner: Owner,
        entries: &[Entry<'_>],
    ) -> Result<(), Trouble> {
        let did = "copy files into a container";
        let archive = archive(owner, entries).map_err(|e| refused(did, &e))?;
        let place = format!("{container}:/");
        self.run(did, ["cp", "-", &place], &archive).await.map(drop)
    }

    /// What is in a file of a container, whether it runs or not. Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble::Gone`] when there is no such file; [`Trouble`].
    pub async fn get(&self, container: &str, path: &str) -> Result<Vec<u8>, Trouble> {
        let did = format!("read `{path}` of a container");
        let place = format!("{container}:{path}");
        let archive = self.run(&did, ["cp", "--follow-link", &place, "-"], &[]).await?;
        let mut content = Vec::new();
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut files = archive.entries().map_err(|e| refused(&did, &e))?;
        let first = files.next().ok_or_else(|| refused(&did, &"there is none"))?;
        first.and_then(|mut file| file.read_to_end(&mut content)).map_err(|e| refused(&did, &e))?;
        Ok(content)
    }

    /// As whom the programs of this container of `image` run. Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble::Refused`] when the image names a user whom it does not know; [`Trouble`].
    pub async fn owner(&self, container: &str, image: &Image) -> Result<Owner, Trouble> {
        let (user, group) = image.user().split_once(':').unwrap_or((image.user(), ""));
        if user.is_empty() {
            return Ok(Owner::default());
        }
        let users = match self.get(container, "/etc/passwd").await {
            Ok(users) => text(users),
            Err(Trouble::Gone { .. }) => String::new(),
            Err(error) => return Err(error),
        };
        // name:password:user:group:...
        let known = users.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, number, group, ..] = fields[..] else { return None };
            let it = name == user || number == user;
            it.then(|| Some(Owner { user: number.parse().ok()?, group: group.parse().ok()? }))?
        });
        let mut owner = match (known, user.parse()) {
            (Some(owner), _) => owner,
            (None, Ok(user)) => Owner { user, group: 0 },
            (None, Err(_)) => {
                let unknown = format!("its image has no user `{user}`");
                return Err(refused("copy files into a container", &unknown));
            }
        };
        if let Ok(group) = group.parse() {
            owner.group = group;
        }
        Ok(owner)
    }
}
