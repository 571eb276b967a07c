//! HTTP for object stores, in the way in which registries are spoken to: same certificates, same proxies.
//!
//! The library's own connector would bring a second implementation of TLS, HTTP/2 for all of kairn, and certificates that a
//! container without any does not have.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};

use crate::backend::READ_TIMEOUT;
use crate::registry::{Config, Error, async_client};

/// Slowest upload that is waited for.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 << 10;

/// The connections to one store.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    client: reqwest::Client,
    /// Waits by request rather than by read: a body that is sent counts as waiting for the answer.
    sender: reqwest::Client,
}

impl Connector {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self { client: async_client(config, Some(READ_TIMEOUT))?, sender: async_client(config, None)? })
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts
            .uri
            .to_string()
            .parse()
            .map_err(|error| HttpError::new(HttpErrorKind::Request, Failure(error)))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let bytes = body.content_length() as u64;
        let client = if bytes > 0 {
            *request.timeout_mut() =
                Some(READ_TIMEOUT + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND));
            &self.sender
        } else {
            &self.client
        };
        *request.body_mut() = Some(reqwest::Body::wrap(body));
        let response: http::Response<reqwest::Body> = client.execute(request).await.map_err(error)?.into();
        let (parts, body) = response.into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body.map_err(error))))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Connector {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("its address is not valid")]
struct Failure<E: std::error::Error + Send + Sync + 'static>(#[source] E);

/// Says of which kind an error is, on which it depends whether the request is sent again. Addresses may have a signature,
/// so they are left out.
fn error(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() || error.is_body() {
        HttpErrorKind::Interrupted
    } else {
        HttpErrorKind::Request
    };
    HttpError::new(kind, error.without_url())
}
