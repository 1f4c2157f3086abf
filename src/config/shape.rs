//! Holds a tree against the schema: known keys, required keys, types, choices, forms.
//!
//! The schema is the one that is generated from `environment.rs` and given to editors, so that what is accepted and
//! what is documented cannot part. What fits is kept as a value; what does not is told and left out, so that later
//! rules see the rest.

use std::str::FromStr;

use ipnet::Ipv4Net;
use serde_json::{Map, Value as Json};

use crate::config::document::{Node, Value};
use crate::config::problem::Problem;
use crate::units::{ByteSize, Day, Span};

/// What a tool could take for a template of its own: Ansible, OpenTofu and Packer, OpenTofu's directives.
const TEMPLATES: [&str; 5] = ["{{", "{%", "{#", "${", "%{"];

/// What was kept of a tree, and what was wrong with it.
pub struct Shaped {
    pub value: Json,
    pub problems: Vec<Problem>,
}

pub fn shape(root: &Node, schema: &Json) -> Shaped {
    let mut shaper = Shaper { schema, problems: vec![] };
    let value = shaper.node(root, schema, "").unwrap_or(Json::Null);
    Shaped { value, problems: shaper.problems }
}

struct Shaper<'a> {
    schema: &'a Json,
    problems: Vec<Problem>,
}

impl<'a> Shaper<'a> {
    fn tell(&mut self, node: &Node, path: &str, reason: impl Into<String>) -> Option<Json> {
        self.problems.push(Problem::new(node.place, path, reason));
        None
    }

    fn node(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Json> {
        let (schema, form) = self.resolve(schema);
        if node.is_null() && (accepts(schema, "object") || !accepts(schema, "null")) {
            return self.tell(node, path, "has no value");
        }
        if node.is_null() {
            return Some(Json::Null);
        }
        if let Some(choices) = choices(schema) {
            return self.choice(node, &choices, path);
        }
        match &node.value {
            Value::Map(_) if accepts(schema, "object") => self.map(node, schema, path),
            Value::List(items) if accepts(schema, "array") => self.list(items, schema, path),
            Value::Scalar { text, plain } => self.scalar(node, text, *plain, schema, form, path),
            Value::Map(_) | Value::List(_) => {
                self.tell(node, path, format!("{}; {} is wanted", kind(node), wanted(schema)))
            }
        }
    }

    /// Follows references and looks into "this or nothing"; gives the form that the referenced type names.
    fn resolve(&self, schema: &'a Json) -> (&'a Json, Option<&'a str>) {
        if let Some(target) = schema["$ref"].as_str() {
            let name = target.rsplit('/').next().unwrap_or_default();
            let (schema, form) = self.resolve(&self.schema["$defs"][name]);
            return (schema, form.or(Some(name)));
        }
        let options = schema["anyOf"].as_array().or_else(|| schema["allOf"].as_array());
        if let Some(option) = options.and_then(|options| options.iter().find(|option| option["type"] != "null")) {
            return self.resolve(option);
        }
        (schema, schema["format"].as_str())
    }

    fn map(&mut self, node: &Node, schema: &'a Json, path: &str) -> Option<Json> {
        let known = schema["properties"].as_object();
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let mut kept = Map::new();
        for entry in node.entries() {
            let below = join(path, &entry.key);
            let Some(wanted) = known.and_then(|known| known.get(&entry.key)).or(others) else {
                let reason = unknown(&entry.key, known);
                self.problems.push(Problem::new(entry.place, below, reason));
                continue;
            };
            if let Some(value) = self.node(&entry.value, wanted, &below) {
                kept.insert(entry.key.clone(), value);
            }
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            if node.entry(key).is_none() {
                self.tell(node, &join(path, key), "is missing");
            }
        }
        Some(Json::Object(kept))
    }

    fn list(&mut self, items: &[Node], schema: &'a Json, path: &str) -> Option<Json> {
        let kept: Vec<Option<Json>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.node(item, &schema["items"], &format!("{path}[{index}]")))
            .collect();
        kept.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
    }

    fn choice(&mut self, node: &Node, choices: &[&str], path: &str) -> Option<Json> {
        let all = || choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
        let Value::Scalar { text, .. } = &node.value else {
            return self.tell(node, path, format!("{}; one of {} is wanted", kind(node), all()));
        };
        if choices.contains(&text.as_str()) {
            return Some(Json::String(text.clone()));
        }
        let reason = match nearest(text, choices.iter().copied()) {
            Some(near) => format!("is `{text}`; did you mean `{near}`? ({} are known)", all()),
            None => format!("is `{text}`; one of {} is wanted", all()),
        };
        self.tell(node, path, reason)
    }

