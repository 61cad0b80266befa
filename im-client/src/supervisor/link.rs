//! From nothing to `welcome`, and what it means when that fails.

use im_protocol::client::Hello;
use im_protocol::limits::PROTOCOL;
use im_protocol::server::Welcome;
use im_protocol::{ClientFrame, ErrorCode, ServerFrame};

use crate::client::Config;
use crate::connection::{Connection, Pushes, RequestError};
use crate::events::Stopped;
use crate::http::HttpError;
use crate::session::Session;
use crate::transport::TransportError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// A connection after `welcome`.
pub(crate) struct Link {
    pub(super) connection: Connection,
    pub(super) pushes: Pushes,
    pub(crate) welcome: Box<Welcome>,
}

/// How a connection ended.
pub(super) enum End {
    Stop(Stopped),
    /// Connect again, when the server asked for it or by back-off.
    Again(Option<u64>),
}

/// Connects and says hello. A token the server does not take is renewed once.
pub(crate) async fn establish(config: &Config, session: &Session, since: Option<String>) -> Result<Link, Refusal> {
    let mut renewed = false;
    loop {
        let token = session.access_token().await?;
        let (connection, pushes) = Connection::open(session.http().base(), &config.endpoint).await?;
        let hello = Hello {
            protocol: Some(PROTOCOL),
            token: token.clone(),
            terminal: config.who.terminal,
            device: config.who.device.clone(),
            since: since.clone(),
        };
        match connection.ask(ClientFrame::Hello(hello)).await {
            Ok(ServerFrame::Welcome(welcome)) => return Ok(Link { connection, pushes, welcome }),
            Ok(_) => return Err(RequestError::Answer.into()),
            Err(RequestError::Refused(error)) if !renewed && is_about_the_token(error.code) => {
                session.refused(&token);
                renewed = true;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_about_the_token(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unauthorized | ErrorCode::TokenExpired)
}

/// What a failed try to connect means.
pub(super) fn after_refusal(refusal: Refusal) -> End {
    match refusal {
        Refusal::Http(HttpError::Refused(error)) | Refusal::Request(RequestError::Refused(error)) => match error.code {
            ErrorCode::Unauthorized | ErrorCode::TokenExpired | ErrorCode::InvalidCredentials => {
                End::Stop(Stopped::SignedOut(error))
            }
            ErrorCode::InvalidField | ErrorCode::InvalidFrame => End::Stop(Stopped::Incompatible(error.to_string())),
            _ => End::Again(error.retry_after_ms),
        },
        Refusal::Request(error @ RequestError::Answer) => End::Stop(Stopped::Incompatible(error.to_string())),
        other => {
            tracing::debug!(error = %other, "no connection");
            End::Again(None)
        }
    }
}
