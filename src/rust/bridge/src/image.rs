//! Images of workers: made in the background, while R shows what is said.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use extendr_api::prelude::*;
use rustbatch_provision::Docker;
use rustbatch_provision::image::{self, Recipe};
use tokio::task::AbortHandle;

use crate::boundary::entry;
use crate::failure::{Failure, Raised};
use crate::interrupt::wait;
use crate::runtime::{self, Origin};
use crate::{config, values};

/// What a specification of packages is said to come from.
const ORIGIN: &str = "buildWorkerImage()";

/// What comes while an image is made.
enum Said {
    Line(String),
    End(std::result::Result<String, Raised>),
}

/// An image that is being made. Dropping it ends that, except in a forked child.
struct Build {
    origin: Origin,
    said: RefCell<Receiver<Said>>,
    task: AbortHandle,
}

impl Drop for Build {
    fn drop(&mut self) {
        if self.origin.is_here() {
            self.task.abort();
        }
    }
}

/// Begins to make an image upon `base`. `packages` says what is installed in it, `worker` is the
/// executable, `tag` the image's name or `NULL`, `context` that of Docker or `NULL`; with `push` it
/// is pushed. Returns a pointer.
#[extendr]
fn image_build(
    base: Robj,
    packages: Robj,
    worker: Robj,
    tag: Robj,
    context: Robj,
    push: bool,
) -> Robj {
    entry(|| {
        let text = |value: &Robj| {
            if value.is_null() { Ok(None) } else { values::text_of(value).map(Some) }
        };
        let recipe = Recipe {
            base: values::text_of(&base)?,
            setup: image::packages(&config::json_text(&packages), ORIGIN)?,
            executable: values::text_of(&worker)?.into(),
            name: text(&tag)?,
        };
        let docker = Docker::new(text(&context)?);
        let (tell, said) = channel();
        let runtime = runtime::handle()?;
        let task = runtime.spawn(async move {
            let (lines, mut inbox) = tokio::sync::mpsc::unbounded_channel();
            let building = async move {
                let built = image::build(&docker, &recipe, push, &lines).await;
                // The lines end with it.
                drop(lines);
                built
            };
            let passing = async {
                while let Some(line) = inbox.recv().await {
                    let _ = tell.send(Said::Line(line));
                }
            };
            let (built, ()) = tokio::join!(building, passing);
            let _ = tell.send(Said::End(built.map_err(Raised::from)));
        });
        let (origin, task) = (Origin::here(), task.abort_handle());
        Ok(values::pointer(Build { origin, said: RefCell::new(said), task }))
    })
}

/// Waits for what is said of an image that is being made: the next lines, and, as `name`, what it is
/// called when it is done.
#[extendr]
fn image_wait(build: Robj) -> Robj {
    entry(|| {
        let build = values::pointed::<Build>(&build)?;
        build.origin.check("image")?;
        let inbox = build.said.borrow();
        let deadline = Some(Instant::now() + runtime::LOOK);
        let (mut lines, mut name) = (Vec::new(), values::null());
        let first = wait(&inbox, deadline)?;
        for said in first.into_iter().chain(inbox.try_iter()) {
            match said {
                Said::Line(line) => lines.push(line.replace('\0', "")),
                Said::End(Ok(called)) => name = values::text(&called)?,
                // What was said before is not lost: the log is a part of the error.
                Said::End(Err(error)) => return Err(Failure::from(error)),
            }
        }
        values::named_list(&[("lines", values::texts(&lines)?), ("name", name)])
    })
}

/// Ends the making of an image; one that is done is left alone.
#[extendr]
fn image_cancel(build: Robj) -> Robj {
    entry(|| {
        let build = values::pointed::<Build>(&build)?;
        if build.origin.is_here() {
            build.task.abort();
        }
        Ok(values::null())
    })
}

extendr_module! {
    mod image;
    fn image_build;
    fn image_wait;
    fn image_cancel;
}
