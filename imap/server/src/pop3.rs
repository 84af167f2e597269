//! POP3 sessions (RFC 1939).

use std::sync::Arc;

use crate::{Client, SessionContext, connection::Wire};

/// Runs one POP3 session to its end.
pub async fn serve_pop3(client: Client, context: Arc<SessionContext>) {
    let stream = client.connection.stream;
    let mut wire = Wire::new(stream, context.settings.write_timeout);
    wire.output()
        .extend_from_slice(b"-ERR [SYS/TEMP] not there yet\r\n");
    wire.close().await;
}
