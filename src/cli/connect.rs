//! Connections to a bank, in plain text or with TLS, and why they were refused.
//!
//! tonic's own connector isn't used: what a bank says to a certificate that it doesn't accept comes after the
//! handshake of TLS 1.3, and is lost when no call is under way yet. Here it is kept.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::trust::{self, Distrust};
use crate::config::{Secured, Target};

/// Why a bank and a command don't trust each other, once that has shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Arc<OnceLock<Distrust>>);

impl Refused {
    /// What has shown so far.
    pub(super) fn why(&self) -> Option<&Distrust> {
        self.0.get()
    }

    fn note(&self, distrust: Option<Distrust>) {
        if let Some(distrust) = distrust {
            // What came first is the cause of what comes later.
            let _ = self.0.set(distrust);
        }
    }
}

/// The bank of the settings; it is connected to with the first call, by an endpoint that is adapted.
///
/// # Errors
///
/// What of the settings can't be used.
pub(super) fn channel(
    target: &Target,
    adapt: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<(Channel, Refused), String> {
    let secured = target.secured()?;
    let refused = Refused::default();
    // To tonic it is plain text in any case, over what is made here.
    let mut address = target.endpoint.clone().into_parts();
    address.scheme = Some(http::uri::Scheme::HTTP);
    let address = Uri::from_parts(address).map_err(|error| error.to_string())?;
    let default_port = if secured.is_some() { 443 } else { 80 };
    let connector = service_fn({
        let refused = refused.clone();
        move |uri: Uri| {
            let (secured, refused) = (secured.clone(), refused.clone());
            async move {
                let host = uri.host().unwrap_or_default();
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let port = uri.port_u16().unwrap_or(default_port);
                let stream = TcpStream::connect((host, port)).await?;
                stream.set_nodelay(true)?;
                connect(stream, secured, refused).await.map(TokioIo::new)
            }
        }
    });
    let endpoint = adapt(Endpoint::from(address).origin(target.endpoint.clone()));
    Ok((endpoint.connect_with_connector_lazy(connector), refused))
}

async fn connect(
    stream: TcpStream,
    secured: Option<Secured>,
    refused: Refused,
) -> io::Result<Listening> {
    let Some(Secured { config, name }) = secured else {
        return Ok(Listening { stream: Box::new(stream), is_plain: true, refused });
    };
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Listening { stream: Box::new(stream), is_plain: false, refused }),
        Err(error) => {
            refused.note(trust::distrust(&error));
            Err(error)
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that keeps the reason for which the bank refuses it.
struct Listening {
    stream: Box<dyn Stream>,
    /// Whether what comes is not encrypted, and has not begun yet.
    is_plain: bool,
    refused: Refused,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        match &read {
            Err(error) => self.refused.note(trust::distrust(error)),
            Ok(()) if std::mem::take(&mut self.is_plain) => {
                self.refused.note(trust::distrust_of_plain(&buffer.filled()[before..]));
            }
            Ok(()) => {}
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
