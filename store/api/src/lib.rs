//! The traits that everything else calls, and their in-memory twin
