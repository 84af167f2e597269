//! The SMTP front end: listeners, policy, delivery
