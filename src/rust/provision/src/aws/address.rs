//! By which address the world sees this machine.

use std::net::Ipv4Addr;

use aws_smithy_runtime_api::http::Request;

use super::{Aws, Trouble, call};

/// AWS's own answer to that: a page that is the address.
const PAGE: &str = "checkip.amazonaws.com";

impl Aws {
    /// This machine's public IPv4 address, as AWS sees it. Cancel-safe.
    ///
    /// # Errors
    /// Where the page can't be had, or is no address.
    pub async fn public_address(&self) -> Result<Ipv4Addr, Trouble> {
        let action = format!("GET https://{PAGE}");
        let silence = |reason: String| Trouble::silence(action.clone(), reason);
        let place = call::endpoint(&self.config, "checkip");
        let uri = format!("{}/", place.unwrap_or_else(|| format!("https://{PAGE}")));
        let mut request = Request::get(uri).map_err(|e| silence(e.to_string()))?;
        // An endpoint that stands for all of AWS tells its services apart by name.
        request.headers_mut().insert("host", PAGE);
        let (status, text) = self.exchange(&action, request, super::ANSWER).await?;
        let no = |_| silence(format!("no address but {status}: {:.60}", text.trim()));
        text.trim().parse().map_err(no)
    }
}
