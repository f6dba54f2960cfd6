//! What is to be installed where workers run: the fields `sysPackages`, `rPackages`, `repos` and
//! `commandLine`.

use rustbatch_protocol::setup::{is_github_package, is_r_package};
use rustbatch_protocol::{RPackages, Setup};

use crate::Error;
use crate::field::{Fields, quote};

/// The fields that [`setup`] reads.
pub(crate) const FIELDS: [&str; 4] = ["sysPackages", "rPackages", "repos", "commandLine"];

const SOURCES: [&str; 3] = ["cran", "github", "bioconductor"];

const SYSTEM: &str = "a list of texts, each the name of a Debian package, such as `libxml2-dev`";
const SOURCED: &str = "a list of texts, each the name of an R package, or an object with such lists: \
                       `cran`, `github`, `bioconductor`";
const NAMED: &str = "a list of texts, each the name of an R package, such as `data.table`";
const GITHUB: &str =
    "a list of texts, each a package on GitHub: `user/repository`, `user/repository/folder@tag`";
const REPOS: &str = "a list of texts, each the URL of a repository like CRAN, without a password: \
                     `https://cloud.r-project.org`, `file:///srv/repository`";
const COMMANDS: &str = "a list of texts, each a command line for `/bin/sh`";

/// Reads what is to be installed; nothing where no field says anything.
///
/// # Errors
/// Of kind `config`.
pub(crate) fn setup(fields: &mut Fields) -> Result<Option<Box<Setup>>, Error> {
    let setup = Setup {
        system: fields.texts("sysPackages", is_debian_package, SYSTEM)?,
        commands: fields.texts("commandLine", is_command, COMMANDS)?,
        packages: packages(fields)?,
        repositories: repositories(fields)?,
    };
    Ok((setup != Setup::default()).then(|| Box::new(setup)))
}

fn packages(fields: &mut Fields) -> Result<RPackages, Error> {
    let Some(mut sources) = fields.object("rPackages")? else {
        let cran = fields.texts("rPackages", is_r_package, SOURCED)?;
        return Ok(RPackages { cran, ..RPackages::default() });
    };
    sources.only(&SOURCES)?;
    Ok(RPackages {
        cran: sources.texts("cran", is_r_package, NAMED)?,
        github: sources.texts("github", is_github_package, GITHUB)?,
        bioconductor: sources.texts("bioconductor", is_r_package, NAMED)?,
    })
}

/// What is said of a repository stands in logs, so it must hold no password.
fn repositories(fields: &mut Fields) -> Result<Vec<String>, Error> {
    let urls = fields.texts("repos", |_| true, REPOS)?;
    for url in &urls {
        let host = url.split_once("://").map_or("", |(_, rest)| rest).split('/').next();
        if host.is_some_and(|host| host.contains('@')) {
            let found = "a URL with a user name or a password".to_owned();
            return Err(fields.wrong("repos", found, REPOS));
        }
        if !is_repository(url) {
            return Err(fields.wrong("repos", quote(url), REPOS));
        }
    }
    Ok(urls)
}

/// Debian Policy, 5.6.7; with a version behind `=`, or a processor behind `:`, as apt reads them.
fn is_debian_package(text: &str) -> bool {
    let (name, rest) = text.split_at(text.find([':', '=']).unwrap_or(text.len()));
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let rest_fits =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-' | b'~' | b':' | b'=');
    (2..=100).contains(&name.len())
        && name.bytes().all(|b| letter(b) || matches!(b, b'+' | b'-' | b'.'))
        && name.bytes().next().is_some_and(letter)
        && rest.len() != 1
        && rest.len() <= 100
        && rest.bytes().all(rest_fits)
}

fn is_repository(url: &str) -> bool {
    let plain = url.bytes().all(|b| b.is_ascii_graphic());
    let Some((scheme, rest)) = url.split_once("://").filter(|_| plain && url.len() <= 2000) else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => !host.is_empty(),
        "file" => host.is_empty() && rest.len() > 1,
        _ => false,
    }
}

fn is_command(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\0')
}

