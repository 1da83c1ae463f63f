//! Names and addresses of the program's own types. On the wire, and in the machines, they stay what they are to every
//! other implementation: a name of a few bytes, and address bytes with a port.

use std::any::Any;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use serf_core::{Answer, IdentityPolicy, Member, MemberEvent, Policies};
use serf_gossip::{Address, Claim, Host, Name, Refusal};

use crate::event::Event;
use crate::query::QueryEvent;

/// Most bytes of a refused name that are shown.
const SHOWN_MAX: usize = 128;

/// Who a node is, to the program: a UUID, a public key, a number. The first parameter of [`crate::Serf`].
///
/// Each is written as one name, and only that name is taken for it: how else somebody may have written it is no name of
/// this kind, so that no two nodes are the same. Names should be what Serf calls valid: up to 128 letters, digits, dashes
/// and dots ([`crate::Config::validate_node_names`]); longer than 255 bytes, or empty, works nowhere well.
///
/// ```
/// use std::fmt;
/// use serf::{Identity, InvalidIdentity, Name};
///
/// /// A machine in our halls.
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
/// struct Rack {
///     hall: u8,
///     row: u16,
/// }
///
/// impl fmt::Display for Rack {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "{}-{}", self.hall, self.row)
///     }
/// }
///
/// impl Identity for Rack {
///     fn to_name(&self) -> Name {
///         self.to_string().as_str().into()
///     }
///
///     fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity> {
///         let text = str::from_utf8(name).map_err(InvalidIdentity::new)?;
///         let (hall, row) = text.split_once('-').ok_or_else(|| InvalidIdentity::new("no hall"))?;
///         Ok(Self {
///             hall: hall.parse().map_err(InvalidIdentity::new)?,
///             row: row.parse().map_err(InvalidIdentity::new)?,
///         })
///     }
/// }
///
/// use serf::{Config, Serf};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let me = Rack { hall: 2, row: 117 };
/// let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::lan(me.to_name()) };
/// let serf = Serf::<Rack>::start_typed(config).await?;
/// assert_eq!(serf.name(), &me);
/// assert!(serf.member(Rack { hall: 2, row: 118 }).await?.is_none());
///
/// let error = Serf::<Rack>::start_typed(Config::lan("web-1")).await.unwrap_err();
/// assert_eq!(error.to_string(), "node name 'web-1': invalid digit found in string");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait Identity: Clone + Eq + Ord + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The name that others know the node by.
    fn to_name(&self) -> Name;

    /// Whose name this is. Must always say the same of the same name. Is asked in the node's task, about whatever anybody
    /// sends: so it must be quick, and must not panic.
    ///
    /// # Errors
    /// It is nobody's.
    fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity>;
}

/// Where a node is reached, to the program. The second parameter of [`crate::Serf`].
///
/// Here it is a [`SocketAddrV4`]: members at IPv6 addresses are refused.
///
/// ```
/// use serf::{Config, Name, Serf};
/// use std::net::{Ipv4Addr, SocketAddrV4};
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let config = Config { bind: "127.0.0.1:0".parse()?, ..Config::lan("web-1") };
/// let serf = Serf::<Name, SocketAddrV4>::start_typed(config).await?;
/// assert_eq!(serf.members().await?[0].addr.ip(), &Ipv4Addr::LOCALHOST);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait NodeAddress: Clone + Eq + Ord + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The address as peers are told it.
    fn to_address(&self) -> Address;

    /// What an address of a peer means. Must always say the same of the same address. Is asked in the node's task, about
    /// whatever anybody sends: so it must be quick, and must not panic.
    ///
    /// # Errors
    /// Nodes of this cluster are never there.
    fn from_address(address: &Address) -> Result<Self, InvalidAddress>;
}

/// Why a name is nobody's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidIdentity(Box<str>);

/// Why no node can be at an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(Box<str>);

impl InvalidIdentity {
    /// For this reason, a few words for people. Peers that are refused are told it.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string().into())
    }
}

impl InvalidAddress {
    /// For this reason, a few words for people. Peers that are refused are told it.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string().into())
    }
}

