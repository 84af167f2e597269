//! Something between two nodes that can stop to forward, and says nothing about it.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

pub struct Proxy {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// What comes is kept, and goes on later.
    Held,
    /// What comes on connections that exist never goes on.
    Lost,
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = watch::Sender::new(Way::Open);
        let ways = way.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mut way = ways.subscribe();
                tokio::spawn(async move {
                    if way.wait_for(|way| *way == Way::Open).await.is_err() {
                        return;
                    }
                    let Ok(far) = TcpStream::connect(to).await else {
                        return;
                    };
                    let ((r1, w1), (r2, w2)) = (near.into_split(), far.into_split());
                    tokio::join!(forward(r1, w2, way.clone()), forward(r2, w1, way));
                });
            }
        });
        Proxy { address, way }
    }

    /// Nothing goes on for now.
    pub fn hold(&self) {
        self.way.send_replace(Way::Held);
    }

    /// Nothing goes on, and what exists is lost.
    pub fn lose(&self) {
        self.way.send_replace(Way::Lost);
    }

    pub fn open(&self) {
        self.way.send_replace(Way::Open);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 64 << 10];
    let mut lost = false;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if *way.borrow() == Way::Lost {
            lost = true;
        }
        if lost {
            continue;
        }
        let open = way
            .wait_for(|way| *way != Way::Held)
            .await
            .is_ok_and(|way| *way == Way::Open);
        if !open {
            lost = true;
        } else if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
