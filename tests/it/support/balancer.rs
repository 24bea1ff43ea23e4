//! A load balancer as operators run one: it polls `/readyz` of each instance and sends each request to a ready one, or
//! to the next if the connection is refused.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;

const ASKED_EVERY: Duration = Duration::from_millis(50);
const STARTED_WITHIN: Duration = Duration::from_secs(10);

/// A running balancer for REST; stops when dropped.
pub struct Balancer {
    pub port: u16,
    behind: Arc<Behind>,
    server: ServerHandle,
    asking: tokio::task::JoinHandle<()>,
}

struct Behind {
    instances: Vec<(u16, AtomicBool)>,
    turn: AtomicUsize,
    /// Each request has its own connection: a reused one may be closed just as the request is sent.
    client: reqwest::Client,
}

impl Balancer {
    /// Before the instances on these ports.
    pub fn before(ports: impl IntoIterator<Item = u16>) -> Self {
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().expect("a client");
        let instances = ports.into_iter().map(|port| (port, AtomicBool::new(true))).collect();
        let behind = Arc::new(Behind { instances, turn: AtomicUsize::new(0), client });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (ready, started) = mpsc::channel();
        let data = web::Data::from(behind.clone());
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).default_service(web::to(carry));
                let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("listens").run();
                ready.send(server.handle()).expect("the test waits");
                server.await.expect("the balancer runs");
            });
        });
        let server = started.recv_timeout(STARTED_WITHIN).expect("the balancer starts");
        let asking = tokio::spawn(ask_for_ever(behind.clone()));
        Self { port, behind, server, asking }
    }

    /// Whether this instance gets requests.
    pub fn uses(&self, instance: usize) -> bool {
        self.behind.instances[instance].1.load(Ordering::Relaxed)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.asking.abort();
        drop(self.server.stop(false));
    }
}

async fn ask_for_ever(behind: Arc<Behind>) {
    loop {
        for (port, ready) in &behind.instances {
            let forwarded =
                behind.client.get(format!("http://127.0.0.1:{port}/readyz")).timeout(Duration::from_secs(1));
            let answer = forwarded.send().await;
            ready.store(answer.is_ok_and(|answer| answer.status() == 200), Ordering::Relaxed);
        }
        tokio::time::sleep(ASKED_EVERY).await;
    }
}

async fn carry(behind: web::Data<Behind>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let count = behind.instances.len();
    let first = behind.turn.fetch_add(1, Ordering::Relaxed);
    for (port, ready) in (0..count).map(|n| &behind.instances[(first + n) % count]) {
        if ready.load(Ordering::Relaxed)
            && let Some(answer) = try_one(&behind.client, *port, &request, &body).await
        {
            return answer;
        }
    }
    HttpResponse::BadGateway().finish()
}

/// None if another instance has to answer.
async fn try_one(client: &reqwest::Client, port: u16, request: &HttpRequest, body: &Bytes) -> Option<HttpResponse> {
    let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes()).expect("a method");
    let mut forwarded = client.request(method, format!("http://127.0.0.1:{port}{}", request.uri())).body(body.clone());
    for name in ["authorization", "content-type"] {
        if let Some(value) = request.headers().get(name) {
            forwarded = forwarded.header(name, value.as_bytes());
        }
    }
    let answer = match forwarded.send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => return None,
        Err(_) => return Some(HttpResponse::BadGateway().finish()),
    };
    let mut reply = HttpResponse::build(StatusCode::from_u16(answer.status().as_u16()).expect("a status"));
    for name in ["content-type", "retry-after"] {
        if let Some(value) = answer.headers().get(name) {
            reply.insert_header((name, value.as_bytes()));
        }
    }
    Some(match answer.bytes().await {
        Ok(body) => reply.body(body),
        Err(_) => HttpResponse::BadGateway().finish(),
    })
}