/// Any name.
impl Identity for Name {
    fn to_name(&self) -> Name {
        self.clone()
    }

    fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity> {
        Ok(name.into())
    }
}

/// Any name that is text.
impl Identity for String {
    fn to_name(&self) -> Name {
        self.as_str().into()
    }

    fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity> {
        str::from_utf8(name).map(str::to_owned).map_err(|_| InvalidIdentity::new("it is not UTF-8"))
    }
}

/// Any address.
impl NodeAddress for Address {
    fn to_address(&self) -> Address {
        self.clone()
    }

    fn from_address(address: &Address) -> Result<Self, InvalidAddress> {
        Ok(address.clone())
    }
}

/// Any IP address. The two forms of one IPv4 address are one.
impl NodeAddress for SocketAddr {
    fn to_address(&self) -> Address {
        (*self).into()
    }

    fn from_address(address: &Address) -> Result<Self, InvalidAddress> {
        address.socket_addr().ok_or_else(|| InvalidAddress::new("it is no IP address"))
    }
}

/// Any IPv4 address, in either form.
impl NodeAddress for SocketAddrV4 {
    fn to_address(&self) -> Address {
        SocketAddr::V4(*self).into()
    }

    fn from_address(address: &Address) -> Result<Self, InvalidAddress> {
        match address.host.ip() {
            Some(IpAddr::V4(ip)) => Ok(Self::new(ip, address.port)),
            _ => Err(InvalidAddress::new("it is no IPv4 address")),
        }
    }
}

/// Any IPv6 address, mapped IPv4 among them. Peers are told neither scopes nor flows.
impl NodeAddress for SocketAddrV6 {
    fn to_address(&self) -> Address {
        Address { host: Host::V6(self.ip().octets()), port: self.port() }
    }

    fn from_address(address: &Address) -> Result<Self, InvalidAddress> {
        match address.host {
            Host::V6(bytes) => Ok(Self::new(Ipv6Addr::from(bytes), address.port, 0, 0)),
            _ => Err(InvalidAddress::new("it is no IPv6 address")),
        }
    }
}

/// The value, if the types are the same: then nothing is to be converted.
pub(crate) fn same<T: 'static, U: 'static>(value: T) -> Result<U, T> {
    let mut value = Some(value);
    let slot: &mut dyn Any = &mut value;
    match slot.downcast_mut::<Option<U>>().and_then(Option::take) {
        Some(same) => Ok(same),
        None => Err(value.expect("it was not taken")),
    }
}

/// Whether everybody is who and where the program can tell, since it has names and addresses as they are.
fn takes_all<I: Identity, A: NodeAddress>() -> bool {
    same::<_, Option<(I, A)>>(None::<(Name, Address)>).is_ok()
}

/// Whose name this is, if it is written as that one's name is.
pub(crate) fn identity<I: Identity>(name: &[u8]) -> Result<I, InvalidIdentity> {
    let identity = I::from_name(name)?;
    let written = identity.to_name();
    if written.as_bytes() != name {
        return Err(InvalidIdentity::new(format_args!("it should be written '{written}'")));
    }
    Ok(identity)
}

/// The same of a name at hand.
pub(crate) fn named<I: Identity>(name: Name) -> Option<I> {
    same(name).or_else(|name: Name| identity(name.as_bytes())).ok()
}

pub(crate) fn placed<A: NodeAddress>(address: Address) -> Option<A> {
    same(address).or_else(|address: Address| A::from_address(&address)).ok()
}

/// Claims, queries and answers refused since they come from nobody that the program could name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strangers(Arc<AtomicU64>);

