//! The front door of mail clients: listen, TLS, login, route
