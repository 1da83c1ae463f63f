//! A cluster in which nothing goes in the clear: an authority, a certificate for each node, and two nodes over QUIC.
//!
//! `cargo run -p serf --features quic --example quic`

use std::error::Error;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serf::transport::{Credentials, Quic};
use serf::{Config, Serf};

/// Signs for the cluster. Its key belongs on no node.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "our cluster");
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// What a node of this name needs. Names are bound: whoever calls a node wants to see its name.
    fn node(&self, name: &str) -> Result<Credentials, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &self.issuer)?;
        let credentials = Credentials::from_pem(certificate.pem(), key.serialize_pem(), &self.certificate)?;
        Ok(credentials.bind_names(true))
    }
}

async fn start(name: &str, authority: &Authority) -> Result<Serf, Box<dyn Error>> {
    let transport = Arc::new(Quic::new(&authority.node(name)?));
    let config = Config { bind: "127.0.0.1:0".parse()?, transport, ..Config::local(name) };
    Ok(Serf::start(config).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::new()?;
    let one = start("one", &authority).await?;
    let two = start("two", &authority).await?;
    two.join([format!("one/{}", one.local_addr())]).await?;
    let members = two.members().await?;
    println!("{} members", members.len());
    for member in members.iter() {
        println!("{} at {}", member.name, member.addr);
    }

    // A node of another cluster, and one that says it is another than its certificate does.
    let stranger = start("stranger", &Authority::new()?).await?;
    print!("{}", stranger.join([one.local_addr().to_string()]).await.expect_err("nobody trusts it"));
    let error = one.join([format!("three/{}", two.local_addr())]).await.expect_err("it is `two`");
    print!("{error}");

    two.leave().await?;
    Ok(())
}