impl Strangers {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(crate) fn so_far(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Keeps those out who cannot be told the program.
struct Door<I, A> {
    /// What was there before: both must agree.
    other: Option<Arc<dyn IdentityPolicy>>,
    strangers: Strangers,
    types: PhantomData<fn() -> (I, A)>,
}

impl<I: Identity, A: NodeAddress> IdentityPolicy for Door<I, A> {
    fn accept(&self, claim: &Claim<'_>) -> Result<(), Refusal> {
        let fault = match identity::<I>(claim.name) {
            Err(why) => Some(format!("name: {why}")),
            Ok(_) => {
                let address = Address::new(claim.host, claim.port);
                A::from_address(&address).err().map(|why| format!("address {address}: {why}"))
            }
        };
        if let Some(fault) = fault {
            self.strangers.count();
            let name = Name::from(&claim.name[..claim.name.len().min(SHOWN_MAX)]);
            return Err(Refusal(format!("'{name}' cannot be a member here, because of its {fault}")));
        }
        self.other.as_ref().map_or(Ok(()), |other| other.accept(claim))
    }
}

/// What the driver's side knows of the types.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    /// Whether a name is anybody's.
    knows: fn(&[u8]) -> bool,
    pub(crate) strangers: Strangers,
}

impl Kind {
    /// Of these types, whose members alone the policies then let in.
    pub(crate) fn of<I: Identity, A: NodeAddress>(policies: &mut Policies) -> Self {
        let strangers = Strangers::default();
        if takes_all::<I, A>() {
            return Self { knows: |_| true, strangers };
        }
        let other = policies.identity.take();
        policies.identity =
            Some(Arc::new(Door::<I, A> { other, strangers: strangers.clone(), types: PhantomData }));
        Self { knows: |name| identity::<I>(name).is_ok(), strangers }
    }

    /// Whether it is anybody's name; if not, that is counted.
    pub(crate) fn knows(&self, name: &Name) -> bool {
        let knows = (self.knows)(name.as_bytes());
        if !knows {
            self.strangers.count();
        }
        knows
    }
}

/// A node as the program sees it.
pub(crate) struct Face<I, A> {
    pub(crate) name: I,
    pub(crate) advertise: A,
    pub(crate) kind: Kind,
    members: Mutex<Option<Lists<I, A>>>,
}

/// The list of members as the machine made it, and what was made of it.
struct Lists<I, A> {
    from: Arc<[Member]>,
    made: Arc<[Member<I, A>]>,
}

impl<I: Identity, A: NodeAddress> Face<I, A> {
    pub(crate) fn new(name: I, advertise: A, kind: Kind) -> Self {
        Self { name, advertise, kind, members: Mutex::new(None) }
    }

