//! DNS messages, as far as finding members takes them (RFC 1035, RFC 6763): names, PTR, SRV, TXT and address records.
//!
//! Anybody in the network can send these. What is not whole is refused as a whole, and nothing is read twice.

use std::net::IpAddr;

use thiserror::Error;

/// The longest name, in bytes, as it is sent.
const NAME_MAX: usize = 255;
/// The longest label of a name, in bytes.
pub(super) const LABEL_MAX: usize = 63;
/// More questions, or records, than anybody needs who asks for Serf.
const ENTRIES_MAX: usize = 128;
/// How often a name may lead elsewhere. Writers need one step, or two.
const POINTERS_MAX: usize = 16;
/// Two bits that say that the rest of a name is elsewhere.
const POINTER: u8 = 0xc0;
/// In the class of a question: an answer to the asker alone is welcome.
const UNICAST: u16 = 1 << 15;
const RESPONSE: u16 = 1 << 15;
const AUTHORITATIVE: u16 = 1 << 10;
/// Bits of the header that are zero in what is a plain query or answer: the kind of query, and what went wrong.
const ODD: u16 = 0x780f;
const CLASS_IN: u16 = 1;
/// For caches, in seconds.
const TTL: u32 = 120;

/// The types of records and questions that matter.
pub(super) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const ANY: u16 = 255;
}

/// What cannot be read. The message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("it ends too early")]
    Truncated,
    #[error("a name in it is too long, or goes round in circles")]
    Name,
    #[error("it has more than {ENTRIES_MAX} entries")]
    Entries,
    #[error("a record has the wrong length")]
    Record,
}

/// A name of the DNS: labels, each behind its length, and a zero.
#[derive(Clone, Debug)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// From labels with dots between them. None if it is too long, or a label is, or empty.
    pub(super) fn new(dotted: &str) -> Option<Self> {
        let mut name = Vec::new();
        for label in dotted.split('.') {
            if label.is_empty() || label.len() > LABEL_MAX {
                return None;
            }
            name.push(label.len() as u8);
            name.extend_from_slice(label.as_bytes());
        }
        name.push(0);
        (name.len() <= NAME_MAX).then_some(Self(name))
    }

    /// The same from any text: what does not fit is left out.
    pub(super) fn lossy(dotted: &str, bytes_max: usize) -> Option<Self> {
        let dotted = &dotted[..dotted.floor_char_boundary(bytes_max)];
        let labels = dotted.split('.').map(|label| &label[..label.floor_char_boundary(LABEL_MAX)]);
        Self::new(&labels.filter(|label| !label.is_empty()).collect::<Vec<_>>().join("."))
    }

    /// Both together.
    pub(super) fn under(&self, parent: &Self) -> Option<Self> {
        let name = [&self.0[..self.0.len() - 1], &parent.0].concat();
        (name.len() <= NAME_MAX).then_some(Self(name))
    }

    /// Is it one more label, or several, before this one?
    pub(super) fn is_under(&self, parent: &Self) -> bool {
        self.suffixes().skip(1).any(|suffix| suffix.eq_ignore_ascii_case(&parent.0))
    }

    /// The name, and what is left of it without its first label, the first two, and so on.
    fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let len = usize::from(*rest.first().filter(|len| **len > 0)?);
            let suffix = rest;
            rest = &rest[1 + len..];
            Some(suffix)
        })
    }
}

/// Letters are the same in both cases. The lengths among them are too small to be taken for letters.
impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) kind: u16,
    /// The answer may come to the asker alone.
    pub(super) unicast: bool,
}

/// What is said of a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Ptr(Name),
    Srv { port: u16, target: Name },
    Txt(String),
    Address(IpAddr),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) data: Data,
}

/// A query or a response, without what is of no interest here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) is_response: bool,
    pub(super) questions: Vec<Question>,
    pub(super) records: Vec<Record>,
}

