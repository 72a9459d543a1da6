//! A web service that misbehaves as its path says: what tests of the runtime ask it for.
use std::io::{Read as _, Write as _};

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

wit_bindgen::generate!({
    inline: "
        package wasi:config@0.2.0-rc.1;
        interface store {
            variant error { upstream(string), io(string) }
            get: func(key: string) -> result<option<string>, error>;
            get-all: func() -> result<list<tuple<string, string>>, error>;
        }
        world imports { import store; }
    ",
});
use crate::wasi::config::store as config;

static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

struct Unruly;
wasip2::http::proxy::export!(Unruly);

impl Guest for Unruly {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            // Never ends, and never waits for anything.
            "/spin" => spin(),
            // Begins to answer, then never ends.
            "/spin-late" => {
                let mut answer = Answer::start(out, &[]);
                answer.write(b"begun\n");
                spin()
            }
            "/trap" => deep(3),
            // Begins to answer, then traps.
            "/trap-late" => {
                let mut answer = Answer::start(out, &[]);
                answer.write(b"begun\n");
                deep(3);
            }
            // The same after a while, when its answer has gone out.
            "/trap-later" => {
                let mut answer = Answer::start(out, &[]);
                answer.write(b"begun\n");
                std::thread::sleep(std::time::Duration::from_millis(50));
                deep(3);
            }
            // Takes memory until there is none.
            "/hog" => hog(),
            // Takes memory until there is none, and makes do.
            "/refused" => {
                while core::arch::wasm32::memory_grow(0, 16) != usize::MAX {}
                Answer::text(out, "refused\n");
            }
            // How many requests this instance was asked before.
            "/count" => {
                let before = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Answer::text(out, &format!("{before}\n"));
            }
            // The request's body and trailers, and trailers to the answer that tell of both.
            "/trailers" => trailers(request, out),
            // Sends the query's number of requests to `back.ns`, all at once, and counts those that were answered.
            "/storm" => Answer::text(out, &storm(query.parse().unwrap_or(0))),
            // The values of the configuration, by key.
            "/config" => {
                let mut all = config::get_all().unwrap_or_default();
                all.sort();
                Answer::text(out, &format!("{all:?} {:?}\n", config::get(query)));
            }
            // Returns without an answer.
            "/silent" => {}
            // The query's number of bytes, in pieces of 16 KiB.
            "/large" => {
                let mut answer = Answer::start(out, &[]);
                let mut left: usize = query.parse().unwrap_or(0);
                let piece = [b'x'; 16 * 1024];
                while left > 0 {
                    let n = left.min(piece.len());
                    answer.write(&piece[..n]);
                    left -= n;
                }
                answer.finish();
            }
            // The request's body, piece by piece.
            "/echo" => {
                let body = request.consume().expect("the first time it is taken");
                let from = body.stream().expect("the first time it is taken");
                let mut answer = Answer::start(out, &[]);
                while let Ok(piece) = from.blocking_read(16 * 1024) {
                    answer.write(&piece);
                }
                answer.finish();
            }
            // What it was told of the request.
            "/request" => {
                let mut text = format!("{:?} {:?} {target}\n", request.scheme(), request.authority());
                for (name, value) in request.headers().entries() {
                    text += &format!("{name}: {}\n", String::from_utf8_lossy(&value));
                }
                Answer::text(out, &text);
            }
            // Its environment, arguments and clock's folder: what might be ambient.
            "/ambient" => {
                let env: Vec<_> = std::env::vars().collect();
                let here = std::fs::read_dir("/").map(|dir| dir.count()).map_err(|error| error.kind());
                Answer::text(out, &format!("{env:?} {:?} {here:?}\n", std::env::args().collect::<Vec<_>>()));
            }
            // Looks for what another instance left in memory; then leaves its own mark there.
            "/canary" => Answer::text(out, &format!("{}\n", canary())),
            // The query's number of lines on standard output.
            "/flood" => {
                for i in 0..query.parse().unwrap_or(0) {
                    println!("line {i} of a flood of them, to which nobody listens");
                }
                Answer::text(out, "flooded\n");
            }
            "/log" => {
                println!("to stdout");
                eprint!("to stderr, no newline");
                Answer::text(out, "logged\n");
            }
            // Asks the host and path of the query, and passes the answer on.
            "/fetch" => Answer::text(out, &fetch(query)),
            // Files of its volumes: the query is the path.
            "/read" => Answer::outcome(out, std::fs::read_to_string(query)),
            "/list" => Answer::outcome(out, list(query)),
            "/write" => Answer::outcome(out, std::fs::write(query, "written\n").map(|()| "done\n".into())),
            "/remove" => Answer::outcome(out, std::fs::remove_file(query).map(|()| "done\n".into())),
            // Fills the stack.
            "/recurse" => Answer::text(out, &format!("{}\n", recurse(1))),
            // Asks the host for more memory than it should give: the query says how.
            "/host-memory" => {
                match query {
                    "random" => drop(wasip2::random::random::get_random_bytes(1 << 30)),
                    "write" => {
                        let file = wasip2::cli::stdout::get_stdout();
                        let _ = file.write(&vec![b'x'; 64 << 20]);
                    }
                    "headers" => {
                        let headers = Fields::new();
                        for i in 0.. {
                            if headers.append(&format!("x-{i}"), &[b'x'; 1024]).is_err() {
                                break;
                            }
                        }
                    }
                    _ => {}
                }
                Answer::text(out, "had enough\n");
            }
            // Opens header sets until the host has had enough.
            "/handles" => {
                let mut kept = Vec::new();
                loop {
                    kept.push(Fields::new());
                }
            }
            _ => Answer::text(out, "calm\n"),
        }
    }
}

