//! The PROXY protocol, versions 1 and 2: a balancer tells whom it speaks for.
//!
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>
//!
//! Read only from networks that the operator trusts, and there it must come: who may forge it could be anybody.
//! Exactly the header's bytes are read, so that nothing of what follows needs to be kept.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// §2.1: the longest v1 line, with its CR LF.
const V1_LEN_MAX: usize = 107;
/// The shortest v1 line, `PROXY UNKNOWN` with CR LF: nothing behind a header is read with so few bytes.
const FIRST_READ_LEN: usize = 15;
/// §2.2.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What may follow the fixed part of a v2 header: addresses (216 at most) and extensions. Balancers send less than 1 KB; the
/// format would permit 64.
const V2_REST_LEN_MAX: usize = 4_096;
/// More than this is never read, of either version.
pub const HEADER_LEN_MAX: usize = FIRST_READ_LEN + 1 + V2_REST_LEN_MAX;

/// Whom the balancer speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// A client, from and to these addresses.
    Client {
        /// The client's.
        source: SocketAddr,
        /// The one that the client connected to.
        destination: SocketAddr,
    },
    /// Itself (a health check), or somebody without an IP address.
    Local,
}

/// Why there is no header.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The connection broke, or ended, before the header did.
    #[error("connection lost in the PROXY header: {0}")]
    Io(#[from] io::Error),
    /// What came is none.
    #[error("no valid PROXY header")]
    Malformed,
}

/// Reads a header, and not a byte more.
///
/// # Errors
/// If there is none; then some of what came instead is read.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Proxied, ProxyError> {
    let mut first = [0; FIRST_READ_LEN];
    stream.read_exact(&mut first).await?;
    match &first {
        [signature @ .., version_command, family, len_high] if signature == V2_SIGNATURE => {
            let len_low = stream.read_u8().await?;
            let rest_len = usize::from(u16::from_be_bytes([*len_high, len_low]));
            if rest_len > V2_REST_LEN_MAX {
                return Err(ProxyError::Malformed);
            }
            let mut rest = vec![0; rest_len];
            stream.read_exact(&mut rest).await?;
            parse_v2(*version_command, *family, &rest).ok_or(ProxyError::Malformed)
        }
        line if line.starts_with(b"PROXY ") => {
            let mut line = line.to_vec();
            // A byte at a time: 92 short reads at most, of a trusted peer.
            while !line.ends_with(b"\r\n") {
                if line.len() >= V1_LEN_MAX {
                    return Err(ProxyError::Malformed);
                }
                line.push(stream.read_u8().await?);
            }
            parse_v1(&line).ok_or(ProxyError::Malformed)
        }
        _ => Err(ProxyError::Malformed),
    }
}