impl Message {
    /// Reads a datagram. None if it is neither a plain query nor a plain response.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut r = Reader { bytes, at: 0 };
        let (id, flags) = (r.u16()?, r.u16()?);
        let questions = r.u16()?;
        let records = usize::from(r.u16()?) + usize::from(r.u16()?) + usize::from(r.u16()?);
        if flags & ODD != 0 {
            return Ok(None);
        }
        if usize::from(questions) > ENTRIES_MAX || records > ENTRIES_MAX {
            return Err(Malformed::Entries);
        }
        let mut message = Self { id, is_response: flags & RESPONSE != 0, ..Self::default() };
        for _ in 0..questions {
            let (name, kind, class) = (r.name()?, r.u16()?, r.u16()?);
            message.questions.push(Question { name, kind, unicast: class & UNICAST != 0 });
        }
        for _ in 0..records {
            message.records.extend(r.record()?);
        }
        Ok(Some(message))
    }

    /// The datagram.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u16(self.id);
        w.u16(if self.is_response { RESPONSE | AUTHORITATIVE } else { 0 });
        for count in [self.questions.len(), self.records.len(), 0, 0] {
            w.u16(count as u16);
        }
        for question in &self.questions {
            w.name(&question.name);
            w.u16(question.kind);
            w.u16(CLASS_IN | if question.unicast { UNICAST } else { 0 });
        }
        for record in &self.records {
            w.record(record);
        }
        w.bytes
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at + n;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// A pointer has to lead to something before the name it is in, so that there is an end to it.
    fn name(&mut self) -> Result<Name, Malformed> {
        let mut name = Vec::new();
        let (mut at, mut start) = (self.at, self.at);
        let mut end = None;
        let mut pointers = 0;
        loop {
            let len = *self.bytes.get(at).ok_or(Malformed::Truncated)?;
            if len & POINTER == POINTER {
                let low = *self.bytes.get(at + 1).ok_or(Malformed::Truncated)?;
                let to = usize::from(u16::from_be_bytes([len & !POINTER, low]));
                end.get_or_insert(at + 2);
                pointers += 1;
                if to >= start || pointers > POINTERS_MAX {
                    return Err(Malformed::Name);
                }
                (at, start) = (to, to);
                continue;
            }
            let label = self.bytes.get(at..=at + usize::from(len)).ok_or(Malformed::Truncated)?;
            name.extend_from_slice(label);
            if name.len() > NAME_MAX || usize::from(len) > LABEL_MAX {
                return Err(Malformed::Name);
            }
            at += label.len();
            if len == 0 {
                self.at = end.unwrap_or(at);
                return Ok(Name(name));
            }
        }
    }

    /// None of a type that does not matter.
    fn record(&mut self) -> Result<Option<Record>, Malformed> {
        let (name, kind) = (self.name()?, self.u16()?);
        // Class, time to live.
        self.take(6)?;
        let len = usize::from(self.u16()?);
        let begin = self.at;
        let end = begin + self.take(len)?.len();
        let data = &self.bytes[begin..end];
        // Names in it may lead to anywhere before it, but not end behind it.
        let mut r = Reader { bytes: &self.bytes[..end], at: begin };
        let data = match kind {
            kind::PTR => Data::Ptr(r.name()?),
            kind::SRV => {
                // Priority, weight.
                r.take(4)?;
                Data::Srv { port: r.u16()?, target: r.name()? }
            }
            kind::A => Data::Address(<[u8; 4]>::try_from(data).map_err(|_| Malformed::Record)?.into()),
            kind::AAAA => Data::Address(<[u8; 16]>::try_from(data).map_err(|_| Malformed::Record)?.into()),
            _ => return Ok(None),
        };
        Ok(Some(Record { name, data }))
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Where names are that later ones may lead to.
    names: Vec<usize>,
}

impl Writer {
    fn u16(&mut self, n: u16) {
        self.bytes.extend_from_slice(&n.to_be_bytes());
    }

    fn name(&mut self, name: &Name) {
        for suffix in name.suffixes() {
            let known = self.names.iter().find(|at| {
                Reader { bytes: &self.bytes, at: **at }.name().is_ok_and(|known| known.0 == suffix)
            });
            if let Some(at) = known {
                return self.u16(u16::from(POINTER) << 8 | *at as u16);
            }
            self.names.push(self.bytes.len());
            self.bytes.extend_from_slice(&suffix[..=usize::from(suffix[0])]);
        }
        self.bytes.push(0);
    }

    fn record(&mut self, record: &Record) {
        self.name(&record.name);
        self.u16(match &record.data {
            Data::Ptr(_) => kind::PTR,
            Data::Srv { .. } => kind::SRV,
            Data::Txt(_) => kind::TXT,
            Data::Address(IpAddr::V4(_)) => kind::A,
            Data::Address(IpAddr::V6(_)) => kind::AAAA,
        });
        self.u16(CLASS_IN);
        self.bytes.extend_from_slice(&TTL.to_be_bytes());
        let length = self.bytes.len();
        self.u16(0);
        match &record.data {
            Data::Ptr(name) => self.name(name),
            Data::Srv { port, target } => {
                // Priority and weight, the same for all.
                self.u16(10);
                self.u16(1);
                self.u16(*port);
                self.name(target);
            }
            Data::Txt(text) => {
                let text = &text.as_bytes()[..text.len().min(255)];
                self.bytes.push(text.len() as u8);
                self.bytes.extend_from_slice(text);
            }
            Data::Address(IpAddr::V4(ip)) => self.bytes.extend_from_slice(&ip.octets()),
            Data::Address(IpAddr::V6(ip)) => self.bytes.extend_from_slice(&ip.octets()),
        }
        let written = (self.bytes.len() - length - 2) as u16;
        self.bytes[length..length + 2].copy_from_slice(&written.to_be_bytes());
    }
}
