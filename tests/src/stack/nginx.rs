//! nginx as the one entrance to several servers: HTTP and WebSocket on one port, the TCP framing on another.

use std::fmt::Write;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt;
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::daemon::{Daemon, Recipe, find};
use super::place::Place;

/// nginx listens within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server behind the entrance.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// The TCP framing.
    pub tcp: SocketAddr,
}

/// The entrance.
pub struct Nginx {
    daemon: Daemon,
    /// HTTP and WebSocket.
    pub http: SocketAddr,
    /// The TCP framing.
    pub tcp: SocketAddr,
}

impl Deref for Nginx {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl Nginx {
    /// Starts it before servers, which need not run yet.
    pub async fn start(place: &Place, http: SocketAddr, tcp: SocketAddr, servers: &[Upstream]) -> Result<Self> {
        let program = find(&["nginx".into()]).context("nginx is missing: run scripts/need nginx")?;
        let room = place.room("nginx")?;
        let stream = stream_module(&program)?;
        let configuration = room.write("nginx.conf", &configuration(stream.as_deref(), http, tcp, servers))?;
        let prefix = room.path().to_owned();
        let recipe = Recipe {
            name: "nginx".to_owned(),
            command: Box::new(move || {
                let mut command = Command::new(&program);
                // -e: before it has read its configuration, it would write to the system's log.
                command.arg("-p").arg(&prefix).arg("-c").arg(&configuration).args(["-e", "stderr"]);
                command
            }),
            user: None,
            ready: Box::new(move |_| async move { TcpStream::connect(http).await.is_ok() }.boxed()),
            patience: PATIENCE,
            end: Signal::TERM,
        };
        let daemon = Daemon::new(&room, recipe);
        daemon.start().await?;
        Ok(Self { daemon, http, tcp })
    }
}

/// The module that carries TCP, where it is not compiled in.
fn stream_module(program: &Path) -> Result<Option<PathBuf>> {
    let output = Command::new(program).arg("-V").output().context("nginx cannot be started")?;
    let built = String::from_utf8_lossy(&output.stderr).into_owned();
    let arguments: Vec<&str> = built.split_whitespace().collect();
    if arguments.contains(&"--with-stream") {
        return Ok(None);
    }
    let folder = arguments.iter().find_map(|argument| argument.strip_prefix("--modules-path="));
    let module = folder.map(|folder| Path::new(folder).join("ngx_stream_module.so"));
    let module = module.filter(|module| module.is_file());
    ensure!(module.is_some(), "nginx has no stream module: run scripts/need nginx (Debian: libnginx-mod-stream)");
    Ok(module)
}

/// A server that does not answer is left out for two seconds, and what it has not begun to answer goes to another one.
fn configuration(stream: Option<&Path>, http: SocketAddr, tcp: SocketAddr, servers: &[Upstream]) -> String {
    let upstream = |of: fn(&Upstream) -> SocketAddr| {
        servers.iter().fold(String::new(), |mut text, server| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "        server {} max_fails=1 fail_timeout=2s;", of(server));
            text
        })
    };
    let load = stream.map(|module| format!("load_module {};\n", module.display())).unwrap_or_default();
    let (web, framed) = (upstream(|server| server.http), upstream(|server| server.tcp));
    format!(
        "{load}\
# One process: it is killed and paused as a whole.
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 16384;
events {{
    worker_connections 8192;
}}
http {{
    access_log off;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    client_max_body_size 4m;
    upstream servers {{
        least_conn;
{web}    }}
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        ''      close;
    }}
    server {{
        listen {http};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_connect_timeout 1s;
        # A send that has reached a server is not repeated here: its client does that, under the same id.
        proxy_next_upstream error timeout http_503;
        proxy_next_upstream_timeout 10s;
        location / {{
            proxy_read_timeout 15s;
            proxy_pass http://servers;
        }}
        location = /v1/connect {{
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            # Servers close silent connections after 2.5 heartbeats of 25 s; that must come first.
            proxy_read_timeout 75s;
            proxy_send_timeout 75s;
            proxy_pass http://servers;
        }}
    }}
}}
stream {{
    upstream servers {{
        least_conn;
{framed}    }}
    server {{
        listen {tcp};
        proxy_connect_timeout 1s;
        proxy_timeout 75s;
        proxy_pass servers;
    }}
}}
"
    )
}
