//! What there is of all clusters of a provider.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustbatch_protocol::ClusterId;

use super::fleet::again;
use super::{Policy, Progress};
use crate::Error;
use crate::provider::{ClusterRecord, Provider, Report};

/// How old a cluster is at least of which it is taken for granted that nobody starts it any more.
const YOUNG: Duration = Duration::from_secs(600);

/// What is left of all clusters of a provider. Cancel-safe.
///
/// # Errors
/// Those of [`Provider::find`].
pub async fn find<P: Provider>(provider: &P, policy: &Policy) -> Result<Vec<ClusterRecord>, Error> {
    again(policy, || provider.find()).await
}

/// Removes what is left of these clusters, by tag. They are named, because others may begin meanwhile.
/// What could not be removed is in the report.
///
/// Not cancel-safe: what was not reached stays.
pub async fn cleanup<P: Provider>(provider: &P, policy: &Policy, clusters: &[ClusterId]) -> Report {
    let mut all = Report::default();
    for cluster in clusters {
        match again(policy, || provider.destroy(cluster)).await {
            Ok(report) => {
                all.removed.extend(report.removed);
                all.left.extend(report.left);
            }
            Err(error) => all.left.push((format!("cluster {cluster}"), error.to_string())),
        }
    }
    all
}

/// Removes, in the background, what is left of the clusters of a provider that have ended by themselves,
/// but not of `own`, and says so in one line. What fails is left to the next start. To be called within
/// a tokio runtime.
pub(super) fn clear<P: Provider>(
    provider: Arc<P>,
    policy: Policy,
    own: ClusterId,
    progress: Progress,
) {
    tokio::spawn(async move {
        let Ok(records) = find(&*provider, &policy).await else { return };
        if let Some((name, _)) = own.as_str().rsplit_once('-') {
            let same = |record: &&ClusterRecord| {
                record.cluster != own && record.instances > 0 && is_called(&record.cluster, name)
            };
            let same: Vec<_> = records.iter().filter(same).map(|r| r.cluster.as_str()).collect();
            if !same.is_empty() {
                progress
                    .say(format!("there are other clusters called {name}: {}", same.join(", ")));
            }
        }
        let start = YOUNG.max(policy.server + policy.join);
        let now = SystemTime::now();
        let mut gone = Vec::new();
        for ClusterRecord { cluster, .. } in records.into_iter().filter(|record| {
            let old = record.age(now).is_some_and(|age| age > start);
            old && record.instances == 0 && record.cluster != own
        }) {
            if let Ok(true) = has_ended(&*provider, &policy, &cluster).await
                && again(&policy, || provider.destroy(&cluster)).await.is_ok()
            {
                gone.push(cluster.to_string());
            }
        }
        if !gone.is_empty() {
            let all = gone.join(", ");
            progress.say(format!("removed what was left of clusters that had ended: {all}"));
        }
    });
}

/// Whether all instances of a cluster have stopped by themselves, or it never had any. One without
/// instances that has a record is in somebody's hands: they were stopped for a while, its server is
/// being replaced, or it has Redis elsewhere and no workers for the moment.
async fn has_ended<P: Provider>(
    provider: &P,
    policy: &Policy,
    cluster: &ClusterId,
) -> Result<bool, Error> {
    let all = again(policy, || provider.instances(cluster)).await?;
    if all.is_empty() {
        return Ok(again(policy, || provider.recall(cluster)).await?.is_none());
    }
    Ok(all.iter().all(|instance| instance.state.has_stopped()))
}

/// Whether a cluster was given this name.
fn is_called(id: &ClusterId, name: &str) -> bool {
    id.as_str().rsplit_once('-').is_some_and(|(given, _)| given == name)
}

/// The cluster that somebody calls `name`: its id, or the name that it was given.
///
/// # Errors
/// [`Error::NoCluster`] where there is none, or more than one.
pub fn named(records: &[ClusterRecord], name: &str) -> Result<ClusterId, Error> {
    let fits = |id: &ClusterId| id.as_str() == name || is_called(id, name);
    let found: Vec<_> =
        records.iter().map(|record| &record.cluster).filter(|id| fits(id)).collect();
    let refuse = |reason| Err(Error::NoCluster { name: name.to_owned(), reason });
    match found[..] {
        [] => refuse("the provider has none of this name".to_owned()),
        [only] => Ok(only.clone()),
        _ => {
            let ids: Vec<_> = found.iter().map(|id| format!("`{id}`")).collect();
            refuse(format!("{} are called so; name one of these", ids.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_known_by_its_id_or_its_name() {
        let ids = ["fit-1-aa", "fit-1-bb", "fit-cc", "dd"];
        let records = ids.map(|id| ClusterRecord {
            cluster: id.parse().expect("an id"),
            created: None,
            instances: 1,
        });
        for (name, id) in [("fit", "fit-cc"), ("fit-1-bb", "fit-1-bb"), ("dd", "dd")] {
            assert_eq!(named(&records, name).expect(name).as_str(), id);
        }
        let two = named(&records, "fit-1").expect_err("two").to_string();
        assert!(two.contains("`fit-1-aa`, `fit-1-bb`"), "{two}");
        assert!(named(&records, "fi").is_err());
    }
}
