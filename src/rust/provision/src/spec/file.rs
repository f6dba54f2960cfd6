//! The text of a `cluster.json`, or another file of the user.

use std::path::Path;

use crate::Error;

/// Reads it. Blocks while it is read.
pub(crate) fn text(path: &Path) -> Result<String, Error> {
    let refuse =
        |reason: String, way: String| Error::File { file: path.display().to_string(), reason, way };
    let failed = |error: std::io::Error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let way = match std::env::current_dir() {
            Ok(folder) if missing && path.is_relative() => {
                format!("A path without a leading `/` starts at the folder `{}`.", folder.display())
            }
            _ if missing => "See that the path is written as it is on this machine.".into(),
            _ => "See that you may read it.".into(),
        };
        let reason = if missing { "there is no such file".into() } else { error.to_string() };
        refuse(reason, way)
    };
    let kind = std::fs::metadata(path).map_err(failed)?;
    if kind.is_dir() {
        let way =
            format!("Name the file in it, such as `{}`.", path.join("cluster.json").display());
        return Err(refuse("it is a folder".into(), way));
    }
    if !kind.is_file() {
        return Err(refuse("it is not a regular file".into(), "Save it as a file.".into()));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        refuse(format!("byte {at} is not UTF-8"), "Save it with the encoding UTF-8.".into())
    })
}
