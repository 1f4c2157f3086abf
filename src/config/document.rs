//! A YAML file as a tree in which every key and value knows its place.
//!
//! Only the part of YAML that a person writes in an environment file is taken: one document of mappings, lists and
//! scalars. Anchors, aliases, tags and merge keys are refused, so that what is read is what stands there. A scalar
//! keeps its spelling: what it means is decided by what is wanted in its place, so `no` and `0755` have no surprises.

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, ScanError, Span};

use crate::config::problem::{Place, Problem};

/// Far above any environment file, far below what hurts.
const LARGEST: usize = 1 << 20;
const DEEPEST: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

impl Node {
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar { .. } | Value::List(_) => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Whether there is nothing: `key:`, `key: ~` or `key: null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The place of what is at this path, or of the nearest thing above it that is there. Parts that are numbers count
    /// list entries from 0.
    pub fn place_of(&self, path: &[&str]) -> Place {
        let Some((first, rest)) = path.split_first() else { return self.place };
        self.below(first).map_or(self.place, |node| node.place_of(rest))
    }

    /// What is under a key, or the list entry of this number.
    pub fn below(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(_) => self.entry(key).map(|entry| &entry.value),
            Value::List(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            Value::Scalar { .. } => None,
        }
    }
}

/// Reads a file's text. What makes the tree ambiguous (a key that stands twice) is told beside it; what prevents a tree
/// is the error.
pub fn parse(text: &str) -> Result<(Node, Vec<Problem>), Problem> {
    if text.len() > LARGEST {
        return Err(Problem::of_file("is larger than 1 MiB"));
    }
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut events = Events { parser: Parser::new_from_str_with_options(text, options), problems: vec![], depth: 0 };
    let node = events.document()?;
    Ok((node, events.problems))
}

struct Events<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    problems: Vec<Problem>,
    depth: usize,
}

impl<'a> Events<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(not_yaml(&error)),
            None => Err(Problem::of_file("ends too early")),
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                _ if root.is_some() => {
                    return Err(Problem::new(
                        place(span.start),
                        "",
                        "a second document begins here; one file holds one environment",
                    ));
                }
                event => root = Some(self.node(event, span)?),
            }
        }
        root.ok_or_else(|| Problem::of_file("is empty"))
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Problem> {
        let place = place(span.start);
        let refuse = |reason: &str| Err(Problem::new(place, "", reason));
        let value = match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => {
                return refuse("YAML tags (`!…`) are not read");
            }
            Event::Scalar(_, _, 1.., _) | Event::SequenceStart(_, 1.., _) | Event::MappingStart(_, 1.., _) => {
                return refuse("YAML anchors (`&…`) are not read; write the value where it is meant");
            }
            Event::Scalar(text, style, ..) => {
                Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
            }
            Event::SequenceStart(..) => self.deeper(place, Self::list)?,
            Event::MappingStart(..) => self.deeper(place, Self::map)?,
            Event::Alias(_) => return refuse("YAML aliases (`*…`) are not read; write the value where it is meant"),
            _ => return refuse("is not a value"),
        };
        Ok(Node { place, value })
    }

    fn deeper(&mut self, at: Place, read: fn(&mut Self) -> Result<Value, Problem>) -> Result<Value, Problem> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Problem::new(at, "", format!("lies deeper than {DEEPEST} levels")));
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, Problem> {
        let mut items = vec![];
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, span) => items.push(self.node(event, span)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, Problem> {
        let mut entries: Vec<Entry> = vec![];
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(key, _, 0, None) => key.into_owned(),
                _ => return Err(Problem::new(place(span.start), "", "is not a plain key")),
            };
            let place = place(span.start);
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            match entries.iter().find(|entry| entry.key == key) {
                Some(first) => {
                    let reason = format!("stands twice; the first is on line {}", first.place.line);
                    self.problems.push(Problem::new(place, &key, reason));
                }
                None => entries.push(Entry { key, place, value }),
            }
        }
    }
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

fn not_yaml(error: &ScanError) -> Problem {
    Problem::new(place(*error.marker()), "", format!("is not YAML: {}", error.info()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let (root, problems) = parse("a: 1\nb:\n  - x\n  - {c: 'y'}\n").expect("a tree");

        assert_eq!(problems, []);
        assert_eq!(root.place_of(&["a"]), Place { line: 1, column: 4 });
        assert_eq!(root.place_of(&["b", "1", "c"]), Place { line: 4, column: 9 });
        assert_eq!(root.place_of(&["b", "7"]), Place { line: 3, column: 3 }, "the list that has no eighth entry");
    }

    #[test]
    fn a_scalar_keeps_its_spelling() {
        let (root, _) = parse("a: no\nb: 0755\nc: \"1\"\n").expect("a tree");

        let texts: Vec<_> = root.entries().iter().map(|entry| entry.value.value.clone()).collect();
        let plain = |text: &str| Value::Scalar { text: text.to_owned(), plain: true };
        assert_eq!(texts, [plain("no"), plain("0755"), Value::Scalar { text: "1".to_owned(), plain: false }]);
    }

    #[test]
    fn a_key_that_stands_twice_is_told_with_the_line_of_the_first() {
        let (_, problems) = parse("a: 1\nb: 2\na: 3\n").expect("a tree");

        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].to_string(), "3:1 a stands twice; the first is on line 1");
    }

    #[test]
    fn what_hides_a_meaning_is_refused() {
        assert_eq!(
            refused("a: &x 1\nb: *x\n"),
            "1:7  YAML anchors (`&…`) are not read; write the value where it is meant"
        );
        assert_eq!(refused("a: !!str 1\n"), "1:10  YAML tags (`!…`) are not read");
        assert_eq!(refused("a: 1\n---\nb: 2\n"), "3:1  a second document begins here; one file holds one environment");
        assert_eq!(refused("? [a]\n: 1\n"), "1:3  is not a plain key");
        assert_eq!(refused("# nothing\n"), "is empty");
        assert!(refused("a: [1\n").contains("is not YAML: "), "{}", refused("a: [1\n"));
        assert_eq!(refused(&format!("{}{}", "[".repeat(40), "]".repeat(40))), "1:33  lies deeper than 32 levels");
    }
}