/// Reads the fields of an object of its own, in `text`; `origin` names it in errors.
///
/// # Errors
/// Of kind `config`; as [`setup`].
pub(crate) fn read(text: &str, origin: &str) -> Result<Setup, Error> {
    let value = serde_json::from_str::<serde_json::Value>(text);
    // Without names they are R packages.
    let text = match &value {
        Ok(list @ (serde_json::Value::Array(_) | serde_json::Value::String(_))) => {
            serde_json::json!({ "rPackages": list }).to_string()
        }
        _ => text.to_owned(),
    };
    let mut fields = Fields::read(&text, origin)?;
    fields.only(&FIELDS)?;
    Ok(setup(&mut fields)?.map(|setup| *setup).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<Setup, Error> {
        read(text, "makeCluster()")
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn every_field_is_read_alone_and_as_a_list() {
        let setup = given(
            r#"{"sysPackages": "libxml2-dev", "commandLine": ["a && b", "c"],
            "rPackages": {"cran": ["R6", "Rcpp"], "github": "u/r@v1", "bioconductor": ["limma"]},
            "repos": ["file:///srv/r", "https://h:8080/cran", "HTTP://h"]}"#,
        );
        let expected = Setup {
            system: texts(&["libxml2-dev"]),
            commands: texts(&["a && b", "c"]),
            packages: RPackages {
                cran: texts(&["R6", "Rcpp"]),
                github: texts(&["u/r@v1"]),
                bioconductor: texts(&["limma"]),
            },
            repositories: texts(&["file:///srv/r", "https://h:8080/cran", "HTTP://h"]),
        };
        assert_eq!(setup.expect("a good text"), expected);
    }

    #[test]
    fn a_list_of_r_packages_is_of_cran() {
        let cran = |text: &str| given(text).expect(text).packages.cran;
        for text in [r#"{"rPackages": ["R6", "Rcpp"]}"#, r#"["R6", "Rcpp"]"#] {
            assert_eq!(cran(text), ["R6", "Rcpp"], "{text}");
        }
        for text in [r#"{"rPackages": "R6"}"#, r#""R6""#] {
            assert_eq!(cran(text), ["R6"], "{text}");
        }
    }

    #[test]
    fn nothing_said_is_nothing_to_install() {
        for text in [r#"{}"#, r#"{"sysPackages": [], "rPackages": {"cran": null}}"#] {
            let mut fields = Fields::read(text, "x").expect(text);
            assert!(setup(&mut fields).expect(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused_with_place_value_and_choice() {
        let cases = [
            (r#"{"sysPackages": "Lib"}"#, "`sysPackages` of `makeCluster()`: the text \"Lib\"\n"),
            (r#"{"sysPackages": "-oDebug=1"}"#, "the text \"-oDebug=1\"\n"),
            (r#"{"sysPackages": ["r-base", 1]}"#, "the number 1\n* It is a list of texts, each"),
            (r#"{"sysPackages": "a b"}"#, "name of a Debian package"),
            (r#"{"sysPackages": {}}"#, ": an object\n"),
            (r#"{"rPackages": "u/r"}"#, "`rPackages` of `makeCluster()`: the text \"u/r\"\n"),
            (r#"{"rPackages": {"cran": "../x"}}"#, "`cran` of `rPackages` of `makeCluster()`: "),
            (r#"{"rPackages": {"github": "r"}}"#, "`github` of `rPackages` of `makeCluster()`: "),
            (r#"{"rPackages": {"bioconductor": [["a"]]}}"#, ": a list\n* It is a list of texts"),
            (r#"{"rPackages": true}"#, ": true\n* It is a list of texts, each the name of an R"),
            (r#"{"commandLine": " "}"#, "`commandLine` of `makeCluster()`: the text \" \"\n"),
            (r#"{"repos": "cran.r-project.org"}"#, "`repos` of `makeCluster()`: the text"),
            (r#"{"repos": "file://srv/r"}"#, "each the URL of a repository like CRAN"),
            (r#"{"repos": "ftp://h/r"}"#, "the text \"ftp://h/r\"\n"),
        ];
        for (text, part) in cases {
            let error = given(text).expect_err(text);
            assert_eq!(error.kind(), "config", "{text}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        let error = given(r#"{"rPackages": {"cram": "x"}}"#).expect_err("unknown").to_string();
        assert!(error.contains("`cram`\n* Did you mean `cran`?"), "{error}");
        assert!(given(r#"{"packages": "x"}"#).is_err());
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_quoted() {
        let error = given(r#"{"repos": "https://u:s3cret@h/r"}"#).expect_err("a password");
        assert!(!format!("{error} {error:?} {:?}", error.fields()).contains("s3cret"), "{error}");
    }

    #[test]
    fn versions_and_processors_are_apts() {
        for good in ["r-base", "g++", "libc6:arm64", "r-base=4.2.2-1~b1", "x11-apps"] {
            assert!(is_debian_package(good), "{good}");
        }
        for bad in ["a", "r-base=", "r-base:", "a;b", "--x", "r base", "r-base=1 2", "ab$x"] {
            assert!(!is_debian_package(bad), "{bad}");
        }
    }
}
