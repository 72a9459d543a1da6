//! A web service of WASI 0.3: what tests of the runtime ask it for.

use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{wit_bindgen, wit_future, wit_stream};

struct Service;
wasip3::http::service::export!(Service);

static COUNT: AtomicU32 = AtomicU32::new(0);

impl wasip3::exports::http::handler::Guest for Service {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            // How many requests this instance was asked before.
            "/count" => Ok(text(format!("{}\n", COUNT.fetch_add(1, Ordering::Relaxed)))),
            // What it was told of the request, its environment and arguments.
            "/request" => Ok(text(format!(
                "{:?} {:?} {target} {:?} {:?}\n",
                request.get_scheme(),
                request.get_authority(),
                std::env::vars().collect::<Vec<_>>(),
                wasip3::cli::environment::get_arguments(),
            ))),
            // The request's body as it comes, and its trailers.
            "/echo" => {
                let (_, received) = wit_future::new(|| Ok(()));
                let (body, trailers) = Request::consume_body(request, received);
                Ok(Response::new(Fields::new(), Some(body), trailers).0)
            }
            // Asks the host of the query, and passes the answer on.
            "/fetch" => Ok(text(fetch(query).await)),
            // The addresses of a name.
            "/lookup" => {
                let found = wasip3::sockets::ip_name_lookup::resolve_addresses(query.to_owned()).await;
                Ok(text(format!("{found:?}\n")))
            }
            "/trap" => core::arch::wasm32::unreachable(),
            "/fail" => Err(ErrorCode::InternalError(Some("as asked".into()))),
            _ => Ok(text("calm\n".into())),
        }
    }
}

fn text(text: String) -> Response {
    let (mut body, reader) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(reader), trailers);
    wit_bindgen::spawn_local(async move {
        // Whoever asked may be gone.
        let _ = body.write_all(text.into_bytes()).await;
    });
    response
}

async fn fetch(authority: &str) -> String {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_path_with_query(Some("/x"));
    if request.set_authority(Some(authority)).is_err() {
        return "not an authority\n".into();
    }
    let response = match client::send(request).await {
        Ok(response) => response,
        Err(code) => return format!("no response: {code:?}\n"),
    };
    let status = response.get_status_code();
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, _) = Response::consume_body(response, received);
    format!("{status} {}", String::from_utf8_lossy(&body.collect().await))
}
