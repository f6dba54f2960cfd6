//! A loop over the squares of 1 to n in chunks of five, whose tasks take a while; each task once.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustbatch_protocol::{BlobRef, ChunkName, Context, Payload, Report, encode};
use rustbatch_queue::{Client, Event, Job, JobSpec};

const CHUNK: u32 = 5;

/// How long an outcome may take.
const SOON: Duration = Duration::from_secs(120);

pub struct Squares {
    tasks: u64,
    came: BTreeSet<u64>,
    place: tempfile::TempDir,
    head: Vec<u8>,
    main: Vec<u8>,
}

/// The loop in a queue.
pub struct Way {
    job: Job,
    events: Receiver<Event>,
}

impl Squares {
    /// `tasks` of them, each of which sleeps for so many seconds.
    pub fn new(tasks: u64, sleep: f64) -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let head = format!(
            "list(expr = quote({{ Sys.sleep({sleep}); i^2 }}), arguments = 'i', global = TRUE,
               namespace = NULL, packages = NULL, attached = NULL, loaded = NULL, careful = FALSE,
               seed = NULL, lib_paths = character(), options = list(), language = NA_character_,
               beside = list(objects = list(), globals = list()))"
        );
        let write = format!(
            "for (first in seq(1, {tasks}, by = {CHUNK})) {{
               bytes <- serialize(list(i = as.list(first + 0:4)), NULL, xdr = FALSE)
               writeBin(bytes, file.path(FOLDER, first)) }}"
        );
        let folder = place.path();
        let head = r(folder, &head);
        let main = r(folder, "list(objects = list(), globals = list(), dots = NULL)");
        r(folder, &write);
        Self { tasks, came: BTreeSet::new(), place, head, main }
    }

    /// Publishes it.
    pub fn open(&self, client: &Client) -> Way {
        let mut main = (self.head.len() as f64).to_ne_bytes().to_vec();
        main.extend(&self.head);
        main.extend(&self.main);
        let context = Context {
            client: client.id().clone(),
            main: Payload::Inline(main),
            objects: vec![],
            wanted: None,
        };
        let bytes = encode(&context).expect("bytes");
        let context = BlobRef::of(client.seal(), &bytes);
        let spec = JobSpec {
            context,
            blobs: HashMap::from([(context.hash, bytes.into())]),
            beside: Vec::new(),
            fresh: vec![context],
            seed: None,
            tasks: Some(self.tasks),
        };
        let (tell, events) = std::sync::mpsc::channel();
        let job = Job::open(client, spec, tell).expect("a job");
        for first in (1..=self.tasks).step_by(CHUNK as usize) {
            let arguments = std::fs::read(self.place.path().join(first.to_string()));
            let name = ChunkName { first, n: CHUNK };
            job.push(name, arguments.expect("arguments")).expect("to push");
        }
        Way { job, events }
    }

    /// Takes outcomes in until `n` tasks have come, each once. Blocks.
    pub fn collect(&mut self, way: &Way, n: u64) {
        while (self.came.len() as u64) < n {
            let event = way.events.recv_timeout(SOON);
            let event =
                event.unwrap_or_else(|e| panic!("nothing came after {}: {e}", self.came.len()));
            let (name, lacking, outcome, bytes) = match event {
                Event::Outcome { name, lacking, outcome, bytes } => (name, lacking, outcome, bytes),
                Event::Failed(error) => panic!("the loop failed: {error}"),
                _ => continue,
            };
            assert!(matches!(outcome.report, Report::Values(_)), "{:?}", outcome.report);
            for task in lacking {
                assert!(self.came.insert(task), "{task} came twice");
                let file = format!("{task}-{}.value", task - name.first + 1);
                std::fs::write(self.place.path().join(file), &bytes).expect("to write");
            }
        }
    }

    /// All have come, once, and are right.
    pub fn check(&self) {
        assert_eq!(self.came, (1..=self.tasks).collect());
        let read = format!(
            "files <- list.files(FOLDER, '[.]value$', full.names = TRUE)
             parts <- strsplit(sub('[.]value$', '', basename(files)), '-')
             task <- vapply(parts, function(p) as.numeric(p[1]), 0)
             value <- mapply(function(file, p) {{
               unserialize(readBin(file, 'raw', 1e6))$values[[as.integer(p[2])]]
             }}, files, parts)
             stopifnot(identical(unname(value[order(task)]), (1:{})^2))
             TRUE",
            self.tasks
        );
        r(self.place.path(), &read);
    }

    /// The whole loop.
    pub async fn run(mut self, client: &Client) {
        let way = self.open(client);
        let tasks = self.tasks;
        tokio::task::block_in_place(|| self.collect(&way, tasks));
        way.close().await;
        self.check();
    }
}

impl Way {
    pub async fn close(self) {
        self.job.close().await;
    }
}

/// What an R expression makes, serialized. `FOLDER` is the folder.
fn r(folder: &Path, code: &str) -> Vec<u8> {
    let code = code.replace("FOLDER", &format!("'{}'", folder.display()));
    let file = folder.join("out");
    let write =
        format!("writeBin(serialize({{ {code} }}, NULL, xdr = FALSE), '{}')", file.display());
    let ran = Command::new("Rscript").args(["--vanilla", "-e", &write]).output().expect("R");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    std::fs::read(&file).expect("its result")
}