struct Answer {
    body: OutgoingBody,
    stream: wasip2::io::streams::OutputStream,
}

impl Answer {
    fn start(out: ResponseOutparam, headers: &[(&str, &str)]) -> Self {
        Self::start_with(out, 200, headers)
    }

    fn start_with(out: ResponseOutparam, status: u16, headers: &[(&str, &str)]) -> Self {
        let fields = Fields::new();
        for (name, value) in headers {
            fields.append(name, value.as_bytes()).expect("a plain header");
        }
        let response = OutgoingResponse::new(fields);
        response.set_status_code(status).expect("a status");
        let body = response.body().expect("the first time it is taken");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the first time it is taken");
        Self { body, stream }
    }

    fn text(out: ResponseOutparam, text: &str) {
        let mut answer = Self::start(out, &[("content-type", "text/plain")]);
        answer.write(text.as_bytes());
        answer.finish();
    }

    /// The text, or 503 with the kind of the error: what a probe takes for a failure.
    fn outcome(out: ResponseOutparam, outcome: std::io::Result<String>) {
        match outcome {
            Ok(text) => Self::text(out, &text),
            Err(error) => {
                let mut answer = Self::start_with(out, 503, &[("content-type", "text/plain")]);
                answer.write(format!("{:?}\n", error.kind()).as_bytes());
                answer.finish();
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("somebody reads");
        self.stream.flush().expect("somebody reads");
    }

    fn finish(self) {
        drop(self.stream);
        OutgoingBody::finish(self.body, None).expect("all was written");
    }
}

fn trailers(request: IncomingRequest, out: ResponseOutparam) {
    let body = request.consume().expect("the first time it is taken");
    let mut from = body.stream().expect("the first time it is taken");
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    drop(from);
    let after = IncomingBody::finish(body);
    after.subscribe().block();
    let mut told = bytes.len().to_string();
    if let Some(Ok(Ok(Some(fields)))) = after.get() {
        for (name, value) in fields.entries() {
            told += &format!(" {name}={}", String::from_utf8_lossy(&value));
        }
    }
    let answer = Answer::start(out, &[]);
    drop(answer.stream);
    let fields = Fields::new();
    fields.append("x-told", told.as_bytes()).expect("a plain header");
    OutgoingBody::finish(answer.body, Some(fields)).expect("all was written");
}

fn storm(count: u32) -> String {
    let mut sent = Vec::new();
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
        request.set_path_with_query(Some("/")).expect("a path");
        request.set_authority(Some("back.ns")).expect("an authority");
        match outgoing_handler::handle(request, None) {
            Ok(response) => sent.push(response),
            Err(code) => return format!("{} sent, then {code}\n", sent.len()),
        }
    }
    let mut answered = 0;
    for response in sent {
        response.subscribe().block();
        answered += usize::from(matches!(response.get(), Some(Ok(Ok(_)))));
    }
    format!("{answered} answered\n")
}

/// Names in a folder, without those that begin with two dots.
fn list(path: &str) -> std::io::Result<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| !name.starts_with(".."));
    names.sort();
    Ok(format!("{}\n", names.join(" ")))
}

fn spin() -> ! {
    let mut n = 0u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

/// Frames for a backtrace to show.
#[inline(never)]
fn deep(levels: u32) {
    if levels == 0 {
        core::arch::wasm32::unreachable();
    }
    deep(std::hint::black_box(levels - 1));
    std::hint::black_box(());
}

fn recurse(n: u64) -> u64 {
    if std::hint::black_box(n) == 0 { 0 } else { recurse(n + 1) + std::hint::black_box(1) }
}

fn hog() {
    let mut kept = Vec::new();
    loop {
        kept.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}

const MARK: u8 = 0xA5;
const PAGES: usize = 64;

/// How many bytes of fresh memory have the mark.
fn canary() -> usize {
    let old = core::arch::wasm32::memory_grow(0, PAGES);
    let start = (old * 64 * 1024) as *mut u8;
    let mut seen = 0;
    for i in 0..PAGES * 64 * 1024 {
        // The pages were just added: they are ours, and nobody else's.
        unsafe {
            let byte = start.add(i);
            seen += usize::from(byte.read_volatile() == MARK);
            byte.write_volatile(MARK);
        }
    }
    seen
}

fn fetch(target: &str) -> String {
    let (authority, path) = target.split_once('/').unwrap_or((target, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_path_with_query(Some(&format!("/{path}"))).expect("a path");
    if request.set_authority(Some(authority)).is_err() {
        return "not an authority\n".into();
    }
    let response = match outgoing_handler::handle(request, None) {
        Ok(response) => response,
        Err(code) => return format!("not sent: {code}\n"),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(response))) => {
            let body = response.consume().expect("the first time it is taken");
            let mut stream = body.stream().expect("the first time it is taken");
            let mut text = Vec::new();
            let read = stream.read_to_end(&mut text);
            format!("{} {read:?} {}", response.status(), String::from_utf8_lossy(&text))
        }
        Some(Ok(Err(code))) => format!("no response: {code}\n"),
        _ => "no response\n".into(),
    }
}
