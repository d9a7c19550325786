//! nginx and Varnish in front of the bare handler, where they are installed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Child, wait_until_blocking};

use super::PATIENCE;
use super::server::Server;
use super::services::BARE;

pub(super) const NGINX: &str = "nginx";
pub(super) const VARNISH: &str = "Varnish";

/// Those that are installed; for the others, how to install them.
pub(super) fn start() -> Vec<Server> {
    [
        (NGINX, "nginx", nginx as fn(&Path) -> Server),
        (VARNISH, "varnishd", varnish),
    ]
    .into_iter()
    .filter_map(|(name, program, start)| match find(program) {
        Some(program) => Some(start(&program)),
        None => {
            eprintln!(
                "{name} is not installed and takes no part; install it with: \
                     sudo apt-get install -y --no-install-recommends nginx-light varnish"
            );
            None
        }
    })
    .collect()
}

fn nginx(program: &Path) -> Server {
    let (origin, address, folder) = (Server::start(BARE), free_address(), Folder::new(NGINX));
    let path = folder.0.display();
    let config = format!(
        "daemon off; worker_processes 1; pid {path}/pid; error_log stderr crit;
         events {{ worker_connections 256; }}
         http {{
             access_log off; keepalive_requests 1000000000;
             proxy_cache_path {path}/cache keys_zone=bench:10m max_size=256m inactive=1h;
             client_body_temp_path {path}/body; fastcgi_temp_path {path}/fastcgi;
             uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi; proxy_temp_path {path}/proxy;
             upstream origin {{ server {origin}; keepalive 16; }}
             server {{
                 listen {address};
                 location / {{
                     proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection '';
                     proxy_cache bench; add_header X-Cache-Status $upstream_cache_status;
                 }}
             }}
         }}",
        origin = origin.address,
    );
    let file = folder.0.join("nginx.conf");
    fs::write(&file, config).expect("the temporary folder can be written to");
    let child = Child::spawn(Command::new(program).arg("-p").arg(&folder.0).arg("-c").arg(file));
    listening(NGINX, address, child, (origin, folder))
}

fn varnish(program: &Path) -> Server {
    let (origin, address, folder) = (Server::start(BARE), free_address(), Folder::new(VARNISH));
    let child = Child::spawn(
        Command::new(program)
            .arg("-F")
            .arg("-n")
            .arg(folder.0.join("state"))
            .args(["-a", &address.to_string(), "-b", &origin.address.to_string()])
            .args(["-s", "malloc,256m", "-T", "none"]),
    );
    listening(VARNISH, address, child, (origin, folder))
}

fn listening(name: &'static str, address: SocketAddr, child: Child, keeps: impl std::any::Any) -> Server {
    wait_until_blocking(PATIENCE, "the proxy listens", || {
        assert!(child.is_running(), "{name} has ended: {:?}", child.errors());
        TcpStream::connect(address).is_ok()
    });
    Server::foreign(name, address, child, keeps)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// A folder of its own, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cache-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder can be written to");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies in the system's temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}
