//! A CRAN-like repository in a folder.

use std::path::Path;
use std::process::Command;

/// A source package.
#[derive(Clone, Copy)]
pub struct Package<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// What its description says of others.
    pub needs: &'a str,
    /// Its R, all of which is exported.
    pub r: &'a str,
    /// Its C.
    pub code: Option<&'a str>,
}

impl<'a> Package<'a> {
    pub fn new(name: &'a str) -> Self {
        Self { name, version: "1.0", needs: "", r: "here <- function() TRUE\n", code: None }
    }

    /// Writes the source into `folder`.
    pub fn write(&self, folder: &Path) {
        let Self { name, version, needs, r, code } = self;
        let write = |file: &str, text: &str| {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("to write");
        };
        let description = format!(
            "Package: {name}\nVersion: {version}\nTitle: T\nDescription: D.\nLicense: MIT\n\
             Author: A\nMaintainer: A <a@example.org>\n{needs}"
        );
        write("DESCRIPTION", &description);
        write("NAMESPACE", "exportPattern('.')\n");
        write("R/all.R", r);
        if let Some(code) = code {
            write("src/a.c", code);
        }
    }
}

/// The folder, which is removed with it.
pub struct Repository(tempfile::TempDir);

impl Repository {
    pub fn new(packages: &[Package<'_>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Somebody else may be to read it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).expect("to open it");
        let place = folder.path().join("src/contrib");
        std::fs::create_dir_all(&place).expect("a folder");
        let sources = tempfile::tempdir().expect("a folder");
        for package in packages {
            package.write(&sources.path().join(package.name));
            let file = place.join(format!("{}_{}.tar.gz", package.name, package.version));
            archive(sources.path(), package.name, &file);
        }
        let index = "tools::write_PACKAGES(commandArgs(TRUE), type = 'source')";
        let ran = Command::new("Rscript").args(["--vanilla", "-e", index]).arg(&place).output();
        let ran = ran.expect("R");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }
}

/// Packs the folder `name` of `place`.
pub fn archive(place: &Path, name: &str, file: &Path) {
    let packed = Command::new("tar").arg("-czf").arg(file).arg("-C").arg(place).arg(name).status();
    assert!(packed.expect("tar").success());
}
