//! The proxy as a whole, on real sockets, with pods that are closures and a cluster that is a channel.