    /// The list in the program's types, made anew only if the machine has made it anew.
    pub(crate) fn members(&self, from: Arc<[Member]>) -> Arc<[Member<I, A>]> {
        same(from).unwrap_or_else(|from: Arc<[Member]>| {
            let mut known = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            match &*known {
                Some(lists) if Arc::ptr_eq(&lists.from, &from) => lists.made.clone(),
                _ => {
                    let made: Arc<[_]> = from.iter().cloned().filter_map(member).collect();
                    *known = Some(Lists { from, made: made.clone() });
                    made
                }
            }
        })
    }
}

// What cannot be converted was refused when it came: below, nothing is lost unless a type changes its mind.

pub(crate) fn member<I: Identity, A: NodeAddress>(member: Member) -> Option<Member<I, A>> {
    same(member)
        .or_else(|member: Member| member.try_map(|i| named(i).ok_or(()), |a| placed(a).ok_or(())))
        .ok()
}

pub(crate) fn event<I: Identity, A: NodeAddress>(event: Event) -> Option<Event<I, A>> {
    same(event).or_else(|event: Event| typed(event).ok_or(())).ok()
}

fn typed<I: Identity, A: NodeAddress>(event: Event) -> Option<Event<I, A>> {
    Some(match event {
        Event::Member(MemberEvent { kind, members }) => {
            let members: Vec<_> = members.into_iter().filter_map(member).collect();
            if members.is_empty() {
                return None;
            }
            Event::Member(MemberEvent { kind, members })
        }
        Event::User(event) => Event::User(event),
        Event::Query(event) => Event::Query(QueryEvent::typed(event, named)?),
        Event::NameLost { ours, all } => Event::NameLost { ours, all },
    })
}

pub(crate) fn answer<I: Identity>(answer: Answer) -> Option<Answer<I>> {
    same(answer)
        .or_else(|answer: Answer| {
            Ok::<_, ()>(match answer {
                Answer::Ack { from } => Answer::Ack { from: named(from).ok_or(())? },
                Answer::Response { from, payload } => {
                    Answer::Response { from: named(from).ok_or(())?, payload }
                }
                _ => return Err(()),
            })
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use serf_core::{MemberEventKind, Status, Versions};
    use serf_gossip::State;

    use super::*;

    /// A number, which may be written in many ways.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Number(u32);

    impl fmt::Display for Number {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    impl Identity for Number {
        fn to_name(&self) -> Name {
            self.to_string().as_str().into()
        }

        fn from_name(name: &[u8]) -> Result<Self, InvalidIdentity> {
            let text = str::from_utf8(name).map_err(InvalidIdentity::new)?;
            text.parse().map(Self).map_err(InvalidIdentity::new)
        }
    }

    fn plain(name: &str, host: &[u8]) -> Member {
        Member {
            name: name.into(),
            addr: Address::new(host, 7946),
            meta: Arc::from(&[][..]),
            status: Status::Alive,
            versions: Versions::default(),
        }
    }

    #[test]
    fn names_come_back_as_they_were_or_are_refused() {
        let back = |name: &[u8]| identity::<String>(name).map(|name| name.to_name());
        for name in ["", "web-1", "Hürbel", &"x".repeat(128)] {
            assert_eq!(identity::<Name>(name.as_bytes()), Ok(name.into()));
            assert_eq!(back(name.as_bytes()), Ok(name.into()));
        }
        assert_eq!(identity::<Name>(b"\xff"), Ok(Name::from(&b"\xff"[..])));
        assert_eq!(back(b"\xff").unwrap_err().to_string(), "it is not UTF-8");
        for (name, number) in [
            ("0", Ok(0)),
            ("4294967295", Ok(u32::MAX)),
            ("4294967296", Err("number too large to fit in target type")),
            ("", Err("cannot parse integer from empty string")),
            ("web-1", Err("invalid digit found in string")),
            ("007", Err("it should be written '7'")),
            ("+7", Err("it should be written '7'")),
        ] {
            let found = identity::<Number>(name.as_bytes()).map(|number| number.0).map_err(|e| e.to_string());
            assert_eq!(found, number.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn addresses_come_back_as_they_were_or_are_refused() {
        fn back<A: NodeAddress>(address: &Address) -> Option<String> {
            A::from_address(address).ok().map(|a| format!("{a} = {:?}", a.to_address().host.as_bytes().len()))
        }
        let v6 = "[fd00::1]:7946".parse::<SocketAddr>().unwrap().into();
        let mapped = Address::new(&Ipv6Addr::from_bits(0xffff_0a00_0001).octets(), 7946);
        // As any IP address, as IPv4, as IPv6, and in how many bytes peers are told it.
        for (address, ip, four, six) in [
            (Address::new(&[10, 0, 0, 1], 7946), Some("10.0.0.1:7946 = 4"), Some("10.0.0.1:7946 = 4"), None),
            (
                mapped,
                Some("10.0.0.1:7946 = 4"),
                Some("10.0.0.1:7946 = 4"),
                Some("[::ffff:10.0.0.1]:7946 = 16"),
            ),
            (v6, Some("[fd00::1]:7946 = 16"), None, Some("[fd00::1]:7946 = 16")),
            (Address::new(b"", 7946), None, None, None),
            (Address::new(&[1; 32], 7946), None, None, None),
        ] {
            assert_eq!(back::<SocketAddr>(&address).as_deref(), ip, "{address}");
            assert_eq!(back::<SocketAddrV4>(&address).as_deref(), four, "{address}");
            assert_eq!(back::<SocketAddrV6>(&address).as_deref(), six, "{address}");
            assert_eq!(Address::from_address(&address), Ok(address));
        }
    }

    #[test]
    fn what_has_the_right_types_is_not_converted() {
        assert_eq!(same::<_, u32>(7_u32), Ok(7));
        assert_eq!(same::<_, u64>(7_u32), Err(7));
        let list: Arc<[Member]> = Arc::new([plain("a", &[127, 0, 0, 1])]);
        let face = |policies: &mut Policies| {
            Face::<Name, Address>::new("a".into(), Address::new(b"", 0), Kind::of::<Name, Address>(policies))
        };
        let mut policies = Policies::default();
        assert!(Arc::ptr_eq(&face(&mut policies).members(list.clone()), &list));
        assert!(policies.identity.is_none(), "nobody is asked about what is always so");
    }

    #[test]
    fn a_list_is_converted_once() {
        let kind = Kind::of::<Number, SocketAddr>(&mut Policies::default());
        let face = Face::new(Number(1), "127.0.0.1:1".parse::<SocketAddr>().unwrap(), kind);
        let list: Arc<[Member]> = Arc::new([plain("1", &[127, 0, 0, 1]), plain("2", &[127, 0, 0, 2])]);
        let first = face.members(list.clone());
        assert_eq!(first.iter().map(|m| m.name.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(first[1].addr, "127.0.0.2:7946".parse().unwrap());
        assert!(Arc::ptr_eq(&first, &face.members(list.clone())));
        let list: Arc<[Member]> = Arc::new([plain("1", &[127, 0, 0, 1])]);
        assert_eq!(face.members(list).len(), 1);
    }

    #[test]
    fn whoever_the_program_cannot_name_is_kept_out_and_counted() {
        struct NotThree;
        impl IdentityPolicy for NotThree {
            fn accept(&self, claim: &Claim<'_>) -> Result<(), Refusal> {
                if claim.name == b"3" { Err(Refusal("not three".into())) } else { Ok(()) }
            }
        }
        let mut policies = Policies { identity: Some(Arc::new(NotThree)), ..Policies::default() };
        let kind = Kind::of::<Number, SocketAddrV4>(&mut policies);
        let door = policies.identity.unwrap();
        let asked = |name: &[u8], host: &[u8]| {
            let claim = Claim {
                name,
                host,
                port: 7946,
                meta: b"",
                versions: &[],
                state: State::Alive,
                incarnation: 1,
            };
            door.accept(&claim).map_err(|refusal| refusal.0)
        };
        let here = [127, 0, 0, 1];
        let refused = |text: &str| Err(text.to_owned());
        assert_eq!(asked(b"1", &here), Ok(()));
        assert_eq!(asked(b"3", &here), refused("not three"));
        assert_eq!(kind.strangers.so_far(), 0);
        assert_eq!(
            asked(b"web-1", &here),
            refused("'web-1' cannot be a member here, because of its name: invalid digit found in string")
        );
        assert_eq!(
            asked(b"2", &[1; 16]),
            refused(
                "'2' cannot be a member here, because of its address [101:101:101:101:101:101:101:101]:7946: \
                 it is no IPv4 address"
            )
        );
        let long = asked(&[b'x'; 60_000], &here).unwrap_err();
        assert!(long.len() < 300, "{}", long.len());
        assert_eq!(kind.strangers.so_far(), 3);
        assert!(kind.knows(&"1".into()) && !kind.knows(&"01".into()) && !kind.knows(&"".into()));
        assert_eq!(kind.strangers.so_far(), 5);
    }

    #[test]
    fn events_and_answers_say_who_in_the_types_of_the_program() {
        let members = vec![plain("1", &[127, 0, 0, 1]), plain("x", &[127, 0, 0, 1]), plain("2", b"")];
        let told = Event::Member(MemberEvent { kind: MemberEventKind::Join, members });
        let Some(Event::Member(told)) = event::<Number, SocketAddr>(told) else { panic!("nothing told") };
        assert_eq!(told.members.iter().map(|m| m.name.0).collect::<Vec<_>>(), [1]);
        let strangers = MemberEvent { kind: MemberEventKind::Join, members: vec![plain("x", b"")] };
        assert!(event::<Number, SocketAddr>(Event::Member(strangers)).is_none());
        assert_eq!(answer(Answer::Ack { from: "7".into() }), Some(Answer::Ack { from: Number(7) }));
        assert_eq!(answer::<Number>(Answer::Ack { from: "x".into() }), None);
        let payload = b"hello".to_vec();
        let response = Answer::Response { from: "7".into(), payload: payload.clone() };
        assert_eq!(answer(response), Some(Answer::Response { from: Number(7), payload }));
    }
}
