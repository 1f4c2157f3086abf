//! The vCenter's XML as a tree: elements with their type, text and children, by their local names.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// How deep an answer may be: one that is deeper is not the vCenter's.
const DEEPEST: usize = 64;

/// An element. Of its attributes only the type counts: of a reference `type`, which tells what it leads to, else `xsi:type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub kind: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The element at the end of this path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The text at the end of this path; empty where there is none.
    pub fn text_at(&self, path: &[&str]) -> &str {
        self.at(path).map_or("", |element| element.text.as_str())
    }
}

/// Reads one document.
///
/// # Errors
/// What is wrong with it, in the parser's words.
pub fn read(text: &str) -> Result<Element, String> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) => open.push(element(&start)?),
            Event::Empty(start) => close(&mut open, element(&start)?),
            Event::End(_) => {
                let ended = open.pop().ok_or("it ends what was not begun")?;
                close(&mut open, ended);
            }
            Event::Text(text) => add(&mut open, &text.decode().map_err(|error| error.to_string())?),
            Event::CData(text) => add(&mut open, &text.decode().map_err(|error| error.to_string())?),
            Event::GeneralRef(named) => {
                let name = named.decode().map_err(|error| error.to_string())?;
                let number = named.resolve_char_ref().map_err(|error| error.to_string())?;
                match (number, resolve_predefined_entity(&name)) {
                    (Some(character), _) => add(&mut open, &character.to_string()),
                    (None, Some(text)) => add(&mut open, text),
                    (None, None) => return Err(format!("it names an entity `{name}`")),
                }
            }
            Event::Eof => break,
            Event::DocType(_) => return Err("it holds a document type".to_owned()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
        if open.len() > DEEPEST {
            return Err("it is too deep".to_owned());
        }
    }
    match open.pop().filter(|_| open.is_empty()).map(|root| root.children) {
        Some(mut children) if children.len() == 1 => children.pop().ok_or_else(|| "it is empty".to_owned()),
        Some(_) | None => Err("it is no whole document".to_owned()),
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, String> {
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    let (mut typed, mut referred) = (String::new(), String::new());
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&attribute.value);
        let kind = text.rsplit(':').next().unwrap_or_default();
        match (attribute.key.as_ref(), attribute.key.local_name().as_ref()) {
            (b"type", _) => kind.clone_into(&mut referred),
            (_, b"type") => kind.clone_into(&mut typed),
            _ => {}
        }
    }
    let kind = if referred.is_empty() { typed } else { referred };
    Ok(Element { name, kind, ..Element::default() })
}

fn close(open: &mut [Element], ended: Element) {
    if let Some(parent) = open.last_mut() {
        parent.children.push(ended);
    }
}

fn add(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

/// Text as it stands in an element.
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_its_types_and_entities() {
        let text = r#"<?xml version="1.0"?><a:Body xmlns:a="x" xmlns:xsi="y"><val xsi:type="xsd:string">R&amp;D &#65;</val>
            <obj xsi:type="ManagedObjectReference" type="VirtualMachine">vm-57</obj><none/></a:Body>"#;

        let body = read(text).expect("read");

        assert_eq!(body.name, "Body");
        assert_eq!((body.text_at(&["val"]), body.child("val").map(|val| val.kind.as_str())), ("R&D A", Some("string")));
        assert_eq!(
            body.child("obj").map(|obj| (obj.kind.as_str(), obj.text.as_str())),
            Some(("VirtualMachine", "vm-57"))
        );
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
        for text in ["", "<a>", "<a></b>", "<a/><b/>", "<!DOCTYPE a><a/>", "<a>&own;</a>", &deep] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = "a < b & \"c\" > 'd'";

        assert_eq!(read(&format!("<v>{}</v>", escaped(text))).map(|value| value.text).as_deref(), Ok(text));
    }
}
