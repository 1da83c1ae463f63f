//! Which members clients want to see. An expression may be made so that it takes minutes to match, so expressions are a
//! thread's work, which the node does not wait for; a few plain words are compared at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serf::{Member, Pattern};
use serf_rpc::message::MembersFilteredRequest;
use serf_rpc::{Pairs, Text};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Expressions of one filter: more than anybody has. Each may take a moment and a megabyte to compile.
const EXPRESSIONS_MAX: usize = 16;
/// So many plain words are compared at once. A request has room for hundreds of thousands of them.
const WORDS_MAX: usize = 16;
/// Matching may take so long. What people write takes a hundredth of that in a cluster of ten thousand.
const MATCH_TIME: Duration = Duration::from_secs(2);
/// So long somebody waits for the expressions of others.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing was selected. The text is for the client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum MatchError {
    #[error("Failed to compile regex: {0}")]
    Expression(String),
    #[error("{0} expressions in one filter are too many: the limit is {EXPRESSIONS_MAX}")]
    TooMany(usize),
    #[error("the expressions take longer than {MATCH_TIME:?} to match: write simpler ones")]
    TooSlow,
    #[error("filters of others take long to match: ask again later, or without a filter")]
    Busy,
}

/// The place where expressions are matched: one filter at a time, whether those who asked are still there or not.
#[derive(Clone, Debug)]
pub(crate) struct Matching {
    turn: Arc<Semaphore>,
}

impl Matching {
    pub(crate) fn new() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)) }
    }

    /// Those of the members that match all that is asked for.
    pub(crate) async fn select(
        &self,
        request: MembersFilteredRequest,
        members: Arc<[Member]>,
    ) -> Result<Vec<Member>, MatchError> {
        if is_quick(&request) {
            return select(&request, &members, Instant::now() + MATCH_TIME);
        }
        let turn = timeout(PATIENCE, self.turn.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(MatchError::Busy)?;
        let selecting = spawn_blocking(move || {
            let selected = select(&request, &members, Instant::now() + MATCH_TIME);
            drop(turn);
            selected
        });
        match selecting.await {
            Ok(selected) => selected,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The agent ends.
            Err(_) => Err(MatchError::Busy),
        }
    }
}

fn select(
    request: &MembersFilteredRequest,
    members: &[Member],
    end: Instant,
) -> Result<Vec<Member>, MatchError> {
    let filter = Filter::compile(request)?;
    let mut selected = Vec::new();
    for member in members {
        if filter.admits(member) {
            selected.push(member.clone());
        }
        if Instant::now() > end {
            return Err(MatchError::TooSlow);
        }
    }
    Ok(selected)
}

/// What of a request is more than a plain word.
fn expressions(request: &MembersFilteredRequest) -> impl Iterator<Item = &Text> {
    let tags = request.tags.iter().flat_map(Pairs::iter).map(|(_, it)| it);
    [&request.name, &request.status].into_iter().chain(tags).filter(|it| !is_plain(it.as_bytes()))
}

/// Whether the node may wait for it.
fn is_quick(request: &MembersFilteredRequest) -> bool {
    request.tags.as_ref().map_or(0, Pairs::len) <= WORDS_MAX && expressions(request).next().is_none()
}

/// Whether an expression matches itself and nothing else.
fn is_plain(expression: &[u8]) -> bool {
    expression.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_:/=, ".contains(byte))
}

/// A text, or what one has to look like as a whole.
enum Condition {
    Is(Text),
    Matches(Pattern),
}

impl Condition {
    fn compile(expression: &Text) -> Result<Self, MatchError> {
        if is_plain(expression.as_bytes()) {
            return Ok(Self::Is(expression.clone()));
        }
        let wrong = MatchError::Expression;
        let text = std::str::from_utf8(expression.as_bytes())
            .map_err(|_| wrong("error parsing regexp: invalid UTF-8".into()))?;
        Pattern::anchored(text).map(Self::Matches).map_err(|error| wrong(error.to_string()))
    }

    fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Is(word) => word.as_bytes() == text,
            Self::Matches(pattern) => pattern.matches(text),
        }
    }
}

struct Filter {
    name: Option<Condition>,
    status: Option<Condition>,
    tags: Vec<(Text, Condition)>,
}

impl Filter {
    fn compile(request: &MembersFilteredRequest) -> Result<Self, MatchError> {
        let n = expressions(request).count();
        if n > EXPRESSIONS_MAX {
            return Err(MatchError::TooMany(n));
        }
        let unless_empty = |it: &Text| (!it.is_empty()).then(|| Condition::compile(it)).transpose();
        let tags = request.tags.iter().flat_map(Pairs::iter);
        Ok(Self {
            name: unless_empty(&request.name)?,
            status: unless_empty(&request.status)?,
            tags: tags
                .map(|(key, it)| Ok((key.clone(), Condition::compile(it)?)))
                .collect::<Result<_, MatchError>>()?,
        })
    }

