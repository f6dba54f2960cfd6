//! What there is of all clusters of a provider.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustbatch_protocol::ClusterId;

use super::fleet::again;
use super::record::recall;
use super::{Policy, Progress};
use crate::Error;
use crate::provider::{ClusterRecord, InstanceId, Provider, Report};

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
        let Ok(mut records) = find(&*provider, &policy).await else { return };
        records.retain(|record| record.cluster != own);
        name_others(&records, &own, &progress);
        let start = YOUNG.max(policy.server + policy.join);
        let now = SystemTime::now();
        let old = |record: &ClusterRecord| record.age(now).is_some_and(|age| age > start);
        let still = records.into_iter().filter(|record| record.instances == 0 && old(record));
        let still = still.map(|record| record.cluster).collect();
        let first = deserted(&*provider, &policy, still).await;
        if first.is_empty() {
            return;
        }
        // A client that finds its server lost may wait for another one to replace it, and what is
        // launched then may not be listed at once.
        tokio::time::sleep(policy.silent + policy.unlisted).await;
        let second = deserted(&*provider, &policy, first.keys().cloned().collect()).await;
        let mut gone = Vec::new();
        for (cluster, _) in first.iter().filter(|(id, all)| second.get(*id) == Some(*all)) {
            if again(&policy, || provider.destroy(cluster)).await.is_ok() {
                gone.push(cluster.to_string());
            }
        }
        if !gone.is_empty() {
            let all = gone.join(", ");
            progress.say(format!("removed what was left of clusters that had ended: {all}"));
        }
    });
}

/// Says which other clusters of the name of `own` run: they may be forgotten ones.
fn name_others(records: &[ClusterRecord], own: &ClusterId, progress: &Progress) {
    let Some((name, _)) = own.as_str().rsplit_once('-') else { return };
    let same = |record: &&ClusterRecord| record.instances > 0 && is_called(&record.cluster, name);
    let same: Vec<_> = records.iter().filter(same).map(|r| r.cluster.as_str()).collect();
    if !same.is_empty() {
        progress.say(format!("there are other clusters called {name}: {}", same.join(", ")));
    }
}

/// Those of these clusters of which nothing runs and that nobody keeps so on purpose, each with the
/// instances that are still listed. One that can't be looked at is none of them.
async fn deserted<P: Provider>(
    provider: &P,
    policy: &Policy,
    clusters: Vec<ClusterId>,
) -> BTreeMap<ClusterId, BTreeSet<InstanceId>> {
    let mut found = BTreeMap::new();
    for cluster in clusters {
        if let Ok(Some(stopped)) = stopped(provider, policy, &cluster).await {
            found.insert(cluster, stopped);
        }
    }
    found
}

/// The instances of a cluster where all of them have stopped by themselves, or it never had any.
///
/// # Errors
/// Those of the provider; [`Error::Version`] and [`Error::Damaged`]: who has written such a record may
/// have stopped them on purpose.
async fn stopped<P: Provider>(
    provider: &P,
    policy: &Policy,
    cluster: &ClusterId,
) -> Result<Option<BTreeSet<InstanceId>>, Error> {
    let all = again(policy, || provider.instances(cluster)).await?;
    if !all.iter().all(|instance| instance.state.has_stopped()) {
        return Ok(None);
    }
    let meant = recall(provider, policy, cluster).await?.is_some_and(|record| record.may_rest());
    Ok((!meant).then(|| all.into_iter().map(|instance| instance.id).collect()))
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
