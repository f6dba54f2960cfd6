//! An image of workers: the executable and packages, put upon an image with R.

use std::path::PathBuf;

use ring::digest::{Context, SHA256};
use rustbatch_protocol::Setup;
use rustbatch_protocol::bootstrap::VERSION;
use tokio::sync::mpsc::UnboundedSender;

use crate::Error;
use crate::docker::{Docker, Entry, Trouble};
use crate::spec::packages;

/// Where in such an image the executable is.
pub const EXECUTABLE: &str = "/opt/rustBatch/rustbatch-worker";

/// What images of which nothing else is said are called.
const NAME: &str = "rustbatch-worker";

/// An image that somebody wants.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The image that it is made of: any with R, or one in which `sysPackages` install it.
    pub base: String,
    /// What is installed in it.
    pub setup: Setup,
    /// The `rustbatch-worker` that is put into it.
    pub executable: PathBuf,
    /// What it is called; a name of its content when absent.
    pub name: Option<String>,
}

/// Reads what is to be installed, as a JSON object with the fields of a `cluster.json` that are about
/// that, or a list of R packages. `origin` names the call in errors.
///
/// # Errors
/// Of kind `config`.
pub fn packages(text: &str, origin: &str) -> Result<Setup, Error> {
    packages::read(text, origin)
}

/// Makes an image, pushes it with `push`, and returns its name. What is done goes to `lines`, as it is.
/// Blocks while the executable is read. Cancel-safe: then there is none, or it is not pushed.
///
/// # Errors
/// [`Error::Docker`]; [`Error::Refused`] when the executable can't be read, and for a push of an image
/// without a name.
pub async fn build(
    docker: &Docker,
    recipe: &Recipe,
    push: bool,
    lines: &UnboundedSender<String>,
) -> Result<String, Error> {
    let refuse = |what: &str, reason: String, way: &str| Error::Refused {
        what: what.to_owned(),
        reason,
        way: way.to_owned(),
    };
    if push && recipe.name.is_none() {
        let way = "Give it one that begins with the registry's, as `tag`: \
                   \"registry.example.org/me/worker:1\"";
        return Err(refuse("push an image", "it has no name".into(), way));
    }
    let executable = std::fs::read(&recipe.executable).map_err(|error| {
        refuse(&format!("read `{}`", recipe.executable.display()), error.to_string(), "")
    })?;
    let say = |line: String| {
        // Who listened may have gone.
        let _ = lines.send(line);
    };
    say(format!("Looking at the image {}", recipe.base));
    let image = docker.image(&recipe.base).await?;
    image.fits(&recipe.base, &recipe.executable)?;
    let setup =
        serde_json::to_vec_pretty(&recipe.setup).map_err(|e| Error::Internal(e.to_string()))?;
    let file = dockerfile(&recipe.base, image.user());
    let name = recipe.name.clone().unwrap_or_else(|| named([&executable, &setup, file.as_bytes()]));
    say(format!("Building the image {name}"));
    let files = [
        Entry { path: "Dockerfile", mode: 0o644, content: Some(file.as_bytes()) },
        Entry { path: "rustbatch-worker", mode: 0o755, content: Some(&executable) },
        Entry { path: "setup.json", mode: 0o644, content: Some(&setup) },
    ];
    docker.build(&name, &files, lines).await.map_err(|trouble| explained(trouble, &recipe.base))?;
    if push {
        say(format!("Pushing the image {name}"));
        docker.push(&name, lines).await?;
    }
    Ok(name)
}

/// The packages are installed by the worker's own code, as root; then the image is what it was.
fn dockerfile(base: &str, user: &str) -> String {
    let back = if user.is_empty() { String::new() } else { format!("USER {user}\n") };
    format!(
        "FROM {base}\n\
         LABEL rustbatch.version={VERSION}\n\
         USER root\n\
         COPY rustbatch-worker {EXECUTABLE}\n\
         COPY setup.json /opt/rustBatch/setup.json\n\
         RUN {EXECUTABLE} setup --file /opt/rustBatch/setup.json && \
         rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb\n\
         {back}"
    )
}

/// A name that the same content has again.
fn named(parts: [&[u8]; 3]) -> String {
    let mut digest = Context::new(&SHA256);
    for part in parts {
        digest.update(&part.len().to_le_bytes());
        digest.update(part);
    }
    let digits: String = digest.finish().as_ref()[..6].iter().map(|b| format!("{b:02x}")).collect();
    format!("{NAME}:{digits}")
}

/// A package that can't be installed is named by what the executable said last.
fn explained(trouble: Trouble, base: &str) -> Error {
    let Trouble::Build { did, said } = &trouble else { return trouble.into() };
    let named = |line: &str| {
        let reason = line.strip_prefix("rustbatch-worker: ")?;
        let package = reason.split_once(" package `")?.1.split_once('`')?.0;
        Some((package.to_owned(), reason.to_owned()))
    };
    // A builder puts the number of the step and the time before a line.
    let found =
        said.iter().rev().find_map(|line| named(&line[line.find("rustbatch-worker: can't ")?..]));
    match found {
        Some((package, reason)) => Error::Package {
            what: format!("{did} upon `{base}`"),
            package,
            reason,
            log: said.join("\n"),
        },
        None => trouble.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_users_again_at_the_end() {
        let file = dockerfile("a/r:1", "me:us");
        assert!(file.starts_with("FROM a/r:1\nLABEL "), "{file}");
        assert!(file.ends_with("\nUSER me:us\n"), "{file}");
        assert!(file.contains(" setup --file /opt/rustBatch/setup.json && "), "{file}");
        assert_eq!(dockerfile("r", "").matches("USER").count(), 1);
    }

    #[test]
    fn the_same_content_has_the_same_name() {
        let name = named([b"a", b"b", b"c"]);
        assert_eq!(name, named([b"a", b"b", b"c"]));
        assert_ne!(name, named([b"ab", b"", b"c"]));
        assert_eq!(name.len(), "rustbatch-worker:".len() + 12);
    }

    #[test]
    fn the_package_that_failed_is_named() {
        let said = [
            "Step 5/6 : RUN x",
            "#8 1.2 rustbatch-worker: can't install the R package `bad`: its installation failed",
            "#8 1.2   ERROR: compilation failed",
            "The command returned a non-zero code: 3",
        ];
        let said: Vec<String> = said.map(str::to_owned).into();
        let trouble = Trouble::Build { did: "make the image `x`".into(), said };
        let error = explained(trouble, "r");
        assert_eq!(error.kind(), "package");
        let shown = error.to_string();
        assert!(
            shown.starts_with("Can't make the image `x` upon `r`: can't install the R"),
            "{shown}"
        );
        assert!(shown.contains("ERROR: compilation failed"), "{shown}");
        assert!(error.fields().contains(&("package", "bad".to_owned())));
        let other = Trouble::Build { did: "d".into(), said: vec!["no space".into()] };
        assert_eq!(explained(other, "r").kind(), "image");
    }
}
