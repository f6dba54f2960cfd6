//! How many processors an account may have at once: new ones have room for few.

use std::time::Duration;

use serde_json::{Value, json};

use super::Fargate;
use super::refused;
use super::size::Size;
use crate::Error;
use crate::aws::{Service, Trouble};
use crate::provider::Plan;
use crate::spec::ecs::Spot;

/// "Fargate On-Demand vCPU resource count" and "Fargate Spot vCPU resource count", as Service Quotas
/// names them (<https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html>).
const USUAL: &str = "L-3032A538";
const SPARE: &str = "L-36FBB829";

/// How long is waited for a quota.
const ANSWER: Duration = Duration::from_secs(5);

impl Fargate {
    /// Notes for how many workers the account has room, where that is known and fewer than are planned.
    /// What else runs in the account is not counted.
    ///
    /// # Errors
    /// Where there is no room for a server and a worker.
    pub(super) async fn check_quota(
        &self,
        plan: &mut Plan,
        server: Size,
        worker: Size,
    ) -> Result<(), Error> {
        let Some(usual) = self.quota(USUAL).await else { return Ok(()) };
        let spare = match self.ecs.spot {
            Spot::Never => Some(0.0),
            _ => self.quota(SPARE).await,
        };
        let Some(spare) = spare else { return Ok(()) };
        let processors = |size: Size| f64::from(size.cpu) / 1024.0;
        let served = if self.ecs.serves { processors(server) } else { 0.0 };
        // On spare capacity a worker is there or not: each kind has its own room.
        let room = |left: f64| (left / processors(worker)).floor();
        let workers = match self.ecs.spot {
            Spot::Only => room(spare),
            _ => room(usual - served).max(0.0) + room(spare),
        };
        if served <= usual && workers >= f64::from(self.ecs.workers) {
            return Ok(());
        }
        let also = match self.ecs.spot {
            Spot::Never => String::new(),
            _ => format!(", and {spare} of Spot"),
        };
        let region = self.aws.region();
        let quota =
            format!("your account's quota in {region} is {usual} vCPU of Fargate at once{also}");
        let more = "Ask for more at \
                    https://console.aws.amazon.com/servicequotas/home/services/fargate/quotas";
        if served > usual || workers < 1.0 {
            return Err(refused(&format!("{quota}: too few for a server and a worker"), more));
        }
        let each = processors(worker);
        plan.notes
            .push(format!("There is room for {workers} workers of {each} vCPU: {quota}. {more}"));
        plan.allow(workers, &format!("your account's quota in {region}"));
        Ok(())
    }

    /// A quota of Fargate; nothing where nobody says in time: it is not worth an error, or a wait.
    async fn quota(&self, code: &str) -> Option<f64> {
        tokio::time::timeout(ANSWER, self.said_quota(code)).await.ok()?
    }

    async fn said_quota(&self, code: &str) -> Option<f64> {
        let wanted = json!({"ServiceCode": "fargate", "QuotaCode": code});
        let ask = async |call: &str| -> Result<Value, Trouble> {
            self.aws.json(Service::Quotas, call, &wanted).await
        };
        let said = match ask("GetServiceQuota").await {
            // What nobody has asked to have raised.
            Err(trouble) if trouble.is(&["NoSuchResourceException"]) => {
                ask("GetAWSDefaultServiceQuota").await
            }
            said => said,
        };
        said.ok()?["Quota"]["Value"].as_f64()
    }
}