    fn admits(&self, m: &Member) -> bool {
        self.name.as_ref().is_none_or(|it| it.holds(m.name.as_bytes()))
            && self.status.as_ref().is_none_or(|it| it.holds(m.status.as_str().as_bytes()))
            && (self.tags.is_empty() || {
                let theirs = raw_tags(m);
                self.tags.iter().all(|(key, it)| it.holds(theirs.get(key).map_or(&[][..], Text::as_bytes)))
            })
    }
}

/// Tags as they came, byte for byte.
pub(crate) fn raw_tags(m: &Member) -> Pairs<Text> {
    serf_wire::tags::decode(&m.meta).0.into_iter().map(|(k, v)| (Text::from(k), Text::from(v))).collect()
}

#[cfg(test)]
mod tests {
    use serf::{Address, Status};

    use super::*;

    fn member(name: &[u8], tags: &[(&str, &str)]) -> Member {
        let tags = tags.iter().map(|&(key, value)| (key.as_bytes(), value.as_bytes()));
        Member {
            name: name.into(),
            addr: Address::new(&[127, 0, 0, 1], 7946),
            meta: serf_wire::tags::encode_pairs(5, tags).into(),
            status: Status::Alive,
            versions: [1, 5, 2, 2, 5, 5].into(),
        }
    }

    fn request(name: &str, status: &str, tags: &[(&str, &str)]) -> MembersFilteredRequest {
        let tags = tags.iter().map(|&(key, value)| (Text::from(key), Text::from(value))).collect();
        MembersFilteredRequest { name: name.into(), status: status.into(), tags: Some(tags) }
    }

    fn names_by(request: &MembersFilteredRequest, end: Instant) -> Result<Vec<String>, MatchError> {
        let members = [
            member(b"web-1", &[("role", "web")]),
            member(b"web-12", &[("role", "web:x")]),
            member(b"db", &[]),
        ];
        Ok(select(request, &members, end)?.iter().map(|m| m.name.to_string()).collect())
    }

    fn names(request: &MembersFilteredRequest) -> Result<Vec<String>, MatchError> {
        names_by(request, Instant::now() + MATCH_TIME * 1000)
    }

    #[test]
    fn members_match_all_that_is_asked_for_as_a_whole() {
        for (name, status, tags, expected) in [
            ("", "", &[][..], &["web-1", "web-12", "db"][..]),
            ("web-1", "", &[], &["web-1"]),
            ("web-.", "", &[], &["web-1"]),
            ("web|x", "", &[], &["web-1", "web-12"]),
            ("web", "", &[], &[]),
            ("", "alive", &[], &["web-1", "web-12", "db"]),
            ("", "left|failed", &[], &[]),
            ("", "", &[("role", "web")], &["web-1"]),
            ("", "", &[("role", "web.*")], &["web-1", "web-12"]),
            ("", "", &[("role", "")], &["db"]),
            ("", "", &[("role", "web:x"), ("dc", "")], &["web-12"]),
            ("db", "alive", &[("role", "web")], &[]),
        ] {
            let found = names(&request(name, status, tags));
            assert_eq!(
                found,
                Ok(expected.iter().map(|&name| name.into()).collect()),
                "{name} {status} {tags:?}"
            );
        }
    }

    #[test]
    fn filters_have_bounds() {
        let wrong = names(&request("(", "", &[])).expect_err("it is no expression");
        assert!(wrong.to_string().starts_with("Failed to compile regex: error parsing regexp: "), "{wrong}");
        let keys: Vec<_> = (0..=EXPRESSIONS_MAX).map(|i| format!("k{i}")).collect();
        let all = |it| keys.iter().map(|key| (key.as_str(), it)).collect::<Vec<_>>();
        assert_eq!(names(&request("", "", &all("a+"))), Err(MatchError::TooMany(EXPRESSIONS_MAX + 1)));
        assert_eq!(names(&request("", "", &all("word"))), Ok(vec![]), "words are not counted");
        let now = Instant::now();
        assert_eq!(names_by(&request("we.*", "", &[]), now), Err(MatchError::TooSlow));
        assert_eq!(names_by(&request("db", "alive", &all("")), now), Err(MatchError::TooSlow));
    }

    #[test]
    fn the_node_waits_for_a_few_words_only() {
        let keys: Vec<_> = (0..=WORDS_MAX).map(|i| format!("k{i}")).collect();
        let words: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
        assert!(is_quick(&request("web-1", "alive", &words[1..])));
        assert!(!is_quick(&request("", "", &words)), "too many");
        assert!(!is_quick(&request("web.", "", &[])) && !is_quick(&request("", "", &[("k", "a|b")])));
    }

    #[tokio::test]
    async fn words_are_compared_while_expressions_are_matched() {
        let matching = Matching::new();
        let _turn = matching.turn.clone().acquire_owned().await.expect("nobody has it");
        let members: Arc<[Member]> = Arc::from([member(b"a", &[])]);
        let found = matching.select(request("a", "alive", &[]), members).await.expect("it is a word");
        assert_eq!(found.len(), 1);
    }
}
