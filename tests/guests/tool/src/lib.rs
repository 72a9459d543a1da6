//! A command that does as its arguments say: what tests of the runtime ask it for.
use std::io::Write as _;

struct Tool;
wasip2::cli::command::export!(Tool);

impl wasip2::exports::cli::run::Guest for Tool {
    fn run() -> Result<(), ()> {
        let args: Vec<String> = std::env::args().collect();
        let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        match words[..] {
            // As `main` that returns an error.
            ["fail"] => return Err(()),
            ["exit", code] => wasip2::cli::exit::exit_with_code(code.parse().expect("a number")),
            ["args", ..] => println!("{args:?}"),
            ["env"] => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
            ["spin"] => loop {
                std::hint::black_box(());
            },
            // How far it gets in so many seconds.
            ["count", seconds] => println!("{}", count(seconds.parse().expect("a number"))),
            ["sleep"] => std::thread::sleep(std::time::Duration::from_secs(3600)),
            ["trap"] => panic!("as asked"),
            ["hog"] => {
                let mut kept = Vec::new();
                loop {
                    kept.push(std::hint::black_box(vec![1u8; 1 << 20]));
                }
            }
            // Takes what it gets, and fails with a code of its own.
            ["hog-gently"] => {
                let mut kept = Vec::<Vec<u8>>::new();
                loop {
                    let mut more = Vec::new();
                    if more.try_reserve_exact(1 << 20).is_err() {
                        kept.clear();
                        eprintln!("enough");
                        wasip2::cli::exit::exit_with_code(9);
                    }
                    kept.push(more);
                }
            }
            ["flood", lines] => {
                for i in 0..lines.parse().expect("a number") {
                    println!("line {i}");
                }
            }
            ["stdin"] => println!("{:?}", std::io::read_to_string(std::io::stdin())),
            ["cat", path] => match std::fs::read_to_string(path) {
                Ok(text) => print!("{text}"),
                Err(error) => println!("{error}"),
            },
            ["write", path] => println!("{:?}", std::fs::write(path, "written\n").map_err(|e| e.kind())),
            ["list", path] => match std::fs::read_dir(path) {
                Ok(dir) => {
                    let mut names: Vec<_> = dir.flatten().map(|entry| entry.file_name()).collect();
                    names.sort();
                    println!("{names:?}");
                }
                Err(error) => println!("{:?}", error.kind()),
            },
            ["lookup", name] => println!("{}", lookup(name)),
            ["connect", addr] => println!("{}", connect(addr)),
            _ => println!("nothing to do"),
        }
        std::io::stdout().flush().map_err(|_| ())
    }
}

fn count(seconds: u64) -> u64 {
    let begun = std::time::Instant::now();
    let mut turns = 0;
    while begun.elapsed().as_secs() < seconds {
        for turn in 0..10_000_u64 {
            std::hint::black_box(turn);
        }
        turns += 1;
    }
    turns
}

fn lookup(name: &str) -> String {
    use wasip2::sockets::{instance_network, ip_name_lookup};
    let network = instance_network::instance_network();
    let stream = match ip_name_lookup::resolve_addresses(&network, name) {
        Ok(stream) => stream,
        Err(code) => return code.to_string(),
    };
    let mut found = Vec::new();
    loop {
        stream.subscribe().block();
        match stream.resolve_next_address() {
            Ok(Some(addr)) => found.push(format!("{addr:?}")),
            Ok(None) => return found.join(" "),
            Err(code) => return code.to_string(),
        }
    }
}

fn connect(addr: &str) -> String {
    use wasip2::sockets::network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
    use wasip2::sockets::{instance_network, tcp_create_socket};
    let addr: std::net::SocketAddrV4 = addr.parse().expect("an address");
    let network = instance_network::instance_network();
    let [a, b, c, d] = addr.ip().octets();
    let remote = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: addr.port(), address: (a, b, c, d) });
    let socket = match tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4) {
        Ok(socket) => socket,
        Err(code) => return format!("no socket: {code}"),
    };
    if let Err(code) = socket.start_connect(&network, remote) {
        return format!("not connected: {code}");
    }
    socket.subscribe().block();
    match socket.finish_connect() {
        Ok(_) => "connected".into(),
        Err(code) => format!("not connected: {code}"),
    }
}
