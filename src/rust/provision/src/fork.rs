//! Things that only the process that made them may end.
//!
//! A forked child of the client (`parallel::mclapply()`) has copies of all that its parent had, and
//! drops them when it ends. The processes and folders they stand for are still the parent's.

/// Holds a value that is dropped in the process that made it, and forgotten in any other.
pub(crate) struct Here<T> {
    value: Option<T>,
    process: u32,
}

impl<T> Here<T> {
    /// Takes a value of this process into keeping.
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), process: std::process::id() }
    }

    /// The value; `None` in a forked child.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.process == std::process::id())
    }
}

impl<T> Drop for Here<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Counts<'a>(&'a Cell<u32>);

    impl Drop for Counts<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn only_its_own_process_drops_it() {
        let drops = Cell::new(0);
        drop(Here::new(Counts(&drops)));
        assert_eq!(drops.get(), 1);
        let foreign = || Here { value: Some(Counts(&drops)), process: std::process::id() + 1 };
        assert!(foreign().get().is_none());
        drop(foreign());
        assert_eq!(drops.get(), 1);
    }
}
