//! Refusals as HTTP answers: RFC 9457 `application/problem+json`, with the headers that belong to a status.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};

use crate::problem::Problem;

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        match self.code.status() {
            401 => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            426 => {
                response.insert_header((header::UPGRADE, "websocket"));
                response.insert_header(("sec-websocket-version", "13"));
            }
            // The server does not read the rest of a refused body, so the connection cannot go on.
            408 | 413 => {
                response.force_close();
            }
            _ => {}
        }
        response.body(self.body(None))
    }
}
