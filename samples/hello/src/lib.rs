//! Answers every request with the pod's name and the path that was asked for.
use std::io::Write as _;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Hello;
wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let pod = std::env::var("POD_NAME").unwrap_or_else(|_| "somewhere".into());
        let path = request.path_with_query().unwrap_or_else(|| "/".into());
        let text = format!("Hello from {pod}! You asked for {path}\n");

        let headers = Fields::new();
        headers.append("content-type", b"text/plain; charset=utf-8").expect("a plain header");
        let response = OutgoingResponse::new(headers);
        let body = response.body().expect("the first time the body is taken");
        ResponseOutparam::set(out, Ok(response));

        // A caller that has gone away is no failure of ours.
        let mut stream = body.write().expect("the first time the stream is taken");
        let sent = stream.write_all(text.as_bytes());
        drop(stream);
        if sent.is_ok() {
            let _ = OutgoingBody::finish(body, None);
        }
    }
}
