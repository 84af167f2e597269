//! SASL mechanisms and password verifiers, as state machines
