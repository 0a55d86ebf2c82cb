//! A way to the bus that the test can close: each connection through it ends when the test wants.

use std::os::unix::net::UnixListener as Bound;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::private::Bus;

pub struct Door {
    dir: TempDir,
    slammed: watch::Sender<()>,
    keeper: JoinHandle<()>,
}

impl Door {
    pub fn before(bus: &Bus) -> Door {
        let dir = tempfile::tempdir().unwrap();
        let bound = Bound::bind(dir.path().join("bus")).unwrap();
        bound.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(bound).unwrap();
        let socket = bus.address().split_once('=').unwrap().1.to_owned();
        let (slammed, heard) = watch::channel(());
        let keeper = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut bus = UnixStream::connect(&socket).await.unwrap();
                let mut heard = heard.clone();
                heard.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut bus) => {}
                        _ = heard.changed() => {}
                    }
                });
            }
        });
        Door { dir, slammed, keeper }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }

    /// Ends every connection; others can be made.
    pub fn slam(&self) {
        self.slammed.send(()).unwrap();
    }

    /// Ends every connection, and there are no others.
    pub fn shut(self) {
        self.keeper.abort();
        std::fs::remove_file(self.dir.path().join("bus")).unwrap();
        self.slam();
    }
}
