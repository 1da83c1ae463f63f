//! What we say of ourselves when somebody asks, and what others' answers say of them (RFC 6763).

use std::net::{IpAddr, SocketAddr};

use super::message::{Data, Message, Name, Question, Record, kind};

/// Where all services are listed.
const CATALOGUE: &str = "_services._dns-sd._udp.local";
/// Of a node's name, in bytes: with the rest it has to fit into a name.
const INSTANCE_MAX: usize = 128;
/// Members that one answer may name.
const FOUND_MAX: usize = 32;

/// A member of a cluster, as it is announced.
#[derive(Debug)]
pub(super) struct Service {
    catalogue: Name,
    /// What all members of the cluster share.
    service: Name,
    instance: Name,
    host: Name,
    address: SocketAddr,
    text: String,
}

impl Service {
    /// None if the cluster's name fits into no name of the DNS.
    pub(super) fn new(cluster: &str, node: &str, host: &str, address: SocketAddr) -> Option<Self> {
        let service = Name::new(&format!("_serf_{cluster}._tcp.local"))?;
        // These only tell members apart.
        let instance = Name::lossy(node, INSTANCE_MAX).or_else(|| Name::new("serf"))?;
        Some(Self {
            catalogue: Name::new(CATALOGUE)?,
            instance: instance.under(&service)?,
            service,
            host: Name::lossy(host, INSTANCE_MAX).or_else(|| Name::new("localhost"))?,
            address,
            text: format!("Serf '{cluster}' cluster"),
        })
    }

    /// The answer to a query, if it is about us. However many questions there are, nothing is said twice.
    pub(super) fn answer(&self, query: &Message) -> Option<Message> {
        let mut records: Vec<Record> = Vec::new();
        let wanted = query.questions.iter().flat_map(|question| self.records(question));
        for record in wanted {
            if !records.contains(&record) {
                records.push(record);
            }
        }
        // As askers are used to: none but to those who want their own answer.
        let id = if query.questions.iter().any(|q| q.unicast) { query.id } else { 0 };
        let answer = Message { id, is_response: true, questions: Vec::new(), records };
        (!query.is_response && !answer.records.is_empty()).then_some(answer)
    }

    fn records(&self, question: &Question) -> Vec<Record> {
        let is = |name: &Name, kinds: &[u16]| {
            question.name == *name && (question.kind == kind::ANY || kinds.contains(&question.kind))
        };
        let ip = self.address.ip().to_canonical();
        let address_kind = if ip.is_ipv4() { kind::A } else { kind::AAAA };
        let record = |name: &Name, data| Record { name: name.clone(), data };
        let server = Data::Srv { port: self.address.port(), target: self.host.clone() };
        let server = record(&self.instance, server);
        let address = record(&self.host, Data::Address(ip));
        let text = record(&self.instance, Data::Txt(self.text.clone()));
        if is(&self.catalogue, &[kind::PTR]) {
            vec![record(&self.catalogue, Data::Ptr(self.service.clone()))]
        } else if is(&self.service, &[kind::PTR]) {
            vec![record(&self.service, Data::Ptr(self.instance.clone())), server, address, text]
        } else if is(&self.instance, &[kind::PTR]) && question.kind != kind::SRV {
            // Some askers ask for a pointer here, when an answer was not whole.
            vec![server, address, text]
        } else if is(&self.instance, &[kind::SRV]) {
            vec![server, address]
        } else if is(&self.instance, &[kind::TXT]) {
            vec![text]
        } else if is(&self.instance, &[address_kind]) || is(&self.host, &[address_kind]) {
            vec![address]
        } else {
            Vec::new()
        }
    }

    /// The question for other members.
    pub(super) fn question(&self) -> Message {
        ask(self.service.clone(), kind::PTR)
    }

    /// Where the members are that a response tells of, and the questions for those of whom it does not tell where.
    pub(super) fn found(&self, response: &Message) -> (Vec<SocketAddr>, Vec<Message>) {
        let records = &response.records;
        if !response.is_response {
            return (Vec::new(), Vec::new());
        }
        let address_of = |host: &Name| -> Option<IpAddr> {
            records.iter().find_map(|record| match record.data {
                Data::Address(ip) if record.name == *host => Some(ip),
                _ => None,
            })
        };
        let place_of = |instance: &Name| -> Option<SocketAddr> {
            records.iter().find_map(|record| match &record.data {
                Data::Srv { port, target } if record.name == *instance && *port != 0 => {
                    Some(SocketAddr::new(address_of(target)?.to_canonical(), *port))
                }
                _ => None,
            })
        };
        let (mut found, mut open) = (Vec::new(), Vec::new());
        let mut instances: Vec<&Name> = Vec::new();
        for record in records {
            let instance = match &record.data {
                Data::Ptr(instance) if record.name == self.service => instance,
                Data::Srv { .. } => &record.name,
                _ => continue,
            };
            if !instance.is_under(&self.service) || instances.contains(&instance) {
                continue;
            }
            if instances.len() == FOUND_MAX {
                break;
            }
            instances.push(instance);
            match place_of(instance) {
                Some(place) if found.contains(&place) || place == self.address => {}
                Some(place) => found.push(place),
                None => open.push(ask(instance.clone(), kind::ANY)),
            }
        }
        (found, open)
    }
}

fn ask(name: Name, kind: u16) -> Message {
    let question = Question { name, kind, unicast: false };
    Message { questions: vec![question], ..Message::default() }
}