    fn scalar(
        &mut self,
        node: &Node,
        text: &str,
        plain: bool,
        schema: &Json,
        form: Option<&str>,
        path: &str,
    ) -> Option<Json> {
        let read = if accepts(schema, "boolean") {
            boolean(text, plain)
        } else if accepts(schema, "integer") {
            integer(text, plain, schema)
        } else if accepts(schema, "string") {
            string(text, form)
        } else {
            Err(format!("is `{text}`; {} is wanted", wanted(schema)))
        };
        match read {
            Ok(value) => Some(value),
            Err(reason) => self.tell(node, path, reason),
        }
    }
}

fn boolean(text: &str, plain: bool) -> Result<Json, String> {
    match text {
        "true" if plain => Ok(Json::Bool(true)),
        "false" if plain => Ok(Json::Bool(false)),
        _ => Err(format!("is `{text}`; write `true` or `false`")),
    }
}

fn integer(text: &str, plain: bool, schema: &Json) -> Result<Json, String> {
    if !plain && text.parse::<i64>().is_ok() {
        return Err(format!("is text; write {text} without quotes"));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = match digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0')) {
        true => text.parse::<i64>().ok(),
        false => None,
    };
    let number = number.ok_or_else(|| format!("is `{text}`; a whole number is wanted"))?;
    // The schema bounds the smaller kinds itself.
    let held = if schema["format"] == "uint32" { i64::from(u32::MAX) } else { i64::MAX };
    let (least, most) = (schema["minimum"].as_i64().unwrap_or(i64::MIN), schema["maximum"].as_i64().unwrap_or(held));
    if number < least {
        return Err(format!("is {number}; at least {least} is wanted"));
    }
    if number > most {
        return Err(format!("is {number}; at most {most} is wanted"));
    }
    Ok(Json::from(number))
}

fn string(text: &str, form: Option<&str>) -> Result<Json, String> {
    if let Some(template) = TEMPLATES.iter().find(|template| text.contains(**template)) {
        return Err(format!("holds `{template}`; values are data, nothing in the file is a template"));
    }
    if text.chars().any(char::is_control) {
        return Err("holds a line break or another control character".to_owned());
    }
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    match form {
        Some("Span") => Span::from_str(text).map(drop).map_err(|why| format!("is {why}")),
        Some("Day") => Day::from_str(text).map(drop).map_err(|why| format!("is {why}")),
        Some("ByteSize") => ByteSize::from_str(text).map(drop).map_err(|why| format!("is {why}")),
        Some("ipv4-network") => network(text),
        Some(_) | None => Ok(()),
    }?;
    Ok(Json::String(text.to_owned()))
}

fn network(text: &str) -> Result<(), String> {
    let network = Ipv4Net::from_str(text)
        .map_err(|_| format!("is `{text}`, which is no IPv4 network; write it like `10.20.0.0/16`"))?;
    if network.trunc() != network {
        return Err(format!("is `{text}`, an address within a network; the network is `{}`", network.trunc()));
    }
    Ok(())
}

/// Whether a schema takes this JSON type; one without a type takes everything.
fn accepts(schema: &Json, kind: &str) -> bool {
    match &schema["type"] {
        Json::String(only) => only == kind,
        Json::Array(many) => many.iter().any(|one| one == kind),
        _ => schema.get("properties").is_none() || kind == "object",
    }
}

/// The words of an enumeration, whether it is written as one list or, with a text for each, as a list of constants.
fn choices(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let options = schema["oneOf"].as_array()?;
    let words = options.iter().flat_map(|option| match option["enum"].as_array() {
        Some(words) => words.iter().filter_map(Json::as_str).collect(),
        None => option["const"].as_str().into_iter().collect::<Vec<_>>(),
    });
    Some(words.collect())
}

fn wanted(schema: &Json) -> &'static str {
    let names = [
        ("object", "a mapping of keys"),
        ("array", "a list"),
        ("boolean", "`true` or `false`"),
        ("integer", "a whole number"),
        ("string", "text"),
    ];
    names.iter().find(|(kind, _)| accepts(schema, kind)).map_or("nothing", |(_, name)| name)
}

fn kind(node: &Node) -> String {
    match &node.value {
        Value::Map(_) => "is a mapping".to_owned(),
        Value::List(_) => "is a list".to_owned(),
        Value::Scalar { text, .. } => format!("is `{text}`"),
    }
}

fn unknown(key: &str, known: Option<&Map<String, Json>>) -> String {
    match nearest(key, known.into_iter().flat_map(Map::keys).map(String::as_str)) {
        Some(near) => format!("is not a known key; did you mean `{near}`?"),
        None => "is not a known key".to_owned(),
    }
}

/// The most similar of the known words, if one is similar enough to be meant.
pub fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len().max(word.len()) / 3))
        .min()
        .map(|(_, candidate)| candidate)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
