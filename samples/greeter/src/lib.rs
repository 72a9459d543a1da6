//! Two services from one component: `front` asks `back` by its name, and adds a word of its own.
//!
//! With `BACKEND` in its environment it is the front, else it is the back.
use std::io::{Read as _, Write as _};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

struct Greeter;
wasip2::http::proxy::export!(Greeter);

impl Guest for Greeter {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_else(|| "/".into());
        let (status, text) = match std::env::var("BACKEND") {
            Ok(backend) => match ask(&backend, &path) {
                Ok(greeting) => (200, format!("{} says: {greeting}", pod())),
                Err(error) => (502, format!("{} cannot reach {backend}: {error}\n", pod())),
            },
            Err(_) => (200, format!("good day from {} for {path}\n", pod())),
        };
        answer(out, status, &text);
    }
}

fn pod() -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| "somebody".into())
}

/// Asks a host for a path, and returns the text it answers.
fn ask(host: &str, path: &str) -> Result<String, String> {
    let request = OutgoingRequest::new(Fields::new());
    request
        .set_scheme(Some(&Scheme::Http))
        .and_then(|()| request.set_authority(Some(host)))
        .and_then(|()| request.set_path_with_query(Some(path)))
        .map_err(|()| "not a host".to_owned())?;
    let waiting = outgoing_handler::handle(request, None).map_err(|code| code.to_string())?;
    waiting.subscribe().block();
    let response = waiting.get().and_then(Result::ok).ok_or("no response")?.map_err(|code| code.to_string())?;
    let body = response.consume().map_err(|()| "no body".to_owned())?;
    let mut stream = body.stream().map_err(|()| "no body".to_owned())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
    if response.status() == 200 { Ok(text) } else { Err(format!("status {}", response.status())) }
}

fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a valid status");
    let body = response.body().expect("the first time the body is taken");
    ResponseOutparam::set(out, Ok(response));
    let mut stream = body.write().expect("the first time the stream is taken");
    // A caller that has gone away is no failure of ours.
    let sent = stream.write_all(text.as_bytes());
    drop(stream);
    if sent.is_ok() {
        let _ = OutgoingBody::finish(body, None);
    }
}
