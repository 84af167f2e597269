//! Listeners, TLS and streams under the protocol servers
