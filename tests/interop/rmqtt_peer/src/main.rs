//! `rmqtt-peer PORT CERTIFICATE KEY [LEVEL]`: rmqtt's broker on 127.0.0.1:PORT over QUIC, until it is ended.
use rmqtt::{context::ServerContext, net::Builder, server::MqttServer, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, port, certificate, key, ..] = &words[..] else {
        eprintln!("usage: rmqtt-peer PORT CERTIFICATE KEY [LEVEL]");
        std::process::exit(2);
    };
    let level = words.get(4).and_then(|w| w.parse().ok()).unwrap_or(log::LevelFilter::Info);
    simple_logger::SimpleLogger::new().with_level(level).init()?;
    let listener = Builder::new()
        .name("quic")
        .laddr(([127, 0, 0, 1], port.parse()?).into())
        .allow_anonymous(true)
        .tls_cert(Some(certificate.as_str()))
        .tls_key(Some(key.as_str()))
        .bind_quic()?;
    println!("ready");
    MqttServer::new(ServerContext::new().build().await).listener(listener).build().run().await
}
