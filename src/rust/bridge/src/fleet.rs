//! What is done with the instances of clusters that stand.

use std::time::{Instant, SystemTime};

use extendr_api::prelude::*;
use rustbatch_protocol::ClusterId;
use rustbatch_provision::lifecycle::{self, Policy};
use rustbatch_provision::provider::{Instance, InstanceId, LogQuery, State};
use rustbatch_provision::{Error, Place};

use crate::boundary::entry;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::start::programs_of;
use crate::{config, credentials, runtime, values};

/// From now on there shall be from `least` to `most` workers.
#[extendr]
fn fleet_resize(cluster: Robj, least: i32, most: i32) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let up = cluster.up()?;
        let (least, most) = (least.cast_unsigned(), most.cast_unsigned());
        runtime::run_whole(async move { up.resize(least, most).await })?;
        cluster.resized(most);
        Ok(values::null())
    })
}

/// Looks at the cluster now, so that what is known of it is new.
#[extendr]
fn fleet_look(cluster: Robj) -> Robj {
    entry(|| {
        let up = values::pointed::<Cluster>(&cluster)?.up()?;
        runtime::run(async move { up.pass(Instant::now()).await })?;
        Ok(values::null())
    })
}

/// The instances: their names, roles, states, and what there is to say of each.
#[extendr]
fn fleet_instances(cluster: Robj) -> Robj {
    entry(|| {
        let up = values::pointed::<Cluster>(&cluster)?.up()?;
        let all = runtime::run(async move { up.instances().await })?;
        let column = |of: &dyn Fn(&Instance) -> String| {
            values::texts(&all.iter().map(of).collect::<Vec<_>>())
        };
        values::named_list(&[
            ("instance", column(&|i| i.id.to_string())?),
            ("role", column(&|i| i.role.to_string())?),
            ("state", column(&|i| state(&i.state).0.to_owned())?),
            ("said", column(&|i| state(&i.state).1.to_owned())?),
        ])
    })
}

fn state(state: &State) -> (&'static str, &str) {
    match state {
        State::Starting { doing } => ("starting", doing),
        State::Running => ("running", ""),
        State::Stopped { why } => ("stopped", why),
    }
}

/// The last `tail` lines that an instance wrote.
#[extendr]
fn fleet_logs(cluster: Robj, instance: Robj, tail: i32) -> Robj {
    entry(|| {
        let up = values::pointed::<Cluster>(&cluster)?.up()?;
        let id = InstanceId(values::text_of(&instance)?);
        let query = LogQuery { tail: usize::try_from(tail).unwrap_or(0) };
        let logs = runtime::run(async move { up.logs(&id, &query).await })?;
        values::texts(&logs.lines)
    })
}

/// The commands that open a shell in an instance, each a text vector of its words.
#[extendr]
fn fleet_shell(cluster: Robj, instance: Robj) -> Robj {
    entry(|| {
        let cluster = values::pointed::<Cluster>(&cluster)?;
        let (place, id) = (cluster.place()?, cluster.id().clone());
        let instance = InstanceId(values::text_of(&instance)?);
        let commands = runtime::run(async move { place.shell(&id, &instance).await })?;
        let commands = commands.iter().map(|words| values::texts(words));
        values::list(&commands.collect::<std::result::Result<Vec<_>, _>>()?)
    })
}

/// Starts the server of a cluster, or stops it. After an interrupt that goes on, and another call waits
/// for it.
#[extendr]
fn fleet_serve(cluster: Robj, start: bool) -> Robj {
    entry(|| {
        let up = values::pointed::<Cluster>(&cluster)?.up()?;
        runtime::run_whole(async move {
            if start { up.start_server().await } else { up.stop_server().await }
        })?;
        Ok(values::null())
    })
}

/// Whether the server of a cluster runs.
#[extendr]
fn fleet_serves(cluster: Robj) -> Robj {
    entry(|| {
        let up = values::pointed::<Cluster>(&cluster)?.up()?;
        values::logical(runtime::run(async move { up.serves().await })?)
    })
}

/// The clusters of which something is left at the provider that is `wanted`: their ids, when they
/// were made, in seconds since 1970, and how many instances they have.
#[extendr]
fn clusters_find(wanted: Robj, programs: Robj) -> Robj {
    entry(|| {
        let place = place(&wanted, &programs)?;
        let find = async move { lifecycle::find(&place.await?, &Policy::default()).await };
        let all = runtime::run(find)?;
        let ids: Vec<_> = all.iter().map(|record| record.cluster.as_str()).collect();
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        let created = all.iter().map(|record| record.created.and_then(since));
        let created: Vec<_> = created.map(|t| t.map_or(f64::NAN, |t| t.as_secs_f64())).collect();
        let counts = all.iter().map(|r| i32::try_from(r.instances).unwrap_or(i32::MAX));
        values::named_list(&[
            ("cluster", values::texts(&ids)?),
            ("created", values::doubles(&created)?),
            ("instances", values::integers(&counts.collect::<Vec<_>>())?),
        ])
    })
}

/// Removes what is left of these clusters. Returns what was removed, and what could not be.
#[extendr]
fn clusters_remove(ids: Robj, wanted: Robj, programs: Robj) -> Robj {
    entry(|| {
        let place = place(&wanted, &programs)?;
        let ids = values::texts_of(&ids)?.into_iter().map(|id| id.parse());
        let ids = ids.collect::<std::result::Result<Vec<ClusterId>, _>>().map_err(Error::from)?;
        let report = runtime::run(async move {
            Ok::<_, Error>(lifecycle::cleanup(&place.await?, &Policy::default(), &ids).await)
        })?;
        let left: Vec<_> = report.left.iter().map(|(what, why)| format!("{what}: {why}")).collect();
        values::named_list(&[
            ("removed", values::texts(&report.removed)?),
            ("left", values::texts(&left)?),
        ])
    })
}

/// The provider that is wanted, in a while.
fn place(
    wanted: &Robj,
    programs: &Robj,
) -> std::result::Result<impl Future<Output = std::result::Result<Place, Error>> + use<>, Failure> {
    let (spec, programs) = (config::read(wanted)?, programs_of(programs)?);
    let credentials = credentials::current();
    Ok(async move { Place::new(&spec, &programs, &credentials).await })
}

extendr_module! {
    mod fleet;
    fn fleet_resize;
    fn fleet_look;
    fn fleet_instances;
    fn fleet_logs;
    fn fleet_shell;
    fn fleet_serve;
    fn fleet_serves;
    fn clusters_find;
    fn clusters_remove;
}
