//! Work on many things at once, whose results one thread takes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::{Error, Result};

/// Where the work for an item sends what it has found out, as often as it likes.
pub struct Outbox<M>(SyncSender<Result<M>>);

impl<M> Outbox<M> {
    /// Sends; waits while too much lies there that nobody has taken. What is sent after the end is lost.
    pub fn send(&self, message: M) {
        let _ = self.0.send(Ok(message));
    }
}

/// Does `work` for each item, on so many threads, and gives what it sends to `take` on this thread. After the
/// first error, of either, no more work is begun.
pub fn for_each<T: Sync, M: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T, &Outbox<M>) -> Result<()> + Sync,
    mut take: impl FnMut(M) -> Result<()>,
) -> Result<()> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, messages) = sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            let outbox = Outbox(sender.clone());
            let (next, stop, work) = (&next, &stop, &work);
            let worker = move || {
                while !stop.load(Ordering::Relaxed)
                    && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if let Err(error) = work(item, &outbox) {
                        // If nobody takes it there was an error before.
                        let _ = outbox.0.send(Err(error));
                        return;
                    }
                }
            };
            let spawned = thread::Builder::new().spawn_scoped(scope, worker);
            spawned.map_err(|source| Error::Io { path: "a thread".into(), source })?;
        }
        drop(sender);
        let result = messages.iter().try_for_each(|message| take(message?));
        stop.store(true, Ordering::Relaxed);
        // Workers that wait for room must find that nobody takes anything any more.
        drop(messages);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        let items: Vec<u64> = (0..100).collect();
        for threads in [1, 3, 200] {
            let mut taken = Vec::new();
            let work = |item: &u64, outbox: &Outbox<u64>| {
                outbox.send(*item);
                outbox.send(1000 + item);
                Ok(())
            };
            for_each(&items, threads, work, |message| {
                taken.push(message);
                Ok(())
            })
            .unwrap();
            taken.sort_unstable();
            assert!(taken.iter().copied().eq((0..100).chain(1000..1100)), "{threads}: {taken:?}");
        }
        for_each(&[], 2, |_: &(), _: &Outbox<()>| Ok(()), |()| Ok(())).unwrap();
    }

    #[test]
    fn the_first_error_ends_the_work() {
        let items: Vec<usize> = (0..1000).collect();
        let begun = AtomicUsize::new(0);
        let work = |item: &usize, outbox: &Outbox<usize>| {
            begun.fetch_add(1, Ordering::Relaxed);
            outbox.send(*item);
            if *item == 5 { Err(Error::Missing("five".into())) } else { Ok(()) }
        };
        let error = for_each(&items, 2, work, |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "five");
        let refuse = |item: usize| if item == 5 { Err(Error::NoMirror) } else { Ok(()) };
        let pass = |item: &usize, outbox: &Outbox<usize>| {
            outbox.send(*item);
            Ok(())
        };
        let error = for_each(&items, 4, pass, refuse).unwrap_err();
        assert!(matches!(error, Error::NoMirror));
        assert!(begun.load(Ordering::Relaxed) < items.len());
    }
}
