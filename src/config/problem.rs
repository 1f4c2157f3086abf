//! What is wrong with an environment file, and where.

use std::fmt;

use crate::failure::{Exit, Failure};

/// A line and a column, both from 1, as editors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.line, self.column))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    place: Option<Place>,
    path: String,
    reason: String,
}

impl Problem {
    pub fn new(place: Place, path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: Some(place), path: path.into(), reason: reason.into() }
    }

    /// A problem of the file as a whole.
    pub fn of_file(reason: impl Into<String>) -> Self {
        Self { place: None, path: String::new(), reason: reason.into() }
    }

    fn cells(&self) -> (String, &str) {
        (self.place.map_or_else(String::new, |place| place.to_string()), &self.path)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "{place} {} {}", self.path, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// All problems of one file as one failure: a line each, in the order of the file, in columns.
pub fn failure(file: &str, mut problems: Vec<Problem>) -> Failure {
    problems.sort();
    problems.dedup();
    let count = problems.len();
    let cells: Vec<_> = problems.iter().map(Problem::cells).collect();
    let place_width = cells.iter().map(|(place, _)| place.len()).max().unwrap_or(0);
    let path_width = cells.iter().map(|(_, path)| path.chars().count()).max().unwrap_or(0);
    let lines: String = problems
        .iter()
        .zip(&cells)
        .map(|(problem, (place, path))| {
            let line = format!("  {place:place_width$}  {path:path_width$}  {}", problem.reason);
            format!("\n{}", line.trim_end())
        })
        .collect();
    let noun = if count == 1 { "problem" } else { "problems" };
    Failure::new(Exit::Environment, format!("{file} has {count} {noun}{lines}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_listed_once_in_the_order_of_the_file() {
        let at = |line, column| Place { line, column };
        let twice = Problem::new(at(14, 3), "aws.regoin", "is not a known key; did you mean `region`?");
        let problems = vec![
            twice.clone(),
            Problem::new(at(7, 12), "nodes.servers.count", "is 2; etcd needs an odd number of servers"),
            twice,
        ];

        let failure = failure("environments/x.yaml", problems);

        assert_eq!(failure.exit(), Exit::Environment);
        assert_eq!(
            failure.what(),
            "environments/x.yaml has 2 problems\n\
             \x20 7:12  nodes.servers.count  is 2; etcd needs an odd number of servers\n\
             \x20 14:3  aws.regoin           is not a known key; did you mean `region`?"
        );
    }
}
