//! By whom clouds are asked from now on. What is secret of it stays here.

use std::sync::{Mutex, PoisonError};

use extendr_api::prelude::*;
use rustbatch_provision::Credentials;
use zeroize::Zeroizing;

use crate::boundary::entry;
use crate::{config, runtime, values};

/// What `setCredentials()` has been given last; what clouds find themselves, where it was nothing.
static CURRENT: Mutex<Option<Credentials>> = Mutex::new(None);

/// The credentials for what is done now.
pub fn current() -> Credentials {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

/// Takes the credentials of a `credentials.json`, or those in a list; with neither, what clouds find
/// themselves. They are used from now on if AWS takes them. Returns whom AWS takes them for, and the
/// region, empty where none is named.
#[extendr]
fn credentials_set(file: Robj, fields: Robj) -> Robj {
    entry(|| {
        let credentials = if !file.is_null() {
            Credentials::read(values::text_of(&file)?.as_ref())?
        } else if !fields.is_null() {
            let text = Zeroizing::new(config::json_text(&fields));
            Credentials::from_json(&text, "setCredentials()")?
        } else {
            Credentials::default()
        };
        let asked = credentials.clone();
        let known = runtime::run(async move { asked.identity().await })?;
        *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) = Some(credentials);
        values::named_list(&[
            ("account", values::text(&known.account)?),
            ("arn", values::text(&known.arn)?),
            ("region", values::text(&known.region)?),
        ])
    })
}

extendr_module! {
    mod credentials;
    fn credentials_set;
}
