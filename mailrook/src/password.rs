//! Passwords that are made up.

/// Without letters that look like others.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A new password: 20 characters of 5 bits each, in groups that can be read out.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate() -> Result<String, String> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("no random bytes from the system: {error}"))?;
    let mut text = String::with_capacity(24);
    for (n, byte) in bytes.iter().enumerate() {
        if n > 0 && n % 5 == 0 {
            text.push('-');
        }
        text.push(char::from(ALPHABET[usize::from(byte & 31)]));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 23);
        assert_eq!(one.split('-').count(), 4);
    }
}
