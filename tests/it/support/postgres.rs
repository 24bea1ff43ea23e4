//! Real PostgreSQL: one cluster for the whole binary with a database per test, and own clusters to break.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database};

use super::disk::SmallDisk;
use super::ports::free_port;
pub use super::postgres_user::as_postgres;
use super::postgres_user::{bin_folder, give_away};
use super::processes::{children, signal};
use super::reaper;

static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::start);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A fresh, empty database in the shared cluster; its URL.
pub async fn fresh_database() -> String {
    // The first caller starts the cluster, which blocks for a second or two.
    let cluster = tokio::task::spawn_blocking(|| &*SHARED).await.expect("the shared cluster starts");
    cluster.fresh_database().await
}

/// One PostgreSQL server with its own folder; stopped and removed when dropped or when the binary ends.
pub struct Cluster {
    folder: PathBuf,
    pub(super) bin: PathBuf,
    pub port: u16,
    server: Mutex<Option<Child>>,
    settings: Vec<String>,
    /// The disk that can be full, if it has one.
    disk: Option<SmallDisk>,
}

impl Cluster {
    /// Makes and starts one: fsync on, only 127.0.0.1.
    pub fn start() -> Self {
        Self::start_with(&[], false)
    }

    fn start_with(settings: &[&str], on_a_small_disk: bool) -> Self {
        let cluster = Self::without_data(settings, on_a_small_disk);
        cluster.init();
        cluster.up();
        cluster
    }

    /// Its folder and port alone.
    pub(super) fn without_data(settings: &[&str], on_a_small_disk: bool) -> Self {
        let bin = bin_folder();
        let folder = tempfile::Builder::new().prefix("hyper-chat-pg-").tempdir().expect("a temp folder").keep();
        reaper::remove_at_exit(&folder);
        let disk = on_a_small_disk.then(|| SmallDisk::at(&folder));
        give_away(&folder);
        let settings = settings.iter().map(ToString::to_string).collect();
        Self { folder, bin, port: free_port(), server: Mutex::new(None), settings, disk }
    }

    /// A server for one test, which may break it.
    pub async fn dedicated() -> Self {
        tokio::task::spawn_blocking(Self::start).await.expect("a cluster of its own")
    }

