//! The room's socket: how to open it, and how to go on after it has ended.

use std::time::Duration;

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::ChatError;
use super::api::{ApiError, Refusal};
use super::screen::clean;

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Why a socket ended or could not be opened.
pub(super) enum Broken {
    /// Try again, after this wait or a longer one.
    Retry(Duration),
    /// The server refuses the token.
    SignIn,
    /// Trying again would not help.
    For(ChatError),
}

/// Opens the socket with the token in a header, which access logs do not show.
pub(super) async fn open(url: String, token: Option<&SecretString>) -> Result<Socket, Broken> {
    let mut request = url.into_client_request().map_err(refused)?;
    if let Some(token) = token {
        let value = format!("Bearer {}", token.expose_secret()).parse();
        request.headers_mut().insert("Authorization", value.map_err(|_| Broken::SignIn)?);
    }
    let config =
        WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
    let connecting = connect_async_with_config(request, Some(config), true);
    match timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(Broken::Retry(Duration::ZERO)),
    }
}

/// How to go on after a close code.
pub(super) fn closed(frame: Option<CloseFrame>) -> Broken {
    let Some(frame) = frame else { return Broken::Retry(Duration::ZERO) };
    let ended = |text: &str| Broken::For(ChatError::Ended(text.to_owned()));
    match u16::from(frame.code) {
        4401 => Broken::SignIn,
        4404 => ended("the room was deleted by one of you"),
        4409 => ended("you have opened too many conversations; this oldest one was closed"),
        code @ (4400 | 4403) => ended(&format!("the server closed the connection ({code}): {}", clean(&frame.reason))),
        4429 | 4503 => Broken::Retry(Duration::from_secs(2)),
        _ => Broken::Retry(Duration::ZERO),
    }
}

/// How to go on after a socket failed or was refused.
pub(super) fn refused(error: SocketError) -> Broken {
    let SocketError::Http(answer) = error else { return Broken::Retry(Duration::ZERO) };
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    unread(ApiError::Refused(Refusal::read(status, answer.body().as_deref().unwrap_or_default())))
}

/// How to go on after a request failed.
pub(super) fn unread(error: ApiError) -> Broken {
    match error {
        ApiError::Refused(refusal) if refusal.status == 401 => Broken::SignIn,
        error => error.retry_in().map_or_else(|| Broken::For(error.into()), Broken::Retry),
    }
}
