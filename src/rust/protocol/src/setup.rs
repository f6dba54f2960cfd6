//! What a worker installs: before it joins, and for a loop that asks for it.

use serde::{Deserialize, Serialize};

/// What a worker installs before it joins, in this order: system packages, command lines, R packages.
///
/// A worker that is told none of it, not even an empty one, never installs anything: it may be on
/// somebody's own machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// Debian packages, by name.
    pub system: Vec<String>,
    /// Command lines for `/bin/sh`.
    pub commands: Vec<String>,
    /// R packages.
    pub packages: RPackages,
    /// The URLs of CRAN-like repositories, in place of those that R knows: `http`, `https` or `file`,
    /// which is a folder of the worker's machine.
    pub repositories: Vec<String>,
}

/// R packages, by where they come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RPackages {
    /// By name, from CRAN or what stands in its place.
    pub cran: Vec<String>,
    /// From GitHub: `user/repository`, then `/folder` and `@reference` where need be.
    pub github: Vec<String>,
    /// By name, from Bioconductor.
    pub bioconductor: Vec<String>,
}

impl RPackages {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cran.is_empty() && self.github.is_empty() && self.bioconductor.is_empty()
    }
}

/// The R packages that a loop asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// They.
    pub packages: RPackages,
    /// The client's libraries: where its tasks find packages on machines that have these folders, too.
    pub libraries: Vec<String>,
}

/// Why a worker could not install what a loop asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uninstalled {
    /// The package, as it was asked for or as another one needs it; empty where it is none's fault.
    pub package: String,
    /// Why, in words.
    pub reason: String,
    /// The last lines of what was said, without their ends.
    pub log: Vec<String>,
}

/// Whether this may be the name of an R package (Writing R Extensions, 1.1.1).
#[must_use]
pub fn is_r_package(name: &str) -> bool {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    letters
        && (2..=100).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.ends_with('.')
}

/// Whether this may be a package on GitHub: `user/repository[/folder][@reference]`.
#[must_use]
pub fn is_github_package(text: &str) -> bool {
    let (path, reference) = text.split_once('@').map_or((text, None), |(p, r)| (p, Some(r)));
    let word = |word: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        !matches!(word, "" | "." | "..") && word.bytes().all(fits)
    };
    // A reference may be a branch, with slashes in it.
    let words = |text: &str| text.split('/').all(word);
    text.len() <= 200 && path.split('/').count() >= 2 && words(path) && reference.is_none_or(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_r_and_github_allow() {
        for good in ["data.table", "R6", "a1", "Rcpp"] {
            assert!(is_r_package(good), "{good}");
        }
        for bad in ["", "a", "1a", ".a", "a.", "a-b", "a b", "a/b", "a\nb", "ä1", "a_b"] {
            assert!(!is_r_package(bad), "{bad:?}");
        }
        for good in ["a/b", "a-b/c.d", "a/b/sub/dir", "a/b@v1.0", "a/b/s@feature/x"] {
            assert!(is_github_package(good), "{good}");
        }
        for bad in
            ["", "a", "a/", "/b", "a/../b", "a/b@", "a/b@..", "a b/c", "a/b@c d", "a//b", "@x"]
        {
            assert!(!is_github_package(bad), "{bad:?}");
        }
    }

    #[test]
    fn packages_of_any_source_are_some() {
        assert!(RPackages::default().is_empty());
        let one = RPackages { bioconductor: vec!["limma".into()], ..RPackages::default() };
        assert!(!one.is_empty());
    }
}
