//! Echoes WebSocket messages with the session's own transport, for conformance suites; no part of the server.
//!
//! `echo [PORT]` listens on 127.0.0.1 and says where on stdout; without a port it takes a free one. What is echoed,
//! answered and closed is told by `tests/conformance`. The caps are raised to what the suites' largest cases need.

#![allow(clippy::print_stdout, reason = "the address is this program's answer")]

use std::io::Result;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use futures_util::StreamExt;
use hyper_chat::websocket::framing::{Close, Message, pong_frame, raw_binary_frame, raw_text_frame};
use hyper_chat::websocket::out_queue::OutQueue;
use hyper_chat::websocket::transport::{Incoming, Received, accept};
use tokio::time::timeout_at;

/// Autobahn's largest messages have 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// A socket that is silent for so long is over.
const SILENCE_MAX: Duration = Duration::from_secs(60);

#[actix_web::main]
async fn main() -> Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0_u16);
    let server =
        HttpServer::new(|| App::new().route("/", web::get().to(upgrade))).workers(1).bind(("127.0.0.1", port))?;
    for address in server.addrs() {
        println!("listens on {address}");
    }
    server.run().await
}

async fn upgrade(request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let (out, body) = OutQueue::new(QUEUE_BYTES_MAX);
    match accept(&request, &[], body) {
        Ok(response) => {
            actix_web::rt::spawn(echo(Incoming::new(payload, MESSAGE_BYTES_MAX), out));
            response
        }
        Err(_) => HttpResponse::BadRequest().finish(),
    }
}

/// Answers until the peer closes, breaks a rule, or is gone.
async fn echo(mut incoming: Incoming<web::Payload>, out: OutQueue) {
    let mut unfinished = None;
    loop {
        let silence = tokio::time::Instant::now() + SILENCE_MAX;
        let until = unfinished.map_or(silence, |at| silence.min(at));
        let close = match timeout_at(until, incoming.next()).await {
            Ok(Some(Received::Message(message))) => match reply(message, &out) {
                Ok(()) => continue,
                Err(close) => close,
            },
            Ok(Some(Received::Unfinished(deadline))) => {
                unfinished = deadline.map(tokio::time::Instant::from_std);
                continue;
            }
            Ok(Some(Received::Broken(close))) => Some((close.code, close.reason)),
            Ok(None) => None,
            Err(_) if unfinished.is_some() => Some((Close::UNFINISHED.code, Close::UNFINISHED.reason)),
            Err(_) => Some((Close::SILENT.code, Close::SILENT.reason)),
        };
        out.close(close);
        return out.end();
    }
}

/// Queues the answer to one message, or says with what the socket is to be closed.
fn reply(message: Message, out: &OutQueue) -> std::result::Result<(), Option<(u16, &'static str)>> {
    let frame = match message {
        Message::Text(text) => raw_text_frame(&text),
        Message::Binary(bytes) => raw_binary_frame(&bytes),
        Message::Ping(payload) => pong_frame(&payload),
        Message::Pong(_) => return Ok(()),
        Message::Close(code) => return Err(code.map(|code| (code, ""))),
    };
    out.push([frame]);
    Ok(())
}