/// §2.1: `PROXY TCP4 192.0.2.1 198.51.100.1 56324 143` CR LF.
fn parse_v1(line: &[u8]) -> Option<Proxied> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut fields = text.split(' ').skip(1);
    let family = fields.next()?;
    if family == "UNKNOWN" {
        return Some(Proxied::Local);
    }
    let source: IpAddr = fields.next()?.parse().ok()?;
    let destination: IpAddr = fields.next()?.parse().ok()?;
    let source_port = parse_port(fields.next()?)?;
    let destination_port = parse_port(fields.next()?)?;
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && fields.next().is_none()).then_some(Proxied::Client {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// Digits alone: `parse` would also take `+143`.
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// §2.2. Extensions behind the addresses are passed over.
fn parse_v2(version_command: u8, family: u8, rest: &[u8]) -> Option<Proxied> {
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk()?));
    match (version_command, family) {
        (0x20, _) => Some(Proxied::Local),
        (0x21, 0x11) => {
            let ip = |at: usize| Some(Ipv4Addr::from(*rest.get(at..)?.first_chunk::<4>()?));
            Some(Proxied::Client {
                source: SocketAddr::new(ip(0)?.into(), port(8)?),
                destination: SocketAddr::new(ip(4)?.into(), port(10)?),
            })
        }
        (0x21, 0x21) => {
            let ip = |at: usize| Some(Ipv6Addr::from(*rest.get(at..)?.first_chunk::<16>()?));
            Some(Proxied::Client {
                source: SocketAddr::new(ip(0)?.into(), port(32)?),
                destination: SocketAddr::new(ip(16)?.into(), port(34)?),
            })
        }
        // AF_UNSPEC and AF_UNIX: the receiver keeps the connection's own addresses.
        (0x21, 0x00 | 0x31 | 0x32) => Some(Proxied::Local),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, task::Poll};

    use super::*;

    async fn read_all(mut bytes: &[u8]) -> (Option<Proxied>, usize) {
        let proxied = read(&mut bytes).await.ok();
        (proxied, bytes.len())
    }

    fn client(source: &str, destination: &str) -> Option<Proxied> {
        Some(Proxied::Client {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        })
    }

    fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [
            V2_SIGNATURE.as_slice(),
            &[version_command, family],
            &len,
            rest,
        ]
        .concat()
    }

    #[tokio::test]
    async fn reads_both_versions_and_nothing_beyond() {
        assert_eq!(
            read_all(b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 143\r\na LOGIN").await,
            (client("192.0.2.1:56324", "198.51.100.1:143"), 7)
        );
        assert_eq!(
            read_all(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n").await,
            (client("[2001:db8::1]:1", "[2001:db8::2]:2"), 0)
        );
        assert_eq!(
            read_all(b"PROXY UNKNOWN\r\nEHLO").await,
            (Some(Proxied::Local), 4)
        );
        assert_eq!(
            read_all(b"PROXY UNKNOWN ff:: ff:: 1 2\r\n").await,
            (Some(Proxied::Local), 0)
        );
        let mut v4 = vec![192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 0, 143];
        assert_eq!(
            read_all(&[v2(0x21, 0x11, &v4), b"rest".to_vec()].concat()).await,
            (client("192.0.2.1:56324", "198.51.100.1:143"), 4)
        );
        v4.extend([3, 0, 4, 1, 2, 3, 4]);
        assert_eq!(
            read_all(&v2(0x21, 0x11, &v4)).await,
            (client("192.0.2.1:56324", "198.51.100.1:143"), 0)
        );
        assert_eq!(
            read_all(&v2(0x20, 0x00, &[])).await,
            (Some(Proxied::Local), 0)
        );
        let v6 = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[1, 0x20, 1, 0xd, 0xb8],
            &[0; 11],
            &[2, 0, 1, 0, 2],
        ]
        .concat();
        assert_eq!(
            read_all(&v2(0x21, 0x21, &v6)).await,
            (client("[2001:db8::1]:1", "[2001:db8::2]:2"), 0)
        );
    }

    #[tokio::test]
    async fn refuses_the_rest() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for bad in [
            &b"EHLO client.example.test\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 143 1\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 143\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.1 1 143\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +56324 143\r\n",
            b"PROXY TCP4 192.0.2.1",
            long.as_bytes(),
            &v2(0x21, 0x11, &[1, 2, 3]),
            &v2(0x31, 0x11, &[0; 12]),
            &v2(0x22, 0x11, &[0; 12]),
            &v2(0x21, 0x11, &[0; 5_000]),
            b"",
        ] {
            assert_eq!(
                read_all(bad).await.0,
                None,
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    /// Says the same bytes again and again, without an end.
    struct Endless {
        head: Vec<u8>,
        given: usize,
        filler: u8,
    }

    impl AsyncRead for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            while buffer.remaining() > 0 {
                let byte = self.head.get(self.given).copied().unwrap_or(self.filler);
                buffer.put_slice(&[byte]);
                self.given += 1;
            }
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_does_not_end_is_given_up_after_a_bounded_number_of_bytes() {
        let largest = u16::try_from(V2_REST_LEN_MAX).unwrap();
        let v2_head = |len: u16| {
            let fixed = [V2_SIGNATURE.as_slice(), &[0x21, 0x11]].concat();
            [fixed, len.to_be_bytes().to_vec()].concat()
        };
        for (head, reads_max) in [
            (Vec::new(), FIRST_READ_LEN),
            (b"PROXY ".to_vec(), V1_LEN_MAX),
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 1 1".to_vec(),
                V1_LEN_MAX,
            ),
            // Of a length above the bound nothing is read, nor room made for it.
            (v2_head(u16::MAX), FIRST_READ_LEN + 1),
            (v2_head(largest + 1), FIRST_READ_LEN + 1),
            (v2_head(largest), HEADER_LEN_MAX),
        ] {
            for filler in [0, b' ', b'\r', b'\n', b'1', 0xff] {
                let mut stream = Endless {
                    head: head.clone(),
                    given: 0,
                    filler,
                };
                // Only one that says how long it is ends.
                let ends = head == v2_head(largest);
                assert_eq!(read(&mut stream).await.is_ok(), ends, "{head:?} {filler}");
                assert!(
                    stream.given <= reads_max,
                    "{head:?} {filler}: {}",
                    stream.given
                );
            }
        }
    }

    #[tokio::test]
    async fn a_header_that_is_cut_short_is_none() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 0, 143];
        for whole in [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 143\r\n".to_vec(),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            v2(0x21, 0x11, &v4),
            v2(0x20, 0x00, &[7; 300]),
        ] {
            assert_eq!(read_all(&whole).await.1, 0);
            for end in 0..whole.len() {
                let error = read(&mut &whole[..end]).await.unwrap_err();
                assert!(matches!(error, ProxyError::Io(_)), "{end}: {error}");
                assert!(error.to_string().contains("PROXY header"));
            }
        }
    }

    /// Noise, and headers with noise in them: a header or an error, within the bound.
    #[tokio::test]
    async fn noise_is_a_header_or_an_error() {
        let mut state = 1_u64;
        let mut random = move || {
            // Knuth's MMIX.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 0, 143];
        let seeds = [
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 143\r\nrest".to_vec(),
            b"PROXY UNKNOWN\r\nrest".to_vec(),
            [v2(0x21, 0x11, &v4), b"rest".to_vec()].concat(),
            [v2(0x20, 0x00, &[]), vec![0; 8_000]].concat(),
        ];
        let mut headers = 0;
        for round in 0..20_000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            if round % 5 == 0 {
                bytes = (0..random() % 200).map(|_| random() as u8).collect();
            }
            for _ in 0..random() % 4 {
                let at = random() % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random() as u8;
                }
            }
            let mut rest = &bytes[..];
            match read(&mut rest).await {
                Ok(_) => headers += 1,
                Err(error) => assert!(error.to_string().contains("PROXY header"), "{error}"),
            }
            assert!(bytes.len() - rest.len() <= HEADER_LEN_MAX);
        }
        assert!((4_000..16_000).contains(&headers), "{headers}");
    }
}