    /// The same with further settings, such as `["fsync=off"]`.
    pub async fn with(settings: &'static [&'static str]) -> Self {
        tokio::task::spawn_blocking(|| Self::start_with(settings, false)).await.expect("a cluster of its own")
    }

    /// A server whose disk can be full.
    pub async fn on_a_small_disk() -> Self {
        tokio::task::spawn_blocking(|| Self::start_with(&[], true)).await.expect("a cluster of its own")
    }

    /// Fills the disk of a server `on_a_small_disk`.
    pub fn fill_disk(&self) {
        self.disk.as_ref().expect("on a small disk").fill(&self.pids());
    }

    /// Frees the disk; a server that has ended for lack of space is started again, as an operator would do.
    pub fn free_disk(&self) {
        self.disk.as_ref().expect("on a small disk").free(&self.pids());
        let start = Instant::now();
        while !self.answers() {
            let mut slot = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let ended = slot.as_mut().is_some_and(|child| child.try_wait().expect("own child").is_some());
            drop(slot);
            if ended {
                self.wait_for_end();
                return self.up();
            }
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL neither ends nor answers");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn init(&self) {
        let out = as_postgres(&self.bin.join("initdb"))
            .current_dir(&self.folder)
            .arg("-D")
            .arg(self.data())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .args(self.disk.as_ref().map(|_| "--wal-segsize=1"))
            .stdin(Stdio::null())
            .output()
            .expect("initdb runs");
        assert!(out.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Starts the server again after `kill9` or `down`; returns when it accepts connections.
    pub fn up(&self) {
        let mut slot = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(slot.is_none(), "the cluster runs already");
        let log = File::options().create(true).append(true).open(self.folder.join("log")).expect("a log file");
        // A `postgres` child process group of its own: Ctrl-C reaches it through the reaper only.
        let child = as_postgres(&self.bin.join("postgres"))
            .current_dir(&self.folder)
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=on", "-c", "synchronous_commit=on"])
            .args(["-c", "max_connections=400", "-c", "shared_buffers=64MB", "-c", "restart_after_crash=on"])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .args(["-c", &format!("unix_socket_directories={}", self.folder.display())])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        reaper::adopt(child.id());
        *slot = Some(child);
        drop(slot);
        self.wait_until_it_answers();
    }

    fn answers(&self) -> bool {
        let ready = Command::new(self.bin.join("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .status();
        ready.is_ok_and(|s| s.success())
    }

    fn wait_until_it_answers(&self) {
        let start = Instant::now();
        while !self.answers() {
            if start.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                panic!("PostgreSQL does not answer after 60 s; its log:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The pids of the postmaster and of all its children.
    fn pids(&self) -> Vec<u32> {
        let slot = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(child) = slot.as_ref() else { return Vec::new() };
        let mut all = vec![child.id()];
        all.extend(children(child.id()));
        all
    }

    /// Kills every process of the server at once, as a crash of the machine does.
    pub fn kill9(&self) {
        signal("KILL", &self.pids());
        self.wait_for_end();
        // The lock file stays, as after a real crash; PostgreSQL replaces it.
    }

    /// Freezes every process of the server: connections are accepted by the kernel, nothing answers.
    pub fn freeze(&self) {
        signal("STOP", &self.pids());
    }

    /// Continues a frozen server.
    pub fn thaw(&self) {
        signal("CONT", &self.pids());
    }

    fn wait_for_end(&self) {
        let mut slot = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mut child) = slot.take() {
            let id = child.id();
            child.wait().expect("own child");
            reaper::forget(id);
        }
    }

    /// A fresh, empty database; its URL.
    pub async fn fresh_database(&self) -> String {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let admin = Database::connect(self.url("postgres")).await.expect("the cluster answers");
        admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a new database");
        admin.close().await.expect("closes");
        self.url(&name)
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pids = self.pids();
        signal("CONT", &pids);
        signal("QUIT", &pids[..pids.len().min(1)]);
        self.wait_for_end();
        drop(self.disk.take());
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

#[tokio::test]
async fn every_test_gets_an_empty_postgresql_database_of_its_own_with_fsync_on() {
    let (first, second) = (fresh_database().await, fresh_database().await);
    assert_ne!(first, second);
    for url in [first, second] {
        let db = Database::connect(url).await.expect("connects");
        db.execute_unprepared("CREATE TABLE mine (id INT)").await.expect("no other test created it");
        let sql = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, "SHOW fsync");
        let row = db.query_one_raw(sql).await.expect("answers").expect("a row");
        assert_eq!(row.try_get::<String>("", "fsync").expect("text"), "on");
        db.close().await.expect("closes");
    }
}

#[tokio::test]
async fn an_own_cluster_can_be_killed_frozen_and_brought_back_with_its_rows() {
    let cluster = Cluster::start();
    let url = cluster.fresh_database().await;
    let db = Database::connect(&url).await.expect("connects");
    db.execute_unprepared("CREATE TABLE kept (id INT)").await.expect("stored");
    db.close().await.expect("closes");
    cluster.kill9();
    let address = ("127.0.0.1", cluster.port);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "no process listens");
    cluster.up();
    let db = Database::connect(&url).await.expect("connects again");
    db.execute_unprepared("INSERT INTO kept VALUES (1)").await.expect("the table survived");
    cluster.freeze();
    let frozen = tokio::time::timeout(Duration::from_millis(500), db.execute_unprepared("SELECT 1")).await;
    assert!(frozen.is_err(), "a frozen server answers nothing");
    cluster.thaw();
    let again = Database::connect(&url).await.expect("connects after the thaw");
    again.execute_unprepared("SELECT 1").await.expect("answers again");
}
