//! A loop without the package: R of this machine makes what the tasks share, and reads their values.

// Every test file uses its own share of it.
#![allow(dead_code, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use redis::Pipeline;
use rustbatch_protocol::bootstrap::Server;
use rustbatch_protocol::{BlobRef, ChunkName, Context, Keys, Outcome, Payload, Report, encode};
use rustbatch_queue::{Client, Event, Job, JobSpec, Link, Timing};
use tempfile::TempDir;

/// How long an outcome may take.
const SOON: Duration = Duration::from_secs(120);

/// What an R expression makes, serialized.
fn r(folder: &Path, code: &str) -> Vec<u8> {
    let file = folder.join("out");
    let write =
        format!("writeBin(serialize({{ {code} }}, NULL, xdr = FALSE), '{}')", file.display());
    let ran = Command::new("Rscript").args(["--vanilla", "-e", &write]).output().expect("R");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    std::fs::read(&file).expect("its result")
}

pub struct Loop {
    place: TempDir,
    pub job: Job,
    events: Receiver<Event>,
    tasks: u64,
    /// The tasks that have come, and by which attempt.
    pub came: BTreeMap<u64, u32>,
}

impl Loop {
    /// A loop of an R expression in `i`, which is 1 to `tasks`, in chunks of so many.
    pub fn open(client: &Client, expression: &str, tasks: u64, chunk: u32) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path();
        let head = r(
            folder,
            &format!(
                "list(expr = quote({{ {expression} }}), arguments = 'i', global = TRUE,
                   namespace = NULL, packages = NULL, attached = NULL, loaded = NULL,
                   careful = FALSE, seed = NULL, lib_paths = character(), options = list(),
                   language = NA_character_, beside = list(objects = list(), globals = list()))"
            ),
        );
        let mut main = (head.len() as f64).to_ne_bytes().to_vec();
        main.extend(head);
        main.extend(r(folder, "list(objects = list(), globals = list(), dots = NULL)"));
        let (client_id, main) = (client.id().clone(), Payload::Inline(main));
        let context = Context { client: client_id, main, objects: Vec::new(), wanted: None };
        let bytes = encode(&context).expect("bytes");
        let context = BlobRef::of(client.seal(), &bytes);
        let spec = JobSpec {
            context,
            blobs: HashMap::from([(context.hash, bytes.into())]),
            beside: Vec::new(),
            fresh: vec![context],
            seed: None,
            tasks: None,
        };
        let (tell, events) = std::sync::mpsc::channel();
        let job = Job::open(client, spec, tell).expect("a job");
        // The arguments of all chunks, a file for each.
        let arguments = "for (first in seq(1, TASKS, by = CHUNK)) {
            bytes <- serialize(list(i = as.list(first - 1 + 1:CHUNK)), NULL, xdr = FALSE)
            writeBin(bytes, file.path('FOLDER', first))
          }";
        let arguments = arguments.replace("FOLDER", &folder.display().to_string());
        let arguments = arguments.replace("TASKS", &tasks.to_string());
        r(folder, &arguments.replace("CHUNK", &chunk.to_string()));
        for first in (1..=tasks).step_by(chunk as usize) {
            let arguments = std::fs::read(folder.join(first.to_string())).expect("arguments");
            job.push(ChunkName { first, n: chunk }, arguments).expect("to push");
        }
        Self { place, job, events, tasks, came: BTreeMap::new() }
    }

    /// The next outcome, with what R serialized. Blocks.
    pub fn next(&mut self) -> (Outcome, Vec<u8>) {
        let (name, lacking, outcome, bytes) = loop {
            let event = self.events.recv_timeout(SOON);
            match event.unwrap_or_else(|e| panic!("nothing after {}: {e}", self.came.len())) {
                Event::Outcome { name, lacking, outcome, bytes } => {
                    break (name, lacking, outcome, bytes);
                }
                Event::Notice(_) => {}
                other => panic!("not an outcome: {other:?}"),
            }
        };
        for task in lacking {
            assert_eq!(self.came.insert(task, outcome.attempt), None, "{task} came twice");
            let file = format!("{task}-{}.value", task - name.first + 1);
            std::fs::write(self.place.path().join(file), &bytes).expect("to write");
        }
        (outcome, bytes)
    }

    /// Takes values in until `n` tasks have come, each once.
    pub fn collect(&mut self, n: u64) {
        while (self.came.len() as u64) < n {
            let (outcome, _) = self.next();
            assert!(matches!(outcome.report, Report::Values(_)), "{:?}", outcome.report);
        }
    }

    /// Takes all others in, and sees that the values are those of an R expression, in order.
    pub fn collect_all(&mut self, values: &str) {
        self.collect(self.tasks);
        assert_eq!(self.came.keys().copied().collect::<Vec<_>>(), Vec::from_iter(1..=self.tasks));
        let read = "
          files <- list.files('FOLDER', '[.]value$', full.names = TRUE)
          parts <- strsplit(sub('[.]value$', '', basename(files)), '-')
          task <- vapply(parts, function(p) as.numeric(p[1]), 0)
          value <- mapply(function(file, p) {
            unserialize(readBin(file, 'raw', 1e6))$values[[as.integer(p[2])]]
          }, files, parts)
          stopifnot(identical(unname(value[order(task)]), VALUES))
          TRUE";
        let folder = self.place.path();
        let read = read.replace("FOLDER", &folder.display().to_string());
        r(folder, &read.replace("VALUES", values));
    }

    /// What Redis counts against the job's tasks: crashes and losses, by chunk.
    pub async fn blames(&self, client: &Client, server: &Server) -> Vec<String> {
        let link = Link::with(server, &Timing::default()).expect("a link");
        let mut pipe = Pipeline::new();
        pipe.cmd("HGETALL").arg(Keys::new(client.seal().cluster()).job(self.job.id()));
        let (all,): (HashMap<String, Vec<u8>>,) = link.call(&pipe).await.expect("an answer");
        // Who is not asked about the right job sees no client, either.
        assert!(all.contains_key("client"), "{:?}", all.keys());
        all.into_keys().filter(|field| field.starts_with("k:") || field.starts_with("l:")).collect()
    }
}
